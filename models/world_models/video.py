"""World model of videos: action-free RSSM, image encoder and decoder, with or without a context path.

With `context.fusion=none` it is the vanilla model of APV, else ContextWM's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from models.nets.distributions import balanced_kl, categorical_entropy, full_precision, gumbel_noise
from models.nets.rssm import RSSM, Latents, State
from models.training.optimizer import OptimizerGroup
from models.world_models.context import ContextDraws, of_later_frames
from models.world_models.image_model import ImageModel, image_loss

if TYPE_CHECKING:
    from models.world_models.config import WorldModelConfig


class VideoDraws(NamedTuple):
    """All random numbers of one forward pass.

    Attributes:
        latents: how the posterior's latents are drawn.
        context: the context path's choices; None without context.
    """

    latents: Latents
    context: ContextDraws | None


class VideoOutput(NamedTuple):
    """What a forward pass computed.

    Attributes:
        embed: (B, T, E) embeddings.
        context_maps: context features by halvings; empty without context.
        posterior: states (B, T, ...).
        prior_logit: (B, T, S, K).
        prediction: (B, T, 3, H, W) decoded frames in the scaled space.
    """

    embed: Tensor
    context_maps: dict[int, Tensor]
    posterior: State
    prior_logit: Tensor
    prediction: Tensor


class VideoWorldModel(nn.Module):
    """Action-free world model of videos.

    Args:
        config: sections `image`, `encoder`, `decoder`, `rssm`, `context` (with `fusion` set) and `loss`.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = ImageModel(config.image, config.encoder, config.decoder, config.context, config.rssm.feat_size)
        self.action_free_rssm = RSSM(config.rssm, self.vision.encoder.embed_size, action_free=True)

    def optimizer_group(self) -> OptimizerGroup:
        """All parameters, as one group."""
        return OptimizerGroup("world_model", dict(self.named_parameters()), self.config.optimizer)

    def set_mean_image(self, images: Tensor) -> None:
        """Take the mean of uint8 frames (N, H, W, 3) as the image offset, where the config asks for that."""
        self.vision.scaling.set_mean_image(images)

    def draw(self, batch: int, length: int, generator: torch.Generator, observed: int | None = None) -> VideoDraws:
        """Random numbers of a pass over (batch, length) frames; all of them come from `generator`, on its device.

        Args:
            batch: segments.
            length: frames of each.
            generator: on the model's device.
            observed: the context frame is among the first so many frames; None: all.
        """
        rssm = self.config.rssm
        noise = gumbel_noise((length, batch, rssm.stoch, rssm.discrete), generator)
        return VideoDraws(Latents(noise), self.vision.draw(batch, length, generator, observed))

    def compute(self, image: Tensor, draws: VideoDraws, is_first: Tensor | None = None) -> VideoOutput:
        """Posterior, prior and decoded frames of scaled frames (B, T, 3, H, W).

        `is_first` (B, T) marks restarts; None: the segments start fresh and go through.
        """
        embed = self.vision.embed(image)
        maps = self.vision.context_maps(image, draws.context)
        posterior, prior_logit = self.action_free_rssm.observe(embed, None, is_first, draws.latents)
        prediction = self.vision.decode(posterior.feat, maps, draws.context)
        return VideoOutput(embed, maps, posterior, prior_logit, prediction)

    def forward(
        self, image: Tensor, draws: VideoDraws, is_first: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (scalar) and its parts (detached scalars) of uint8 frames (B, T, H, W, 3)."""
        target = self.vision.scaling(image)  # (B, T, 3, H, W)
        out = self.compute(target, draws, is_first)
        loss = self.config.loss
        kl, kl_value = balanced_kl(out.posterior.logit, out.prior_logit, loss.kl_balance, loss.free_nats)
        reconstruction = image_loss(out.prediction, target)
        total = loss.kl_scale * kl + loss.image_scale * reconstruction
        with torch.no_grad():
            metrics = {
                "loss": total.detach(),
                "kl_loss": kl.detach(),
                "image_loss": reconstruction.detach(),
                "kl": kl_value.mean(),
                "posterior_entropy": categorical_entropy(out.posterior.logit).mean(),
                "prior_entropy": categorical_entropy(out.prior_logit).mean(),
            }
        return total, metrics

    def loss(
        self,
        image: Tensor,
        generator: torch.Generator | None = None,
        *,
        draws: VideoDraws | None = None,
        is_first: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`forward` with draws made by `generator`, or with forced `draws`."""
        if draws is None:
            assert generator is not None
            draws = self.draw(image.shape[0], image.shape[1], generator)
        return self.forward(image, draws, is_first)

    @torch.no_grad()
    def open_loop(
        self,
        image: Tensor,
        observed: int,
        generator: torch.Generator | None = None,
        *,
        sample: bool = True,
        draws: VideoDraws | None = None,
        decode_from: int = 0,
    ) -> Tensor:
        """Frames decoded from the posterior for the first `observed` frames and from the prior alone for the rest.

        The context frame is one of the observed frames: nothing of the future enters (the published reports picked it
        from the whole clip). In evaluation mode, restored afterwards.

        Args:
            image: uint8 (B, T, H, W, 3).
            observed: frames that the posterior sees, 1 ≤ observed ≤ T.
            generator: decides latents, context frame and token masks.
            sample: False takes the most likely latents.
            draws: of `draw` with the same `observed`, in place of a generator.
            decode_from: frames before this one are not decoded, and not returned.

        Returns:
            (B, T - decode_from, 3, H, W) in [0, 1].
        """
        was_training = self.training
        self.eval()
        batch, length = image.shape[:2]
        if draws is None:
            assert generator is not None
            draws = self.draw(batch, length, generator, observed)
        noise = draws.latents.noise if sample else None
        scaled = self.vision.scaling(image)
        maps = self.vision.context_maps(scaled, draws.context)
        first, rest = (None, None) if noise is None else (noise[:observed], noise[observed:])
        states, _ = self.action_free_rssm.observe(self.vision.embed(scaled[:, :observed]), None, None, Latents(first))
        if observed < length:
            last = states.map(lambda value: value[:, -1])
            future = self.action_free_rssm.imagine(last, None, Latents(rest), length - observed)
            states = State(*(torch.cat(pair, 1) for pair in zip(states, future, strict=True)))
        later = of_later_frames(draws.context, length, decode_from)
        frames = self.vision.decode(states.feat[:, decode_from:], maps, later)
        self.train(was_training)
        return self.vision.scaling.to_unit(full_precision(frames))

    @torch.no_grad()
    def features(self, image: Tensor, draws: VideoDraws, action: Tensor | None = None) -> Tensor:
        """Posterior states of uint8 frames (B, T, H, W, 3): (B, T, F). There are no actions in this model."""
        return self._posterior(self.vision.scaling(image), draws).feat

    @torch.no_grad()
    def compose(self, motion: Tensor, appearance: Tensor, draws: VideoDraws, action: Tensor | None = None) -> Tensor:
        """Frames with the dynamics of one clip and the appearance of another's first frame.

        With a context path: the posterior states of `motion`, decoded with that frame as context. Without one nothing
        keeps appearance apart; then the state starts as the posterior of that frame alone, and goes on by the latents
        that the posterior of `motion` drew. Either way a clip composed with itself is its reconstruction.

        Args:
            motion: uint8 (B, T, H, W, 3).
            appearance: the same shape; only its first frame is seen.
            draws: of a pass over (B, T) frames.
            action: not used: there are none in this model.

        Returns:
            (B, T, 3, H, W) in [0, 1].
        """
        posterior = self._posterior(self.vision.scaling(motion), draws)
        frame = self.vision.scaling(appearance[:, :1])  # (B, 1, 3, H, W)
        context = None if draws.context is None else draws.context._replace(frame=frame.new_zeros(len(frame)).long())
        maps = self.vision.context_maps(frame, context)
        if not self.vision.has_context:
            noise = draws.latents.noise
            first, _ = self.action_free_rssm.observe(
                self.vision.embed(frame), None, None, Latents(None if noise is None else noise[:1])
            )
            posterior = self.action_free_rssm.carry_on(first, posterior)
        return self.vision.scaling.to_unit(full_precision(self.vision.decode(posterior.feat, maps, context)))

    def _posterior(self, scaled: Tensor, draws: VideoDraws) -> State:
        states, _ = self.action_free_rssm.observe(self.vision.embed(scaled), None, None, draws.latents)
        return states
