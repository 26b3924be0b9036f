"""A world model of frozen features with quantised latent actions, as videos train it (the Universal World Model).

Legend: `B` segments, `T` frames, `N` = B (T - 1) pairs of neighbours, `E` leading tokens that belong to no place, `P`
places, `D` size of a feature, `C` codes of a latent action, `K` size of a code, `L` = C K.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ipv_bench.errors import CheckpointError
from models.features.build import build_features
from models.features.frozen import Frames
from models.features.pixels import PixelDecoder
from models.latent_actions.cycle import CycleConsistency
from models.latent_actions.extractor import Extractor, FeatureDynamics
from models.latent_actions.feature_config import FeatureModelConfig
from models.latent_actions.gaussian import LatentActions
from models.nets.distributions import full_precision
from models.nets.quantizer import Quantized, VectorQuantizer, batch_perplexity
from models.training.optimizer import OptimizerGroup

CHUNK = 128
"""Frames that the frozen network sees at once: what it holds meanwhile stays small, whatever the batch."""
SMALLEST_COPY_ERROR = 1e-8
"""Videos in which nothing moves must not divide by zero."""
DIGEST = "features_digest"


class FeatureDraws(NamedTuple):
    """Random numbers of a pass.

    Attributes:
        starts: (codes of the codebook,) numbers of the vectors that codes may begin at; None outside training.
    """

    starts: Tensor | None = None


class Pairs(NamedTuple):
    """Features of neighbouring frames: (N, P, D) each."""

    before: Tensor
    after: Tensor


class FeatureVideoModel(nn.Module):
    """See the module; and `models.methods.base.VideoModel`, `models.latent_actions.measure.LatentActionModel`.

    Weights of features that somebody else trained are not among its tensors: checkpoints hold their sha256, and a model
    on other features is refused.
    """

    copy_error: Tensor
    fewest_frames = 2

    def __init__(self, config: FeatureModelConfig) -> None:
        super().__init__()
        self.config = config
        self.features = build_features(config.features, config.image.size)
        places, width, size = self.features.places, self.features.width, config.quantizer.size
        self.extractor = Extractor(config.extractor, places, width, size)
        self.quantizer = VectorQuantizer(config.quantizer)
        self.dynamics = FeatureDynamics(config.dynamics, places, width, config.extractor.num_codes, size)
        self.pixels: PixelDecoder | None = None
        if not self.features.has_decoder:
            self.pixels = PixelDecoder(config.features.pixels, places, width, config.image.size)
        self.cycle: CycleConsistency | None = None
        if config.loss == "ficc":
            self.features.requires_grad_(True)
            for parameter in self.features.unused():
                parameter.requires_grad_(False)  # processes that average gradients wait for each one's
            self.cycle = CycleConsistency(config.features.pixels, places, width, config.image.size)
        self.register_buffer("copy_error", torch.zeros(()))
        """Running mean of the squared error of a copy; 0 before the first batch."""
        self._tuned: frozenset[str] = frozenset()
        """Names of a decoder that was trained further by the run whose weights these are."""
        digest = self.features.digest()
        self.register_buffer(DIGEST, digest, persistent=digest is not None)

    @property
    def action_shape(self) -> tuple[int, int]:
        """(C, K)."""
        return self.config.extractor.num_codes, self.config.quantizer.size

    # What is trained, and what is kept.

    def optimizer_group(self) -> OptimizerGroup:
        """All parameters but those of frozen features, as one group."""
        return OptimizerGroup("world_model", self.trained(), self.config.optimizer)

    def trained(self) -> dict[str, nn.Parameter]:
        """What pre-training moves, by name."""
        own = {name: value for name, value in self.named_parameters() if not name.startswith("features.")}
        if self.cycle is None:
            return own
        return own | {
            f"features.{key}": value for key, value in self.features.named_parameters() if value.requires_grad
        }

    def set_mean_image(self, images: Tensor) -> None:
        """Nothing: frozen features have their own scaling."""

    def prepare(self, frames: Frames, seed: int) -> bool:
        """Train frozen features that a run has to train itself, before its first update; whether it did."""
        return self.cycle is None and self.features.fit(frames, seed)

    def statistics(self) -> list[Tensor]:
        """What a forward pass in training changes, without a gradient: to be restored where an update is skipped."""
        return [self.copy_error]

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        """What draws pictures and may be trained for that, by name."""
        if self.pixels is not None:
            return {f"pixels.{name}": value for name, value in self.pixels.named_parameters()}
        return {f"features.{name}": value for name, value in self.features.decoder_parameters().items()}

    def expect(self, names: Collection[str]) -> None:
        """See `models.training.module_tensors.SometimesMore`: a published decoder that was trained further is kept from
        then on, by every run that starts from these weights."""
        self._tuned = frozenset(self.decoder_parameters()) & frozenset(names)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Without frozen weights that are not ours to keep."""
        values = super().state_dict(*args, **kwargs)
        for name in self._left_out():
            del values[name]
        return values

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """See `state_dict`.

        Raises:
            CheckpointError: the weights were trained on other features.
        """
        digest = getattr(self, DIGEST)
        if digest is not None and not torch.equal(state_dict[DIGEST].cpu(), digest.cpu()):
            raise CheckpointError(
                f"the model was trained on other features than those of features.name={self.config.features.name}: the "
                "sha256 of their weights differs",
                expected="the weight files that it was pre-trained with",
                fix="set features.name to their folder: run.json of the pre-training names it",
            )
        own = super().state_dict()
        return super().load_state_dict({**{name: own[name] for name in self._left_out()}, **state_dict})

    def _left_out(self) -> Iterator[str]:
        if self.config.features.in_checkpoints:
            return
        for name, parameter in self.features.named_parameters():
            if not parameter.requires_grad and f"features.{name}" not in self._tuned:
                yield f"features.{name}"
        yield from (f"features.{name}" for name, _ in _persistent_buffers(self.features))

    # Features and pictures.

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """uint8 frames (..., H, W, 3) to tokens (..., E + P, D); each frame is looked at once, without gradients."""
        flat = image.flatten(0, -4) if image.dim() > 4 else image
        parts = [self.features.encode(part.movedim(-1, -3).float() / 255) for part in torch.split(flat, CHUNK)]
        tokens = torch.cat(parts)
        return tokens.reshape(*image.shape[:-3], *tokens.shape[1:])

    def places(self, tokens: Tensor) -> Tensor:
        """(..., E + P, D) to (..., P, D): what is predicted."""
        return tokens[..., self.features.extra :, :]

    def pictures(self, tokens: Tensor) -> Tensor:
        """Tokens (..., E + P, D) to frames (..., 3, H, W), about [0, 1] and not clipped."""
        flat = tokens.flatten(0, -3)
        draw = self.features.decode if self.pixels is None else lambda part: self.pixels(self.places(part))
        frames = torch.cat([draw(part) for part in torch.split(flat, CHUNK)])
        return frames.reshape(*tokens.shape[:-2], *frames.shape[1:])

    @torch.no_grad()
    def shown(self, tokens: Tensor) -> Tensor:
        """`pictures` in [0, 1], full precision."""
        return full_precision(self.pictures(tokens)).clamp(0, 1)

    # Training.

    def draw(self, batch: int, length: int, generator: torch.Generator, observed: int | None = None) -> FeatureDraws:
        """Random numbers of a pass over (batch, length) frames."""
        if not self.training:
            return FeatureDraws()
        return FeatureDraws(self.quantizer.draw(batch * (length - 1) * self.action_shape[0], generator))

    def pairs(self, tokens: Tensor) -> Pairs:
        """Tokens (B, T, E + P, D) to the pairs of neighbours."""
        states = self.places(tokens)
        return Pairs(states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1))

    def forward(self, image: Tensor, draws: FeatureDraws) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (scalar) and its parts (detached scalars) of uint8 frames (B, T, H, W, 3)."""
        if self.cycle is not None:
            return self._learned_along(image, draws, self.cycle)
        tokens = self.encode(image)
        before, after = self.pairs(tokens)
        quantized: Quantized = self.quantizer(self.extractor(before, after), draws.starts)
        predicted = self.dynamics(before, quantized.value)
        error = F.mse_loss(full_precision(predicted), full_precision(after))
        copy = F.mse_loss(full_precision(before), full_precision(after))
        state_loss = error / self._scale(copy) if self.config.state_loss.normalised else error
        loss = state_loss + quantized.loss
        metrics = {
            "state_loss": state_loss,
            "quantizer_loss": quantized.loss,
            "state_copy_ratio": error / copy.clamp_min(SMALLEST_COPY_ERROR),
            "perplexity": batch_perplexity(quantized.codes, self.config.quantizer.codes).float(),
        }
        if self.pixels is not None or not self.training:
            drawn = F.mse_loss(full_precision(self.pictures(tokens)), image.movedim(-1, -3).float() / 255)
            metrics["image_loss"] = drawn
            loss = loss + (drawn if self.pixels is not None else 0)
        return loss, {key: value.detach() for key, value in ({"loss": loss} | metrics).items()}

    def _learned_along(
        self, image: Tensor, draws: FeatureDraws, cycle: CycleConsistency
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`forward` of loss=ficc: gradients reach the features."""
        frames = image.movedim(-1, -3).float() / 255  # (B, T, 3, H, W)
        tokens = self.features.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # type: ignore[no-untyped-call]
        before, after = self.pairs(tokens)
        quantized: Quantized = self.quantizer(self.extractor(before, after), draws.starts)
        predicted = self.dynamics(before, quantized.value)
        parts = cycle(before, after, predicted, (frames[:, 1:] - frames[:, :-1]).flatten(0, 1))
        drawn = self.features.decode(tokens.flatten(0, 1))
        parts["image_loss"] = F.mse_loss(full_precision(drawn), frames.flatten(0, 1))
        parts["quantizer_loss"] = quantized.loss
        loss = torch.stack(list(parts.values())).sum()
        with torch.no_grad():
            error, copy = F.mse_loss(predicted, after), F.mse_loss(before, after)
            parts["state_copy_ratio"] = error / copy.clamp_min(SMALLEST_COPY_ERROR)
            parts["perplexity"] = batch_perplexity(quantized.codes, self.config.quantizer.codes).float()
        return loss, {key: value.detach() for key, value in ({"loss": loss} | parts).items()}

    def loss(
        self, image: Tensor, generator: torch.Generator | None = None, *, draws: FeatureDraws | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`forward` with draws made by `generator`, or with forced `draws`."""
        if draws is None:
            assert generator is not None
            draws = self.draw(image.shape[0], image.shape[1], generator)
        return self.forward(image, draws)

    @torch.no_grad()
    def _scale(self, copy: Tensor) -> Tensor:
        """What the error of predictions is divided by: the running error of a copy, which this batch moves."""
        if self.training:
            decay = torch.where(self.copy_error > 0, self.config.state_loss.decay, 0.0)
            self.copy_error.copy_(decay * self.copy_error + (1 - decay) * copy.detach())
            return self.copy_error.clone().clamp_min(SMALLEST_COPY_ERROR)
        return torch.where(self.copy_error > 0, self.copy_error, copy).clamp_min(SMALLEST_COPY_ERROR)

    # Latent actions.

    @torch.no_grad()
    def infer(self, image: Tensor) -> LatentActions:
        """Latent actions (B, T - 1, L) of uint8 frames (B, T, H, W, 3): codes, dequantised."""
        return self.infer_from(self.encode(image))

    @torch.no_grad()
    def infer_from(self, tokens: Tensor) -> LatentActions:
        """The same from tokens (B, T, E + P, D)."""
        batch, length = tokens.shape[:2]
        codes = self.quantizer.nearest(self.extractor(*self.pairs(tokens)))  # (N, C)
        values = self.quantizer.values(codes).reshape(batch, length - 1, -1)
        return LatentActions(values, None, codes.reshape(batch, length - 1, -1), self.config.quantizer.codes)

    def prior_actions(self, batch: int, length: int, generator: torch.Generator) -> Tensor:
        """Latent actions (B, T - 1, L) that no frame says anything of: codes drawn evenly from the codebook."""
        shape = (batch, length - 1, self.action_shape[0])
        codes = torch.randint(self.config.quantizer.codes, shape, generator=generator, device=generator.device)
        return self.quantizer.values(codes).detach().flatten(2)

    def action_kl(self, inferred: LatentActions) -> Tensor | None:
        """None: codes have no distribution."""
        return None

    @torch.no_grad()
    def imagine(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """Tokens that follow from those of one frame under latent actions.

        Args:
            tokens: (B, E + P, D).
            actions: (B, k, L).

        Returns:
            (B, k, E + P, D); the leading ones stay what they were.
        """
        extra, state = tokens[:, : self.features.extra], self.places(tokens)
        found = []
        for action in actions.unbind(1):
            state = self.dynamics(state, action.reshape(len(action), *self.action_shape))
            found.append(torch.cat([extra.to(state.dtype), state], 1))
        return torch.stack(found, 1)

    @torch.no_grad()
    def rollout_tokens(self, tokens: Tensor, actions: Tensor, observed: int) -> Tensor:
        """Tokens (B, T, E + P, D): the first `observed` as given, the rest under latent actions (B, T - 1, L)."""
        if observed > actions.shape[1]:
            return tokens[:, :observed]
        future = self.imagine(tokens[:, observed - 1], actions[:, observed - 1 :].to(tokens.dtype))
        return torch.cat([tokens[:, :observed], future], 1)

    def targets(self, image: Tensor) -> Tensor:
        """(B, T, P, D): errors of predictions are those of features, which no decoder blurs."""
        return self.places(self.encode(image))

    def rollout(self, image: Tensor, actions: Tensor, observed: int, generator: torch.Generator) -> Tensor:
        """(B, T, P, D): features of the first `observed` frames, and what latent actions (B, T - 1, L) make of them."""
        return self.places(self.rollout_tokens(self.encode(image[:, :observed]), actions, observed))

    @torch.no_grad()
    def predict(
        self,
        image: Tensor,
        actions: Tensor,
        observed: int,
        generator: torch.Generator | None = None,
        *,
        sample: bool = True,
        draws: FeatureDraws | None = None,
    ) -> Tensor:
        """Frames (B, T, 3, H, W) in [0, 1]: the first `observed` ones drawn from their own features, the rest predicted
        under latent actions (B, T - 1, L). Nothing is random."""
        return self.shown(self.rollout_tokens(self.encode(image[:, :observed]), actions, observed))

    @torch.no_grad()
    def pair_pictures(self, image: Tensor, action: Tensor | None = None) -> dict[str, Tensor]:
        """See `models.pretraining.pair_pictures.PairModel`."""
        tokens = self.encode(image)  # (B, 2, E + P, D)
        predicted = self.imagine(tokens[:, 0], self.infer_from(tokens).mean)[:, 0]
        first, second = self.shown(tokens).unbind(1)
        return {"reconstruction": first, "next_reconstruction": second, "prediction": self.shown(predicted)}

    @torch.no_grad()
    def open_loop(
        self,
        image: Tensor,
        observed: int,
        generator: torch.Generator | None = None,
        *,
        sample: bool = True,
        draws: FeatureDraws | None = None,
    ) -> Tensor:
        """Frames with the first `observed` ones seen, and the rest predicted without being told what happens.

        Latent actions between seen frames play no part: a prediction stands on the newest seen frame alone. The others
        are drawn evenly from the codebook; without a generator they are its mean.

        Args:
            image: uint8 (B, T, H, W, 3).
            observed: frames that are seen, 1 ≤ observed ≤ T.
            generator: decides latent actions.
            sample: False takes the codebook's mean.
            draws: stands in place of a generator; it holds no latent actions.

        Returns:
            (B, T, 3, H, W) in [0, 1].
        """
        batch, length = image.shape[:2]
        if generator is not None and sample:
            actions = self.prior_actions(batch, length, generator)
        else:
            mean = self.quantizer.codebook.detach().mean(0).repeat(self.action_shape[0])  # (L,)
            actions = mean.expand(batch, length - 1, -1)
        return self.predict(image, actions, observed)


def _persistent_buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    kept = module.state_dict()
    return [(name, value) for name, value in module.named_buffers() if name in kept]
