"""World model of an agent: an action-conditional RSSM on top of the pre-trained action-free one, with reward heads.

Where the config is not `stacked`, the action-conditional RSSM stands alone, directly on the image embedding: DreamerV2,
naive fine-tuning, and what stands in `models.latent_actions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ipv_bench.errors import ConfigError
from models.nets.config import RSSMConfig
from models.nets.distributions import balanced_kl, categorical_entropy, full_precision, gumbel_noise
from models.nets.heads import ScalarHead, half_squared_error
from models.nets.rssm import RSSM, Latents, State
from models.training.optimizer import OptimizerGroup
from models.world_models.context import ContextDraws, of_later_frames
from models.world_models.image_model import ImageModel, image_loss
from models.world_models.intrinsic_bonus import IntrinsicBonus

if TYPE_CHECKING:
    from models.world_models.config import StackedConfig


class StackedDraws(NamedTuple):
    """All random numbers of one forward pass.

    Attributes:
        action_free: how the action-free posterior's latents are drawn.
        latents: how the action-conditional posterior's latents are drawn.
        context: the context path's choices; None without context.
    """

    action_free: Latents
    latents: Latents
    context: ContextDraws | None


class StackedState(NamedTuple):
    """What a policy carries from step to step: both models' states; `action_free` may be None."""

    action_free: State | None
    upper: State


class Reconstruction(NamedTuple):
    """What a model makes of an episode, for `models.agents.diagnosis`.

    Attributes:
        states: (B, T, ...) posterior states.
        frames: (B, N, 3, H, W) decoded frames, scaled: the last N ≤ T, those that the model is trained to decode.
        target: (B, N, 3, H, W) the frames themselves, scaled.
        reward: (B, T) predicted reward, without a bonus where the model can tell the two apart.
    """

    states: Any
    frames: Tensor
    target: Tensor
    reward: Tensor


class StackedOutput(NamedTuple):
    """What the two RSSMs computed for a batch.

    Attributes:
        embed: (B, T, E) embeddings.
        action_free: states (B, T, ...) of the action-free model; None without one.
        action_free_prior: its prior logits (B, T, S, K).
        posterior: states (B, T, ...) of the action-conditional model.
        prior_logit: its prior logits (B, T, S, K).
    """

    embed: Tensor
    action_free: State | None
    action_free_prior: Tensor | None
    posterior: State
    prior_logit: Tensor


class StackedWorldModel(nn.Module):
    """World model with actions and rewards.

    Args:
        config: the world model's sections, and `reward`, `intrinsic`, `concat_embed`.
        action_dim: size A of the environment's actions, at most `rssm.action_dim` (see `make_rssm`).
        discount: γ, for a head that predicts it (times whether the episode goes on); None: no such head.

    Raises:
        ConfigError: the actions do not fit.
    """

    def __init__(self, config: StackedConfig, action_dim: int, discount: float | None = None) -> None:
        super().__init__()
        self.config, self.action_dim, self.discount = config, action_dim, discount
        rssm = config.rssm.model_copy(update={"action_dim": config.rssm.action_dim or action_dim})
        feat_size = rssm.feat_size
        self.vision = ImageModel(config.image, config.encoder, config.decoder, config.context, feat_size)
        embed_size = self.vision.encoder.embed_size
        stacked = config.stacked
        self.action_free_rssm = RSSM(rssm, embed_size, action_free=True) if stacked else None
        seen = embed_size if not stacked else feat_size + (embed_size if config.concat_embed else 0)
        self.rssm = self.make_rssm(rssm, seen)
        reward = config.reward
        self.reward_head = ScalarHead(feat_size, reward.layers, reward.units, zero_output=reward.zero_output)
        self.aux_reward_head = None
        if config.has_second_reward_head:
            self.aux_reward_head = ScalarHead(feat_size, reward.layers, reward.units, zero_output=reward.zero_output)
        self.discount_head = None if discount is None else ScalarHead(feat_size, reward.layers, reward.units)
        self.intrinsic_bonus = None
        if config.has_bonus:
            # A terminal step can only stand last in a window: where ends are predicted, its reward is learned too.
            self.intrinsic_bonus = IntrinsicBonus(config.intrinsic, self.bonus_size(), to_end=discount is not None)

    def make_rssm(self, config: RSSMConfig, embed_size: int) -> RSSM:
        """The action-conditional RSSM, which takes actions (..., A) of the environment, padded to its own size.

        Raises:
            ConfigError: they do not fit.
        """
        assert config.action_dim is not None
        if self.action_dim > config.action_dim:
            raise ConfigError(
                f"the environment's actions have {self.action_dim} components, rssm.action_dim is {config.action_dim}",
                expected="at most as many as the model has columns for",
                fix=f"--set rssm.action_dim={self.action_dim} (a pre-trained model must have the same)",
            )
        return RSSM(config, embed_size, action_free=False)

    @property
    def fewest_frames(self) -> int:
        """The smallest T of a batch that it can learn from."""
        return 1

    def bonus_size(self) -> int:
        """Size of what the bonus is computed on."""
        return self.config.rssm.feat_size

    def bonus_features(self, out: StackedOutput) -> Tensor:
        """What the bonus is computed on, (B, T, F): features of the pre-trained RSSM."""
        return (out.posterior if out.action_free is None else out.action_free).feat

    def pretrained_parts(self, init_parts: str) -> dict[str, nn.Module]:
        """What is taken from a pre-trained model: prefix of its tensors' names there → module here.

        Args:
            init_parts: "all", or "encoder_decoder" for all but the RSSM.
        """
        rssm = self.rssm if self.action_free_rssm is None else self.action_free_rssm
        chosen = {
            "vision.encoder": self.vision.encoder,
            "vision.context_encoder": self.vision.context_encoder,
            "vision.decoder": self.vision.decoder,
            "action_free_rssm": rssm if init_parts == "all" else None,
        }
        return {prefix: module for prefix, module in chosen.items() if module is not None}

    def as_pretrained(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a fine-tuned agent's model, by the names that they have in a pre-trained one.

        Naive fine-tuning goes on with the one RSSM of an agent that was fine-tuned so itself.
        """
        found = dict(tensors)
        if self.action_free_rssm is None and not any(name.startswith("action_free_rssm.") for name in found):
            found |= {f"action_free_{name}": value for name, value in tensors.items() if name.startswith("rssm.")}
        return found

    def as_adapted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors of an adapted model of this method, by this model's names."""
        return tensors

    def is_held(self, name: str) -> bool:
        """Whether a parameter is held for the first updates: of what was pre-trained, all but the decoder."""
        rssm = "rssm." if self.action_free_rssm is None else "action_free_rssm."
        return name.startswith(("vision.encoder.", "vision.context_encoder.", rssm))

    def groups(self) -> list[OptimizerGroup]:
        """Optimiser groups, each clipped by itself: `encoder` (what is held for the first updates) and `model`.

        Where nothing is pre-trained there is one group, `model`.
        """
        named, config = dict(self.named_parameters()), self.config.optimizer
        if not self.config.pretrained:
            return [OptimizerGroup("model", named, config)]
        return [
            OptimizerGroup("encoder", {k: v for k, v in named.items() if self.is_held(k)}, config),
            OptimizerGroup("model", {k: v for k, v in named.items() if not self.is_held(k)}, config),
        ]

    def draw(self, batch: int, length: int, generator: torch.Generator, observed: int | None = None) -> StackedDraws:
        """Random numbers of a pass over (batch, length) frames, all from `generator`, on its device."""
        rssm = self.config.rssm
        shape = (length, batch, rssm.stoch, rssm.discrete)
        lower = Latents(gumbel_noise(shape, generator) if self.action_free_rssm is not None else None)
        upper = Latents(gumbel_noise(shape, generator))
        return StackedDraws(lower, upper, self.vision.draw(batch, length, generator, observed))

    def observe(
        self,
        embed: Tensor,
        action: Tensor,
        is_first: Tensor | None,
        draws: StackedDraws,
        state: StackedState | None = None,
    ) -> StackedOutput:
        """Posteriors of both RSSMs.

        Each model goes on from its own old state (the published code hands the upper model's to both).

        Args:
            embed: (B, T, E).
            action: (B, T, A) action that led to each frame.
            is_first: (B, T), 1 where an episode starts; None: nowhere after the state given.
            draws: how latents are drawn.
            state: states before the sequence; None for the initial ones.
        """
        lower, lower_prior, seen = None, None, embed
        if self.action_free_rssm is not None:
            before = None if state is None else state.action_free
            lower, lower_prior = self.action_free_rssm.observe(embed, None, is_first, draws.action_free, before)
            seen = torch.cat([embed, lower.feat], -1) if self.config.concat_embed else lower.feat
        upper_before = None if state is None else state.upper
        posterior, prior_logit = self.rssm.observe(seen, action, is_first, draws.latents, upper_before)
        return StackedOutput(embed, lower, lower_prior, posterior, prior_logit)

    @torch.no_grad()
    def observe_step(
        self,
        image: Tensor,
        action: Tensor,
        is_first: Tensor,
        state: StackedState | None,
        generator: torch.Generator | None,
    ) -> StackedState:
        """One step of acting: no context path and no decoder.

        Args:
            image: uint8 (B, H, W, 3).
            action: (B, A) action that led to it.
            is_first: (B,), 1 where an episode starts.
            state: after the frame before; None for the initial one.
            generator: samples the latents; None takes the most likely ones.
        """
        batch, c = image.shape[0], self.config.rssm
        embed = self.vision.embed(self.vision.scaling(image[:, None]))
        noise = None if generator is None else gumbel_noise((2, 1, batch, c.stoch, c.discrete), generator)
        lower, upper = (Latents(), Latents()) if noise is None else (Latents(noise[0]), Latents(noise[1]))
        draws = StackedDraws(lower, upper, None)
        out = self.observe(embed, action[:, None], is_first[:, None], draws, state)
        last = None if out.action_free is None else out.action_free.map(_last_step)
        return StackedState(last, out.posterior.map(_last_step))

    @torch.no_grad()
    def reconstruct(
        self, image: Tensor, action: Tensor, is_first: Tensor | None, generator: torch.Generator, window: int
    ) -> Reconstruction:
        """What the model makes of frames uint8 (B, T, H, W, 3) that it sees one after the other, as in acting.

        A context frame serves the `window` of frames that it is from: in training none was further away.
        """
        batch, length = image.shape[:2]
        draws = self.draw(batch, length, generator)
        target = self.vision.scaling(image)  # (B, T, 3, H, W)
        states = self.observe(self.vision.embed(target), action, is_first, draws).posterior
        parts, step = [], window if self.vision.has_context else length
        for begin in range(0, length, step):
            some = target[:, begin : begin + step]
            context = self.vision.draw(batch, some.shape[1], generator)
            maps = self.vision.context_maps(some, context)
            parts.append(self.vision.decode(states.feat[:, begin : begin + step], maps, context))
        frames = torch.cat(parts, 1)
        return Reconstruction(states, frames, target, (self.aux_reward_head or self.reward_head)(states.feat))

    @torch.no_grad()
    def open_loop(
        self,
        image: Tensor,
        observed: int,
        generator: torch.Generator | None = None,
        action: Tensor | None = None,
        *,
        sample: bool = True,
        draws: StackedDraws | None = None,
        decode_from: int = 0,
    ) -> Tensor:
        """Frames decoded from the posterior for the first `observed` frames, and from actions alone for the rest.

        The context frame is one of the observed frames: nothing of the future but its actions enters. In evaluation
        mode, restored afterwards.

        Args:
            image: uint8 (B, T, H, W, 3).
            observed: frames that the posterior sees, 1 ≤ observed ≤ T.
            generator: decides latents, context frame and token masks.
            action: (B, T, A) action that led to each frame; the first one is masked, as in training: it came from a
                frame that the sequence does not hold. None: zeros.
            sample: False takes the most likely latents.
            draws: of `draw` with the same `observed`, in place of a generator.
            decode_from: frames before this one are not decoded, and not returned.

        Returns:
            (B, T - decode_from, 3, H, W) in [0, 1].
        """
        was_training = self.training
        self.eval()
        batch, length = image.shape[:2]
        if action is None:
            action = image.new_zeros((batch, length, self.action_dim), dtype=torch.float32)
        if draws is None:
            assert generator is not None
            draws = self.draw(batch, length, generator, observed)
        scaled = self.vision.scaling(image)
        maps = self.vision.context_maps(scaled, draws.context)
        lower, upper = draws.action_free.noise, draws.latents.noise
        seen = draws._replace(
            action_free=Latents(lower[:observed] if sample and lower is not None else None),
            latents=Latents(upper[:observed] if sample and upper is not None else None),
        )
        seen_actions = action[:, :observed]
        out = self.observe(self.vision.embed(scaled[:, :observed]), seen_actions, starts(seen_actions), seen)
        states = out.posterior
        if observed < length:
            rest = Latents(upper[observed:] if sample and upper is not None else None)
            future = self.rssm.imagine(states.map(_last_step), action[:, observed:], rest, length - observed)
            states = State(*(torch.cat(pair, 1) for pair in zip(states, future, strict=True)))
        later = of_later_frames(draws.context, length, decode_from)
        frames = self.vision.decode(states.feat[:, decode_from:], maps, later)
        self.train(was_training)
        return self.vision.scaling.to_unit(full_precision(frames))

    @torch.no_grad()
    def features(self, image: Tensor, draws: StackedDraws, action: Tensor | None = None) -> Tensor:
        """Posterior states of uint8 frames (B, T, H, W, 3) and actions (B, T, A; None: zeros): (B, T, F).

        As in `open_loop`, the first action is masked.
        """
        return self._posterior(self.vision.scaling(image), self._actions(image, action), draws).feat

    @torch.no_grad()
    def compose(self, motion: Tensor, appearance: Tensor, draws: StackedDraws, action: Tensor | None = None) -> Tensor:
        """Frames with the dynamics of one clip and the appearance of another's first frame.

        As `VideoWorldModel.compose`, with the action-conditional states; `action` (B, T, A) is that of `motion`; None:
        zeros.
        """
        steps = self._actions(motion, action)
        posterior = self._posterior(self.vision.scaling(motion), steps, draws)
        frame = self.vision.scaling(appearance[:, :1])  # (B, 1, 3, H, W)
        context = None if draws.context is None else draws.context._replace(frame=frame.new_zeros(len(frame)).long())
        maps = self.vision.context_maps(frame, context)
        if not self.vision.has_context:
            start = draws._replace(action_free=_first_step(draws.action_free), latents=_first_step(draws.latents))
            posterior = self.rssm.carry_on(self._posterior(frame, steps[:, :1], start), posterior, steps)
        return self.vision.scaling.to_unit(full_precision(self.vision.decode(posterior.feat, maps, context)))

    def _posterior(self, scaled: Tensor, action: Tensor, draws: StackedDraws) -> State:
        return self.observe(self.vision.embed(scaled), action, starts(action), draws).posterior

    def _actions(self, image: Tensor, action: Tensor | None) -> Tensor:
        if action is not None:
            return action
        return image.new_zeros((*image.shape[:2], self.action_dim), dtype=torch.float32)

    def forward(
        self,
        image: Tensor,
        action: Tensor,
        reward: Tensor,
        is_first: Tensor | None,
        draws: StackedDraws,
        is_terminal: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], State]:
        """Loss (scalar), its parts (detached scalars), and the posterior states (B, T, ...), detached.

        The bonus queue takes up this batch.

        Args:
            image: uint8 (B, T, H, W, 3).
            action: (B, T, A) action that led to each frame.
            reward: (B, T) reward that came with each frame.
            is_first: (B, T), 1 where an episode starts; None: nowhere.
            draws: from `draw`.
            is_terminal: (B, T), 1 where the task ended the episode (not a time limit); for the discount head.
        """
        target = self.vision.scaling(image)  # (B, T, 3, H, W)
        maps = self.vision.context_maps(target, draws.context)
        out = self.observe(self.vision.embed(target), action, is_first, draws)
        feat = out.posterior.feat
        prediction = self.vision.decode(feat, maps, draws.context)
        weights, head = self.config.loss, self.config.reward
        kl, kl_value = balanced_kl(out.posterior.logit, out.prior_logit, weights.kl_balance, weights.free_nats)
        reconstruction = image_loss(prediction, target)
        plain = reward * head.gain
        learned, metrics = self._learned_reward(plain, out)
        reward_loss = half_squared_error(self.reward_head(feat[:, : learned.shape[1]]), learned)
        loss = weights.kl_scale * kl + weights.image_scale * reconstruction + head.scale * reward_loss
        metrics |= {"kl_loss": kl, "image_loss": reconstruction, "reward_loss": reward_loss, "kl": kl_value.mean()}
        if self.aux_reward_head is not None:
            aux_loss = half_squared_error(self.aux_reward_head(feat), plain)
            loss = loss + head.dual_scale * aux_loss
            metrics["aux_reward_loss"] = aux_loss
        if self.discount_head is not None and self.discount is not None:
            assert is_terminal is not None
            goes_on = self.discount * (1 - is_terminal.to(feat.dtype))  # (B, T), a soft label as in DreamerV2
            logit = full_precision(self.discount_head(feat))
            discount_loss = F.binary_cross_entropy_with_logits(logit, goes_on.to(logit.dtype))
            loss = loss + weights.discount_scale * discount_loss
            metrics["discount_loss"] = discount_loss
        if out.action_free is not None and out.action_free_prior is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and weights.action_free_kl_scale > 0):
                lower_kl, _ = balanced_kl(
                    out.action_free.logit, out.action_free_prior, weights.kl_balance, weights.free_nats
                )
            if weights.action_free_kl_scale:
                loss = loss + weights.action_free_kl_scale * lower_kl
            metrics["action_free_kl_loss"] = lower_kl
        for name, (scale, value) in self.more_losses(target, action, is_first).items():
            loss = loss + scale * value
            metrics[name] = value
        with torch.no_grad():
            metrics["posterior_entropy"] = categorical_entropy(out.posterior.logit).mean()
            metrics["prior_entropy"] = categorical_entropy(out.prior_logit).mean()
        metrics = {"model_loss": loss} | metrics
        return loss, {key: value.detach() for key, value in metrics.items()}, out.posterior.map(torch.Tensor.detach)

    def more_losses(self, target: Tensor, action: Tensor, is_first: Tensor | None) -> dict[str, tuple[float, Tensor]]:
        """Further losses by name, each with its weight, of scaled frames (B, T, 3, H, W) and actions (B, T, A)."""
        return {}

    def _learned_reward(self, plain: Tensor, out: StackedOutput) -> tuple[Tensor, dict[str, Tensor]]:
        """What the actor's reward head learns: plain reward, plus the bonus for the steps that have one.

        Steps without one are not learned at all (as published): the last `intrinsic.window` - 1 of a window, and with
        them every step in which a task can end. With a discount head all steps have one.
        """
        if self.intrinsic_bonus is None:
            return plain, {}
        bonus = self.intrinsic_bonus(self.bonus_features(out).detach())  # (B, T - window + 1), or (B, T)
        learned = plain[:, : bonus.shape[1]] + self.config.intrinsic.beta * bonus
        return learned, {"bonus": bonus.mean(), "bonus_magnitude": self.intrinsic_bonus.norm.magnitude.float()}


def starts(action: Tensor) -> Tensor:
    """`is_first` (B, T) of sequences that start afresh with their first frame: where no state goes before, the action
    (B, T, A) into that frame is no action, which zeros are not to every model."""
    is_first = torch.zeros(action.shape[:2], device=action.device)
    is_first[:, 0] = 1
    return is_first


def _first_step(latents: Latents) -> Latents:
    return latents if latents.noise is None else Latents(latents.noise[:1])


def _last_step(value: Tensor) -> Tensor:
    return value[:, -1]
