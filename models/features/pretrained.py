"""Frozen features by networks of `transformers`: ViT-MAE with its decoder, and any other vision model by name.

`transformers` is imported on use: it takes seconds. Its models are read from a folder on this machine, safetensors
alone, and no code that a folder brings is run (`trust_remote_code` stays off).
"""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from ipv_bench.bounded_file import read_bytes
from ipv_bench.bounded_json import parse_json
from ipv_bench.errors import ConfigError, InputError
from models.features.config import FeaturesConfig
from models.features.find_weights import FoundModel, find_model
from models.features.frozen import IMAGENET_MEAN, IMAGENET_STD, FrozenFeatures, frames_of

PREPROCESSOR = "preprocessor_config.json"
POSITIONS = "network.decoder.decoder_pos_embed"
SMALL_FILE = 1 << 20
_ANOTHER = "name another model in features.name"
_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, AssertionError, SafetensorError
)  # fmt: skip
"""What reading a folder ends in that holds something else."""


class PretrainedFeatures(FrozenFeatures):
    """What both have in common.

    Args:
        found: where the model is.
        network: of `transformers`.
        published: its weights are those of the files.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, found: FoundModel, network: nn.Module, published: bool) -> None:
        super().__init__()
        self.network: Any = network
        for name, values in zip(("mean", "std"), _mean_and_std(found.folder), strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self._digest = found.digest() if published else None

    def digest(self) -> Tensor | None:
        """See `FrozenFeatures.digest`."""
        return None if self._digest is None else torch.from_numpy(np.frombuffer(self._digest, np.uint8).copy())


class ViTMAEFeatures(PretrainedFeatures):
    """A masked autoencoder that hides nothing; the class token is kept for the decoder.

    `ViTMAEModel` shuffles its tokens by random numbers, even where nothing is hidden: the tokens of two frames would
    not be of the same places. Numbers that ascend in place of the random ones keep the order.
    """

    has_decoder = True
    extra = 1

    def __init__(self, found: FoundModel, network: nn.Module, published: bool, size: int) -> None:
        super().__init__(found, network, published)
        config = self.network.config
        _check_size(found.folder, config.image_size, size)
        if config.norm_pix_loss:
            raise ConfigError(
                f"the decoder in {found.folder} draws patches without their mean and contrast (norm_pix_loss)",
                expected="a masked autoencoder trained on pixels (facebook/vit-mae-base is)",
                fix=f"{_ANOTHER}, or set features.kind=vision",
            )
        config.mask_ratio = 0.0
        self.size, self.patch = size, int(config.patch_size)
        if size % self.patch:
            raise ConfigError(
                f"the model in {found.folder} has patches of {self.patch} pixels, and frames of {size}",
                expected="patches that divide the frame",
                fix=_ANOTHER,
            )
        self.places, self.width = (size // self.patch) ** 2, int(config.hidden_size)
        self._try_it(found.folder)

    def _try_it(self, folder: Path) -> None:
        try:
            with torch.no_grad():
                self.decode(self.encode(torch.zeros(1, 3, self.size, self.size)))
        except (*_DAMAGE, IndexError) as error:  # trained on grey pictures, say
            raise _no_tokens(folder, _first_line(error)) from error

    def encode(self, frames: Tensor) -> Tensor:
        """See `FrozenFeatures.encode`."""
        order = torch.arange(self.places, dtype=torch.float32, device=frames.device).expand(len(frames), -1)
        tokens: Tensor = self.network.vit((frames - self.mean) / self.std, noise=order).last_hidden_state
        return tokens

    def decode(self, tokens: Tensor) -> Tensor:
        """See `FrozenFeatures.decode`."""
        order = torch.arange(self.places, device=tokens.device).expand(len(tokens), -1)
        patches = self.network.decoder(tokens, ids_restore=order).logits  # (N, P, patch · patch · 3)
        return frames_of(patches, self.patch, self.size) * self.std + self.mean

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        """See `FrozenFeatures.decoder_parameters`."""
        # Positions are sines and cosines, which nobody trains; `from_pretrained` forgets that they are marked so.
        own = (pair for pair in self.named_parameters() if pair[0].startswith("network.decoder."))
        return {name: value for name, value in own if name != POSITIONS}


class VisionFeatures(PretrainedFeatures):
    """The last layer of a vision model, its tokens normalised to one scale; maps of channels become tokens."""

    def __init__(self, found: FoundModel, network: nn.Module, published: bool, size: int) -> None:
        super().__init__(found, network, published)
        probe = _tokens_of_a_frame(self.network, found.folder, size)
        if probe.dim() == 4:
            self.extra, self.places, self.width = 0, probe[0, 0].numel(), probe.shape[1]
        else:
            self.places, self.width = _places(found.folder, self.network.config, size, probe.shape[1]), probe.shape[2]
            self.extra = probe.shape[1] - self.places
        if math.isqrt(self.places) ** 2 != self.places:
            raise ConfigError(
                f"the model in {found.folder} gives {self.places} places of a frame, which are no square",
                expected="as many rows of places as columns, as frames have",
                fix=_ANOTHER,
            )

    def encode(self, frames: Tensor) -> Tensor:
        """See `FrozenFeatures.encode`."""
        tokens: Tensor = self.network(pixel_values=(frames - self.mean) / self.std).last_hidden_state
        if tokens.dim() == 4:
            tokens = tokens.flatten(2).transpose(1, 2)  # (N, C, h, w) to (N, P, D)
        return F.layer_norm(tokens, tokens.shape[-1:])


def load_pretrained(config: FeaturesConfig, size: int) -> PretrainedFeatures:
    """The network that `features.name` says, frozen.

    Raises:
        MissingDependencyError: `transformers` is not installed.
        InputError: it is not on this machine, is damaged, or holds pickled weights alone.
        ConfigError: it takes frames of another size, or cannot draw pictures where it should.
    """
    published = config.weights == "published"
    assert config.name is not None
    found = find_model(config.name, weights=published)
    network = _network(found, config.kind, published)
    if config.kind == "mae":
        return ViTMAEFeatures(found, network, published, size)
    return VisionFeatures(found, network, published, size)


def _network(found: FoundModel, kind: str, published: bool) -> nn.Module:
    """The network in `found`, with the weights of its files, or with new ones of torch's global generator."""
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    where = str(found.folder)
    of_kind: Any = transformers.ViTMAEForPreTraining if kind == "mae" else transformers.AutoModel
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            config = transformers.AutoConfig.from_pretrained(where, local_files_only=True, trust_remote_code=False)
            if kind == "mae" and config.model_type != "vit_mae":
                raise InputError(
                    f"{where} is a {config.model_type}", expected="a vit_mae", fix="set features.kind=vision"
                )
            if not published:
                return _new_network(of_kind, config, kind)
            network, report = of_kind.from_pretrained(
                where, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True,
                dtype=torch.float32,
            )  # fmt: skip
    except _DAMAGE as error:
        raise InputError(
            f"{where} cannot be read: {_first_line(error)}",
            expected="a vision model of transformers",
            fix=f"copy the whole folder again, or {_ANOTHER}",
        ) from error
    lacking = sorted(report["missing_keys"])
    # A pooler that a checkpoint lacks is not used here.
    if any("pooler" not in key for key in lacking):
        raise InputError(
            f"the weights in {where} lack {', '.join(lacking[:5])}",
            expected="all weights" + (", the decoder's among them (a model for pre-training)" if kind == "mae" else ""),
            fix="copy the whole folder again" + (", or set features.kind=vision" if kind == "mae" else ""),
        )
    return _seeing_part(network)


def _new_network(of_kind: Any, config: Any, kind: str) -> nn.Module:
    if kind != "mae":
        return _seeing_part(of_kind.from_config(config))
    made: Any = of_kind(config)
    # transformers leaves both at zero, and without them no place differs from another.
    for positions in (made.vit.embeddings.position_embeddings, made.decoder.decoder_pos_embed):
        side = math.isqrt(positions.shape[1] - 1)
        with torch.no_grad():
            positions[0, 1:] = places_as_waves(side, positions.shape[2])
    fresh: nn.Module = made
    return fresh


def places_as_waves(side: int, width: int) -> Tensor:
    """(side · side, width): a place's column, then its row, as sines and cosines of falling frequency.

    Args:
        side: rows and columns of places.
        width: a multiple of 4.
    """
    frequency = 10000.0 ** -(torch.arange(width // 4) / (width // 4))  # (width / 4,)
    angle = torch.arange(side)[:, None] * frequency  # (side, width / 4)
    line = torch.cat([angle.sin(), angle.cos()], 1)  # (side, width / 2)
    columns, rows = line.expand(side, -1, -1), line[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], 2).flatten(0, 1)


def _seeing_part(network: nn.Module) -> nn.Module:
    """Of models of pictures and words (CLIP, SigLIP) what sees; other models as they are."""
    part = getattr(network, "vision_model", None)
    return part if isinstance(part, nn.Module) else network


def _tokens_of_a_frame(network: Any, folder: Path, size: int) -> Tensor:
    """What a vision model makes of one frame: tokens (1, E + P, D), or a map (1, C, h, w).

    Raises:
        ConfigError: it takes no frames, takes them at another size alone, or gives something else.
    """
    network.eval()
    try:
        with torch.no_grad():
            found = network(pixel_values=torch.zeros(1, 3, size, size)).last_hidden_state
    except (*_DAMAGE, IndexError) as error:
        made_for = getattr(network.config, "image_size", None)
        if made_for is not None:
            _check_size(folder, made_for, size)
        raise _no_tokens(folder, _first_line(error)) from error
    if not isinstance(found, Tensor) or found.dim() not in (3, 4):
        raise _no_tokens(folder, f"it gives {tuple(found.shape) if isinstance(found, Tensor) else found!r}"[:300])
    return found


def _places(folder: Path, config: Any, size: int, tokens: int) -> int:
    """How many of the tokens stand for a place of the frame: all but those before the patches.

    Raises:
        ConfigError: nothing says how large patches are, or they do not divide the frame.
    """
    patch = _patch_size(config)
    if patch is None:
        raise ConfigError(
            f"the model in {folder} gives {tokens} tokens of a frame, and its config has no single patch_size",
            expected="square patches, or a map of channels",
            fix=_ANOTHER,
        )
    if size % patch:
        raise ConfigError(
            f"{folder} is a model of patches of {patch} pixels, and image.size is {size}",
            expected="an image.size that its patches divide (DINOv2: 224)",
            fix=f"set image.size to a multiple of {patch}, with shard sets of that size",
        )
    patches = (size // patch) ** 2
    return patches if patches <= tokens else tokens  # fewer where patches are merged on the way (Swin)


def _no_tokens(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the model in {folder} gives no tokens of frames: {why}",
        expected="a vision model of transformers: frames in (pixel_values), a last layer of tokens or of a map out",
        fix=_ANOTHER,
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def _check_size(folder: Path, found: Any, size: int) -> None:
    if found not in (size, [size, size], (size, size)):
        raise ConfigError(
            f"the model in {folder} takes frames of {found} pixels, and image.size is {size}",
            expected=f"image.size={found}, and shard sets of that size (or larger, with data.crop={found})",
            fix=f"prepare the videos with `--set size={found}x{found}`, and train with `--set image.size={found}`",
        )


def _patch_size(config: Any) -> int | None:
    found = getattr(config, "patch_size", None)
    return found if isinstance(found, int) and found > 0 else None


def _mean_and_std(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What channels are normalised by: as the folder's preprocessor says, else ImageNet's.

    Raises:
        InputError: it says something that is no mean and deviation of three channels.
    """
    place = folder / PREPROCESSOR
    if not place.is_file():
        return IMAGENET_MEAN, IMAGENET_STD
    fix = f"restore {PREPROCESSOR}, or copy the whole folder again"
    data = read_bytes(place, error=InputError, limit=SMALL_FILE, fix=fix)
    said = parse_json(data, str(place), error=InputError, expect=dict, fix=fix)
    found = said.get("image_mean", IMAGENET_MEAN), said.get("image_std", IMAGENET_STD)
    try:
        mean, std = (tuple(float(value) for value in values) for values in found)
    except (TypeError, ValueError):
        mean, std = (), ()
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise InputError(
            f"{place}: image_mean and image_std are {found}",
            expected="three numbers each, std > 0",
            fix=f"restore {PREPROCESSOR}; without the file the channels are normalised as ImageNet's",
        )
    return mean, std
