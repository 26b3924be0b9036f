"""A model of frozen features under real actions, or on videos of another domain, as `ipv-bench adapt` trains it.

Legend: as in `models.latent_actions.feature_model`; `A` size of an action.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.latent_actions.action_adapter import ActionAdapter
from models.latent_actions.feature_config import AdaptedFeatureModelConfig
from models.latent_actions.feature_model import FeatureDraws, FeatureVideoModel
from models.nets.distributions import full_precision
from models.training.module_tensors import load_tensors
from models.training.optimizer import OptimizerGroup

PREFIX = "adapter."


class AdaptedFeatureModel(nn.Module):
    """See `models.methods.base.ActionModel`.

    Args:
        config: sizes.
        video: the pre-trained model.
        action_dim: A; 0 without an adapter.
        parts: `adapter` trains it alone, and with `adapter.finetune_decoder` the decoder of the features; `dynamics`
            continues the pre-training of extractor, codebook and dynamics on other videos.
    """

    fewest_frames = 2

    def __init__(
        self, config: AdaptedFeatureModelConfig, video: FeatureVideoModel, action_dim: int, parts: str
    ) -> None:
        super().__init__()
        self.config, self.video, self.action_dim, self.parts = config, video, action_dim, parts
        codes, size = video.action_shape
        features = video.features
        self.adapter: ActionAdapter | None = None
        if action_dim:
            self.adapter = ActionAdapter(config.adapter, action_dim, features.width, features.places, codes, size)
        if parts == "adapter":
            video.requires_grad_(False)
            self._release_decoder()
        self.train()

    @property
    def _tunes_decoder(self) -> bool:
        return self.parts == "adapter" and self.config.adapter.finetune_decoder

    def _release_decoder(self) -> None:
        if self._tunes_decoder:
            for parameter in self.video.decoder_parameters().values():
                parameter.requires_grad_(True)

    def without_actions(self) -> FeatureVideoModel:
        """The model of videos inside."""
        return self.video

    def train(self, mode: bool = True) -> AdaptedFeatureModel:
        """As `torch.nn.Module.train`; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.parts == "adapter":
            self.video.eval()
        return self

    # What is trained, and what is kept.

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """Adapter and decoder, or the model of videos."""
        if self.parts == "dynamics":
            return [self.video.optimizer_group()]
        named = {name: value for name, value in self.named_parameters() if value.requires_grad}
        return [OptimizerGroup("adapter", named, self.config.adapter.optimizer)]

    def set_mean_image(self, images: Tensor) -> None:
        """Nothing: frozen features have their own scaling."""

    def prepare(self, frames: Any, seed: int) -> bool:
        """See `FeatureVideoModel.prepare`."""
        trained = self.video.prepare(frames, seed)
        self._release_decoder()
        return trained

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The names of the model of videos, and the adapter's."""
        values = dict(self.video.state_dict())
        if self.adapter is not None:
            values |= {PREFIX + name: value for name, value in self.adapter.state_dict().items()}
        return values

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """See `state_dict`."""
        own = {name.removeprefix(PREFIX): value for name, value in state_dict.items() if name.startswith(PREFIX)}
        if self.adapter is not None:
            self.adapter.load_state_dict(own)
        return self.video.load_state_dict({k: v for k, v in state_dict.items() if not k.startswith(PREFIX)})

    def expect(self, names: Collection[str]) -> None:
        """See `models.training.module_tensors.SometimesMore`."""
        self.video.expect(names)

    def load_adapted(self, tensors: Mapping[str, Tensor], where: Any) -> None:
        """Take over an adapted model: a model of videos that was adapted to a domain has no adapter yet, and an adapter
        is left out where the domain is learned anew. A decoder that was trained stays; one that is to be trained
        and was not starts as it was published.

        Raises:
            CheckpointError: it is of another model.
        """
        if self.adapter is None:
            tensors = {name: value for name, value in tensors.items() if not name.startswith(PREFIX)}
        elif not any(name.startswith(PREFIX) for name in tensors):
            tensors = {**tensors, **{PREFIX + name: value for name, value in self.adapter.state_dict().items()}}
        own = self.video.state_dict()
        decoder = {name: own[name] for name in self.video.decoder_parameters() if name in own}
        load_tensors(self, {**decoder, **tensors}, where)

    # Training and prediction.

    def draw(self, batch: int, length: int, generator: torch.Generator, observed: int | None = None) -> FeatureDraws:
        """All random numbers of a pass over (batch, length) frames."""
        return self.video.draw(batch, length, generator, observed)

    def forward(self, image: Tensor, action: Tensor, draws: FeatureDraws) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of uint8 frames (B, T, H, W, 3) and actions (B, T, A) that led to them."""
        if self.parts == "dynamics":
            result: tuple[Tensor, dict[str, Tensor]] = self.video(image, draws)
            return result
        tokens = self.video.encode(image)
        with torch.no_grad():
            before, after = self.video.pairs(tokens)
            target = self.video.extractor(before, after)  # (N, C, K), not quantised
        assert self.adapter is not None
        found = self.adapter(before, action[:, 1:].flatten(0, 1).to(before.dtype))
        loss = F.mse_loss(full_precision(found), full_precision(target))
        metrics = {"adapter_loss": loss} | self._agreement(found, target, before, after)
        if self._tunes_decoder or not self.training:
            drawn = self._drawn(tokens, found, image)
            metrics["image_loss"] = drawn
            loss = loss + (drawn if self._tunes_decoder else 0)
        return loss, {key: value.detach() for key, value in ({"loss": loss} | metrics).items()}

    @torch.no_grad()
    def _agreement(self, found: Tensor, target: Tensor, before: Tensor, after: Tensor) -> dict[str, Tensor]:
        """How much is lost from latent actions of the frames to those of real actions: share of equal codes, and the
        error of predicted features over that of a copy, for either."""
        quantizer = self.video.quantizer
        codes = quantizer.nearest(found), quantizer.nearest(target)
        copy = F.mse_loss(before, after).clamp_min(1e-8)
        real, latent = (F.mse_loss(self.video.dynamics(before, quantizer.values(each)), after) / copy for each in codes)
        same = (codes[0] == codes[1]).float().mean()
        return {"equal_codes": same, "state_copy_ratio": real, "latent_state_copy_ratio": latent}

    def _drawn(self, tokens: Tensor, found: Tensor, image: Tensor) -> Tensor:
        """Squared error of frames that are drawn from features predicted under real actions."""
        with torch.no_grad():
            value = self.video.quantizer.values(self.video.quantizer.nearest(found))
            extra = tokens[:, :-1].flatten(0, 1)[:, : self.video.features.extra]
            state = self.video.dynamics(self.video.pairs(tokens).before, value)
        drawn = self.video.pictures(torch.cat([extra.to(state.dtype), state], 1))
        return F.mse_loss(full_precision(drawn), image[:, 1:].flatten(0, 1).movedim(-1, -3).float() / 255)

    @torch.no_grad()
    def rollout_tokens(self, image: Tensor, action: Tensor, observed: int) -> Tensor:
        """Tokens (B, T, E + P, D): the first `observed` frames' own, the rest from actions (B, T, A) alone."""
        assert self.adapter is not None
        tokens = list(self.video.encode(image[:, :observed]).unbind(1))
        for t in range(observed, image.shape[1]):
            state = self.video.places(tokens[-1])
            inferred = self.adapter(state, action[:, t].to(state.dtype))
            value = self.video.quantizer.values(self.video.quantizer.nearest(inferred)).flatten(1)
            tokens.append(self.video.imagine(tokens[-1], value[:, None])[:, 0])
        return torch.stack(tokens, 1)

    def targets(self, image: Tensor) -> Tensor:
        """See `FeatureVideoModel.targets`."""
        return self.video.targets(image)

    def rollout(self, image: Tensor, action: Tensor, observed: int) -> Tensor:
        """(B, T, P, D): features of the first `observed` frames, and those that follow from actions (B, T, A)."""
        return self.video.places(self.rollout_tokens(image, action, observed))

    @torch.no_grad()
    def pair_pictures(self, image: Tensor, action: Tensor | None = None) -> dict[str, Tensor]:
        """See `models.pretraining.pair_pictures.PairModel`."""
        found = self.video.pair_pictures(image)
        if self.adapter is None or action is None:
            return found
        led = torch.stack([torch.zeros_like(action), action], 1)  # (B, 2, A)
        return found | {"action_prediction": self.video.shown(self.rollout_tokens(image, led, 1))[:, 1]}

    @torch.no_grad()
    def open_loop(self, image: Tensor, action: Tensor, observed: int, generator: torch.Generator) -> Tensor:
        """(B, T, 3, H, W) in [0, 1]: the first `observed` frames are drawn from their own features, the rest follow
        from actions alone."""
        return self.video.shown(self.rollout_tokens(image, action, observed))
