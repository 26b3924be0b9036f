"""A small masked autoencoder, trained on a run's own videos: frozen features where no published ones are at hand.

Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022: the encoder sees the patches that are
not hidden, the decoder all places. Two departures: a step hides a share between 0 and `mask_ratio` instead of always
the same, and the loss counts all patches; so the decoder also draws frames of which nothing is hidden, which is what
it is used for here (the published one draws hidden patches well and seen ones badly).
"""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ipv_bench.errors import ConfigError
from ipv_bench.progress import say
from ipv_bench.seeding import derive_seed
from models.features.config import OwnMAEConfig
from models.features.frozen import Frames, FrozenFeatures, frames_of, patches_of
from models.nets.transformer import Transformer, learned_tokens
from models.training.config import AdamWConfig

TELL_SECONDS = 30
"""Between two lines about a training under way."""
DECODER = ("decoder_in", "decoder", "out")
"""Modules that are the decoder's alone."""


class OwnMAE(FrozenFeatures):
    """See the module; no class token.

    Args:
        config: sizes, and how it is trained.
        size: height and width of frames.

    Raises:
        ConfigError: the patches do not divide the frame.
    """

    has_decoder = True
    fitted: Tensor

    def __init__(self, config: OwnMAEConfig, size: int) -> None:
        super().__init__()
        if size % config.patch:
            raise ConfigError(
                f"features.own.patch {config.patch} does not divide image.size {size}",
                expected="a divisor of it",
                fix="set features.own.patch to one",
            )
        self.config, self.size = config, size
        self.places, self.width = (size // config.patch) ** 2, config.width
        values = 3 * config.patch**2
        self.embed = nn.Linear(values, config.width)
        self.position = learned_tokens(self.places, config.width)
        self.encoder = Transformer(config.width, config.heads, config.layers)
        self.decoder_in = nn.Linear(config.width, config.width)
        self.hidden_token = learned_tokens(1, config.width)
        self.decoder_position = learned_tokens(self.places, config.width)
        self.decoder = Transformer(config.width, config.heads, config.decoder_layers)
        self.out = nn.Linear(config.width, values)
        self.register_buffer("fitted", torch.zeros((), dtype=torch.uint8))
        """Whether it has been trained; checkpoints carry it."""

    def encode(self, frames: Tensor) -> Tensor:
        """See `FrozenFeatures.encode`."""
        tokens: Tensor = self.encoder(self._embedded(frames))
        return tokens

    def decode(self, tokens: Tensor) -> Tensor:
        """See `FrozenFeatures.decode`."""
        return frames_of(self._drawn(self.decoder_in(tokens)), self.config.patch, self.size)

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        """See `FrozenFeatures.decoder_parameters`."""
        return {name: value for name, value in self.named_parameters() if name.split(".")[0] in DECODER}

    def unused(self) -> list[nn.Parameter]:
        """See `FrozenFeatures.unused`."""
        return [self.hidden_token]

    def loss(self, frames: Tensor, order: Tensor, kept: int) -> Tensor:
        """Mean squared error of all patches of frames (N, 3, H, W), of which the encoder sees some.

        Args:
            frames: in [0, 1].
            order: (N, P) a random order of each frame's places.
            kept: the first so many of the order are seen.
        """
        embedded = self._embedded(frames)  # (N, P, D)
        seen = order[:, :kept, None].expand(-1, -1, self.width)
        tokens = self.decoder_in(self.encoder(embedded.gather(1, seen)))
        full = self.hidden_token.to(tokens.dtype).expand(len(frames), self.places, -1)
        full = full.scatter(1, seen, tokens)
        return F.mse_loss(self._drawn(full), patches_of(frames, self.config.patch))

    def fit(self, frames: Frames, seed: int) -> bool:
        """Train it, once; one that came with a checkpoint is left as it is."""
        if bool(self.fitted):
            return False
        config, device = self.config, self.embed.weight.device
        self.requires_grad_(True)
        schedule = AdamWConfig(lr=config.lr, warmup=config.warmup, weight_decay=0.01)
        betas = schedule.beta1, schedule.beta2
        adam = torch.optim.AdamW(self.parameters(), schedule.lr, betas, weight_decay=schedule.weight_decay)
        last, told = float("nan"), time.monotonic()
        with torch.enable_grad():
            for update in range(config.updates):
                generator = torch.Generator(device).manual_seed(derive_seed(seed, update, "own masked autoencoder"))
                adam.param_groups[0]["lr"] = schedule.lr * schedule.lr_scale(update, config.updates)
                images = frames(update, config.batch_size).movedim(-1, -3).float() / 255
                order = torch.rand(len(images), self.places, generator=generator, device=device).argsort(-1)
                hidden = config.mask_ratio * float(torch.rand((), generator=generator, device=device))
                loss = self.loss(images, order, max(1, round(self.places * (1 - hidden))))
                adam.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
                last = loss.item()
                if time.monotonic() - told > TELL_SECONDS:
                    told = time.monotonic()
                    say(
                        f"own masked autoencoder: {update + 1} of {config.updates} updates, error of a patch {last:.3g}"
                    )
        self.fitted.fill_(1)
        for parameter in self.parameters():
            parameter.grad = None
        self.freeze()
        say(f"own masked autoencoder: {config.updates} updates, error of a patch {last:.3g} (squared, of [0, 1])")
        return True

    def _embedded(self, frames: Tensor) -> Tensor:
        embedded: Tensor = self.embed(patches_of(frames, self.config.patch) - 0.5) + self.position
        return embedded

    def _drawn(self, tokens: Tensor) -> Tensor:
        patches: Tensor = self.out(self.decoder(tokens + self.decoder_position)) + 0.5
        return patches
