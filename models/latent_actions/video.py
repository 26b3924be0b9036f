"""World model of videos with latent actions (PreLAR): one RSSM that is told what happened between its frames.

Legend: `B` batch, `T` time, `C H W` frame, `L` size of a latent action.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ipv_bench.errors import ConfigError
from models.latent_actions.action_encoder import ActionEncoder, led_into
from models.latent_actions.config import LatentActionVideoConfig
from models.latent_actions.consistency import ConsistencyDraws, draw_consistency, rank_loss
from models.latent_actions.gaussian import LatentActions, standard_normal_kl
from models.nets.distributions import (
    balanced_kl,
    categorical_entropy,
    categorical_kl,
    full_precision,
    gaussian_kl,
    gumbel_noise,
)
from models.nets.rssm import RSSM, Latents, State
from models.training.optimizer import OptimizerGroup
from models.world_models.context import ContextDraws
from models.world_models.image_model import ImageModel, image_loss


class LatentActionDraws(NamedTuple):
    """All random numbers of one forward pass.

    Attributes:
        latents: how the posterior's latents are drawn.
        action: (B, T - 1, L) normal noise of the latent actions; None takes their means.
        consistency: what the consistency loss compares; None: it is not formed.
        context: the context path's choices; None without context.
    """

    latents: Latents
    action: Tensor | None
    consistency: ConsistencyDraws | None
    context: ContextDraws | None


class LatentActionVideoModel(nn.Module):
    """World model of videos whose RSSM sees latent actions.

    Args:
        config: a world model's sections, with `rssm.action_dim` = L, and `latent_action`.
    """

    fewest_frames = 2

    def __init__(self, config: LatentActionVideoConfig) -> None:
        super().__init__()
        self.config = config
        rssm, image = config.rssm, config.image
        assert rssm.action_dim is not None
        self.vision = ImageModel(image, config.encoder, config.decoder, config.context, rssm.feat_size)
        self.rssm = RSSM(rssm, self.vision.encoder.embed_size, action_free=False)
        self.action_encoder = ActionEncoder(
            config.latent_action, config.encoder, image.size, rssm.hidden, rssm.action_dim
        )
        self.action_kl_scale = config.latent_action.action_kl_scale(image)

    def optimizer_group(self) -> OptimizerGroup:
        """All parameters, as one group."""
        return OptimizerGroup("world_model", dict(self.named_parameters()), self.config.optimizer)

    def set_mean_image(self, images: Tensor) -> None:
        """Take the mean of uint8 frames (N, H, W, 3) as the image offset, where the config asks for that."""
        self.vision.scaling.set_mean_image(images)

    def draw(
        self, batch: int, length: int, generator: torch.Generator, observed: int | None = None
    ) -> LatentActionDraws:
        """Random numbers of a pass over (batch, length) frames; all of them come from `generator`, on its device.

        Latent actions are sampled, and compared for the consistency loss, while training only.

        Raises:
            ConfigError: the consistency loss is on, and there is no other sequence to compare with.
        """
        rssm, size = self.config.rssm, self.action_encoder.size
        noise = gumbel_noise((length, batch, rssm.stoch, rssm.discrete), generator)
        action = consistency = None
        if self.training and self.config.latent_action.posterior == "stochastic":
            action = torch.randn((batch, length - 1, size), generator=generator, device=generator.device)
        if self.training and self.config.latent_action.consistency_scale:
            if batch < 2:
                raise ConfigError(
                    "latent_action.consistency_scale compares sequences with one another, and a batch holds one",
                    expected="data.batch_size of at least 2 for each process",
                    fix="set a larger data.batch_size, or latent_action.consistency_scale=0",
                )
            consistency = draw_consistency(batch, length, generator)
        return LatentActionDraws(
            Latents(noise), action, consistency, self.vision.draw(batch, length, generator, observed)
        )

    def forward(self, image: Tensor, draws: LatentActionDraws) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (scalar) and its parts (detached scalars) of uint8 frames (B, T, H, W, 3)."""
        target = self.vision.scaling(image)  # (B, T, 3, H, W)
        maps = self.vision.context_maps(target, draws.context)
        inferred = self.action_encoder(target)  # (B, T - 1, L)
        action = led_into(inferred.sample(draws.action))  # (B, T, L)
        posterior, prior_logit = self.rssm.observe(self.vision.embed(target), action, None, draws.latents)
        prediction = self.vision.decode(posterior.feat, maps, draws.context)
        weights, own = self.config.loss, self.config.latent_action
        kl, kl_value = balanced_kl(posterior.logit, prior_logit, weights.kl_balance, weights.free_nats)
        reconstruction = image_loss(prediction, target)
        loss = weights.kl_scale * kl + weights.image_scale * reconstruction
        metrics = {"kl_loss": kl, "image_loss": reconstruction, "kl": kl_value.mean()}
        action_kl = self.action_kl(inferred)
        if action_kl is not None:
            loss = loss + self.action_kl_scale * action_kl
            metrics["action_kl"] = action_kl
        if draws.consistency is not None:
            consistency = self.consistency(posterior, prior_logit, action, inferred, draws.consistency)
            loss = loss + own.consistency_scale * consistency
            metrics["consistency_loss"] = consistency
        with torch.no_grad():
            metrics["posterior_entropy"] = categorical_entropy(posterior.logit).mean()
            metrics["prior_entropy"] = categorical_entropy(prior_logit).mean()
        return loss, {key: value.detach() for key, value in ({"loss": loss} | metrics).items()}

    def loss(
        self, image: Tensor, generator: torch.Generator | None = None, *, draws: LatentActionDraws | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`forward` with draws made by `generator`, or with forced `draws`."""
        if draws is None:
            assert generator is not None
            draws = self.draw(image.shape[0], image.shape[1], generator)
        return self.forward(image, draws)

    def action_kl(self, inferred: LatentActions) -> Tensor | None:
        """KL to N(0, I) in nats: summed over L, averaged over batch and time. None for deterministic ones."""
        if inferred.std is None:
            return None
        return standard_normal_kl(full_precision(inferred.mean), inferred.std).mean()

    def consistency(
        self,
        posterior: State,
        prior_logit: Tensor,
        action: Tensor,
        inferred: LatentActions,
        draws: ConsistencyDraws,
    ) -> Tensor:
        """`rank_loss` of what another sequence's action would have led to, and of how far that action is.

        Args:
            posterior: (B, T, ...).
            prior_logit: (B, T, S, K), under the own actions.
            action: (B, T, L) own actions, each led into its frame.
            inferred: (B, T - 1, L) their distributions.
            draws: what is compared.
        """
        assert inferred.std is not None
        with torch.no_grad():
            start = posterior.map(lambda value: value[:, :-1].flatten(0, 1))  # (N, ...)
            others = action[draws.sequence, 1:].flatten(0, 1)  # (N, L)
            other_logit = self.rssm.img_step(start, others, Latents()).logit  # (N, S, K)
            effect = categorical_kl(prior_logit[:, 1:].flatten(0, 1), other_logit)  # (N,)
        mean, std = full_precision(inferred.mean), inferred.std
        difference = gaussian_kl(mean, std, mean[draws.sequence], std[draws.sequence]).flatten()  # (N,)
        return rank_loss(effect, difference, draws.step)

    @torch.no_grad()
    def infer(self, image: Tensor) -> LatentActions:
        """Latent actions (B, T - 1, L) of uint8 frames (B, T, H, W, 3), in evaluation mode (restored afterwards)."""
        was_training = self.training
        self.eval()
        found: LatentActions = self.action_encoder(self.vision.scaling(image))
        self.train(was_training)
        return found

    @torch.no_grad()
    def predict(
        self,
        image: Tensor,
        actions: Tensor,
        observed: int,
        generator: torch.Generator | None = None,
        *,
        sample: bool = True,
        draws: LatentActionDraws | None = None,
    ) -> Tensor:
        """Frames decoded with the first `observed` ones seen, and the rest predicted under given latent actions.

        Args:
            image: uint8 (B, T, H, W, 3); frames from `observed` on are not looked at.
            actions: (B, T - 1, L) between the frames.
            observed: frames that the posterior sees, 1 ≤ observed ≤ T.
            generator: decides the RSSM's latents; equal states of it give equal draws for any actions.
            sample: False takes the most likely latents.
            draws: of `draw` with the same `observed`, in place of a generator.

        Returns:
            (B, T, 3, H, W) in [0, 1].
        """
        was_training = self.training
        self.eval()
        batch, length = image.shape[:2]
        if draws is None:
            assert generator is not None
            draws = self.draw(batch, length, generator, observed)
        scaled = self.vision.scaling(image)
        led = led_into(actions.to(scaled.dtype))  # (B, T, L)
        maps = self.vision.context_maps(scaled, draws.context)
        noise = draws.latents.noise if sample else None
        first, rest = (None, None) if noise is None else (noise[:observed], noise[observed:])
        embed = self.vision.embed(scaled[:, :observed])
        states, _ = self.rssm.observe(embed, led[:, :observed], None, Latents(first))
        if observed < length:
            last = states.map(lambda value: value[:, -1])
            future = self.rssm.imagine(last, led[:, observed:], Latents(rest), length - observed)
            states = State(*(torch.cat(pair, 1) for pair in zip(states, future, strict=True)))
        frames = self.vision.decode(states.feat, maps, draws.context)
        self.train(was_training)
        return self.vision.scaling.to_unit(full_precision(frames))

    def targets(self, image: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) in [0, 1]."""
        return image.movedim(-1, -3).float() / 255

    def rollout(self, image: Tensor, actions: Tensor, observed: int, generator: torch.Generator) -> Tensor:
        """`predict`, with latents drawn."""
        return self.predict(image, actions, observed, generator)

    def prior_actions(self, batch: int, length: int, generator: torch.Generator) -> Tensor:
        """Latent actions (B, T - 1, L) that no frame says anything of: drawn from N(0, I), or 0 where nothing holds
        them near it."""
        shape = (batch, length - 1, self.action_encoder.size)
        if self.config.latent_action.posterior == "deterministic":
            return torch.zeros(shape, device=generator.device)
        return torch.randn(shape, generator=generator, device=generator.device)

    def open_loop(
        self,
        image: Tensor,
        observed: int,
        generator: torch.Generator | None = None,
        *,
        sample: bool = True,
        draws: LatentActionDraws | None = None,
    ) -> Tensor:
        """Frames decoded with the first `observed` ones seen, and the rest predicted without being told what happens.

        Latent actions between seen frames are inferred, the others are drawn from the prior: nothing of the future
        enters, so that the error stands beside that of a model without actions. (The published pictures are predicted
        under latent actions that were inferred from the frames themselves; see `predict` for that.)

        Args:
            image: uint8 (B, T, H, W, 3).
            observed: frames that the posterior sees, 1 ≤ observed ≤ T.
            generator: decides latents and latent actions.
            sample: False takes the prior's mean for unknown latent actions, and the most likely latents.
            draws: of `draw` with the same `observed`, in place of a generator; unknown latent actions are then the
                prior's mean, since draws hold none of the prior.

        Returns:
            (B, T, 3, H, W) in [0, 1].
        """
        batch, length = image.shape[:2]
        if draws is not None or not sample:
            actions = self.vision.scaling.offset.new_zeros(batch, length - 1, self.action_encoder.size)
        else:
            assert generator is not None
            actions = self.prior_actions(batch, length, generator)
        if observed > 1:
            known = self.infer(image[:, :observed]).mean
            actions = torch.cat([known, actions[:, observed - 1 :].to(known.dtype)], 1)
        return self.predict(image, actions, observed, generator, sample=sample, draws=draws)

    @torch.no_grad()
    def features(self, image: Tensor, draws: LatentActionDraws, action: Tensor | None = None) -> Tensor:
        """Posterior states of uint8 frames (B, T, H, W, 3) under the latent actions inferred from them: (B, T, F)."""
        return self._posterior(image, draws)[0].feat

    @torch.no_grad()
    def compose(
        self, motion: Tensor, appearance: Tensor, draws: LatentActionDraws, action: Tensor | None = None
    ) -> Tensor:
        """Frames with the dynamics of one clip, its latent actions among them, and the appearance of another's first
        frame; see `models.world_models.video.VideoWorldModel.compose`."""
        posterior, led = self._posterior(motion, draws)
        frame = self.vision.scaling(appearance[:, :1])  # (B, 1, 3, H, W)
        context = None if draws.context is None else draws.context._replace(frame=frame.new_zeros(len(frame)).long())
        maps = self.vision.context_maps(frame, context)
        if not self.vision.has_context:
            noise = draws.latents.noise
            start = Latents(None if noise is None else noise[:1])
            first, _ = self.rssm.observe(self.vision.embed(frame), led[:, :1], None, start)
            posterior = self.rssm.carry_on(first, posterior, led)
        return self.vision.scaling.to_unit(full_precision(self.vision.decode(posterior.feat, maps, context)))

    def _posterior(self, image: Tensor, draws: LatentActionDraws) -> tuple[State, Tensor]:
        """States (B, T, ...), and the latent action (B, T, L) that led to each frame."""
        scaled = self.vision.scaling(image)
        led = led_into(self.action_encoder(scaled).mean)
        return self.rssm.observe(self.vision.embed(scaled), led, None, draws.latents)[0], led
