"""World model of isolated branches (Iso-Dream), with reward and inverse dynamics.

Source: Iso-Dream (Pan et al., NeurIPS 2022, arXiv:2205.13817); docs/methods/isodream.md has equations and departures.
Legend: `B` batch, `T` time, `S` size of a latent, `F` feature size of a branch, `A` action size, `E` embedding size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.isolation.branches import IsolatedBranches, IsolatedState
from models.isolation.config import IsolatedModelConfig
from models.isolation.images import IsolatedImages
from models.isolation.losses import balanced_gaussian_kl, frames_loss, inverse_loss
from models.isolation.mixture import FrameParts
from models.nets.distributions import full_precision
from models.nets.gaussian_rssm import GaussianRSSM, GaussianState
from models.nets.heads import MLP, ScalarHead, half_squared_error, xavier_linear
from models.nets.plain_cnn import to_quarters
from models.training.optimizer import OptimizerGroup
from models.world_models.stacked import Reconstruction


class IsolatedDraws(NamedTuple):
    """All random numbers of one forward pass, standard normal; those that nothing needs are None.

    Attributes:
        action: (B, T, S) of the action-conditional posterior.
        free: (B, T, S) of the action-free branch.
        action_prior: (B, T, S) of the action-conditional prior, which some frames are decoded from.
        free_prior: (B, T, S) of the action-free prior.
    """

    action: Tensor
    free: Tensor
    action_prior: Tensor | None
    free_prior: Tensor | None


class IsolatedOutput(NamedTuple):
    """What the branches computed for a batch.

    Attributes:
        embed: (B, T, E) embeddings of the action-conditional branch.
        posterior: states (B, T, ...) of both.
        prior: the states that the step before predicts, of the action-conditional branch.
        free_prior: of the action-free one; None where it has no posterior of its own.
        background: (B, 3, 4, H/2, W/2) static part of each segment, as quarters.
    """

    embed: Tensor
    posterior: IsolatedState
    prior: GaussianState
    free_prior: GaussianState | None
    background: Tensor


class InverseDynamics(nn.Module):
    """The action between two frames, from the change of their embeddings: (..., E) to (..., A)."""

    def __init__(self, embed_size: int, action_dim: int, layers: int, units: int) -> None:
        super().__init__()
        self.mlp = MLP(embed_size, layers, units)
        self.out = xavier_linear(self.mlp.out_size, action_dim)

    def forward(self, change: Tensor) -> Tensor:
        action: Tensor = self.out(self.mlp(change))
        return action


class IsolatedWorldModel(nn.Module):
    """World model with actions and rewards, whose two branches and static background make up a frame together.

    Args:
        config: the world model's sections.
        action_dim: size A of the environment's actions.
        discount: γ, for a head that predicts it (times whether the episode goes on); None: no such head.

    Raises:
        ConfigError: frames of another size than 64.
    """

    intrinsic_bonus = None

    def __init__(self, config: IsolatedModelConfig, action_dim: int, discount: float | None = None) -> None:
        super().__init__()
        self.config, self.action_dim, self.discount = config, action_dim, discount
        feat_size, isolation, head = config.rssm.feat_size, config.isolation, config.reward
        self.vision = IsolatedImages(
            config.image, config.encoder.cnn_depth, config.decoder.cnn_depth, feat_size, isolation.background_frames
        )
        embed_size = self.vision.encoder.embed_size
        self.rssm = IsolatedBranches(config.rssm, isolation, embed_size, action_dim)
        seen = 2 * feat_size if isolation.use_free else feat_size
        self.reward_head = ScalarHead(seen, head.layers, head.units, zero_output=head.zero_output)
        self.inverse_dynamics = InverseDynamics(embed_size, action_dim, head.layers, head.units)
        self.discount_head = None if discount is None else ScalarHead(seen, head.layers, head.units)

    def groups(self) -> list[OptimizerGroup]:
        """One optimiser group, `model`."""
        return [OptimizerGroup("model", dict(self.named_parameters()), self.config.optimizer)]

    def draw(self, batch: int, length: int, generator: torch.Generator, observed: int | None = None) -> IsolatedDraws:
        """Random numbers of a pass over (batch, length) frames, all from `generator`, on its device."""
        isolation, shape = self.config.isolation, (batch, length, self.config.rssm.stoch)

        def normal() -> Tensor:
            return torch.randn(shape, generator=generator, device=generator.device)

        action, free = normal(), normal()
        from_prior = isolation.action_steps is not None and isolation.action_steps < length
        free_from_prior = self._free_steps(length) < length
        return IsolatedDraws(action, free, normal() if from_prior else None, normal() if free_from_prior else None)

    def _free_steps(self, length: int) -> int:
        """Frames of so many that are decoded from the action-free branch's own states."""
        isolation = self.config.isolation
        if isolation.free_branch == "predictive" or isolation.free_steps is None:
            return length
        return min(isolation.free_steps, length)

    def observe(self, target: Tensor, action: Tensor, is_first: Tensor | None, draws: IsolatedDraws) -> IsolatedOutput:
        """States of both branches, and the static background, of scaled frames (B, T, 3, H, W)."""
        maps = self.vision.maps(target)
        embed, free_embed = self.vision.both_embeds(maps)
        own = self.rssm.action.observe(embed, action, is_first, draws.action)
        free = self.rssm.observe_free(free_embed, is_first, draws.free, known=self.config.isolation.free_steps)
        prior = self.rssm.action.prior(own.deter, draws.action_prior)
        corrected = isinstance(self.rssm.free, GaussianRSSM)
        free_prior = self.rssm.free.prior(free.deter, draws.free_prior) if corrected else None
        return IsolatedOutput(embed, IsolatedState(own, free), prior, free_prior, self.vision.background(maps))

    def features(self, out: IsolatedOutput) -> tuple[Tensor, Tensor]:
        """What both branches' parts of the frames are decoded from, (B, T, F) each.

        Those beyond `isolation.action_steps` and `free_steps` are of priors.
        """
        own, free = out.posterior
        assert free is not None
        length = own.deter.shape[1]
        action_feat, free_feat, steps = own.feat, free.feat, self.config.isolation.action_steps
        if steps is not None and steps < length:
            action_feat = torch.cat([action_feat[:, :steps], out.prior.feat[:, steps:]], 1)
        free_steps = self._free_steps(length)
        if out.free_prior is not None and free_steps < length:
            free_feat = torch.cat([free_feat[:, :free_steps], out.free_prior.feat[:, free_steps:]], 1)
        return action_feat, free_feat

    def forward(
        self,
        image: Tensor,
        action: Tensor,
        reward: Tensor,
        is_first: Tensor | None,
        draws: IsolatedDraws,
        is_terminal: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], IsolatedState]:
        """Loss (scalar), its parts (detached scalars), and the posterior states (B, T, ...), detached.

        Args:
            image: uint8 (B, T, H, W, 3).
            action: (B, T, A) action that led to each frame.
            reward: (B, T) reward that came with each frame.
            is_first: (B, T), 1 where an episode starts; None: nowhere.
            draws: from `draw`.
            is_terminal: (B, T), 1 where the task ended the episode (not a time limit); for the discount head.
        """
        target = self.vision.scaling(image)  # (B, T, 3, H, W)
        out = self.observe(target, action, is_first, draws)
        own, free = out.posterior
        assert free is not None
        inside = torch.ones_like(reward) if is_first is None else 1 - is_first.to(reward.dtype)  # (B, T)
        weights, head, predictive = self.config.loss, self.config.reward, out.free_prior is None
        # A predictive branch knows nothing of a first frame: what moves by itself there would have to be explained by
        # the action-conditional one.
        begin = int(predictive)
        action_feat, free_feat = self.features(out)
        parts = self.vision.quarters(action_feat[:, begin:], free_feat[:, begin:], out.background)
        image_loss = frames_loss(parts.frame, to_quarters(target[:, begin:]), inside[:, begin:] if predictive else None)
        kl, kl_value = balanced_gaussian_kl(own, out.prior, weights.kl_balance, weights.free_nats)
        seen = self.rssm.head_features(own.feat, free.feat)
        reward_loss = half_squared_error(self.reward_head(seen), reward * head.gain)
        predicted = self.inverse_dynamics(out.embed[:, 1:] - out.embed[:, :-1])
        inverse = inverse_loss(predicted, action[:, 1:], inside[:, 1:])
        loss = weights.kl_scale * kl + weights.image_scale * image_loss + head.scale * reward_loss
        loss = loss + weights.inverse_scale * inverse
        metrics = {"kl_loss": kl, "image_loss": image_loss, "reward_loss": reward_loss, "kl": kl_value.mean()}
        metrics["inverse_loss"] = inverse
        if out.free_prior is not None:
            free_kl, free_value = balanced_gaussian_kl(free, out.free_prior, weights.kl_balance, weights.free_nats)
            loss = loss + weights.kl_scale * free_kl
            metrics |= {"free_kl_loss": free_kl, "free_kl": free_value.mean()}
        if self.discount_head is not None and self.discount is not None:
            assert is_terminal is not None
            goes_on = self.discount * (1 - is_terminal.to(seen.dtype))  # (B, T), a soft label as in DreamerV2
            logit = full_precision(self.discount_head(seen))
            discount_loss = F.binary_cross_entropy_with_logits(logit, goes_on.to(logit.dtype))
            loss = loss + weights.discount_scale * discount_loss
            metrics["discount_loss"] = discount_loss
        shares = parts.masks.detach().flatten(3).mean((0, 1, 3))
        metrics |= dict(zip(("action_mask", "free_mask", "background_mask"), shares, strict=True))
        metrics = {"model_loss": loss} | metrics
        return loss, {key: value.detach() for key, value in metrics.items()}, out.posterior.map(torch.Tensor.detach)

    @torch.no_grad()
    def observe_step(
        self,
        image: Tensor,
        action: Tensor,
        is_first: Tensor,
        state: IsolatedState | None,
        generator: torch.Generator | None,
    ) -> IsolatedState:
        """One step of acting: only what the policy looks at, and no decoder.

        Args:
            image: uint8 (B, H, W, 3).
            action: (B, A) action that led to it.
            is_first: (B,), 1 where an episode starts.
            state: after the frame before; None for the initial one.
            generator: samples the latents; None takes the means.
        """
        shape = (2, image.shape[0], 1, self.config.rssm.stoch)
        noise = None if generator is None else torch.randn(shape, generator=generator, device=generator.device)
        maps = self.vision.maps(self.vision.scaling(image[:, None]))
        before = None if state is None else state.action
        embed, first = self.vision.action_embed(maps), is_first[:, None]
        own = self.rssm.action.observe(embed, action[:, None], first, None if noise is None else noise[0], before)
        free = None
        if self.config.isolation.needs_future:
            free_before = None if state is None else state.free
            free_noise = None if noise is None else noise[1]
            free = self.rssm.observe_free(self.vision.free_embed(maps), first, free_noise, free_before)
        return IsolatedState(own, free).map(lambda value: value[:, -1])

    @torch.no_grad()
    def reconstruct(
        self, image: Tensor, action: Tensor, is_first: Tensor | None, generator: torch.Generator, window: int
    ) -> Reconstruction:
        """What the model makes of frames uint8 (B, T, H, W, 3), seen one after the other as in acting.

        `action_steps` and `free_steps` count from the start of a training segment, and have no meaning here: every
        frame is decoded from what is known when it is seen. The background is that of each `window` of frames: in
        training none had to last longer. A predictive branch knows nothing of a first frame, and is not asked for it.
        """
        target, (batch, length) = self.vision.scaling(image), image.shape[:2]
        draws = self.draw(batch, length, generator)
        maps = self.vision.maps(target)
        embed, free_embed = self.vision.both_embeds(maps)
        own = self.rssm.action.observe(embed, action, is_first, draws.action)
        free = self.rssm.observe_free(free_embed, is_first, draws.free)
        parts = []
        for begin in range(0, length, window):
            whole = max(0, min(begin, length - window))  # the last window reaches back to be as long as the others
            some, background = slice(begin, begin + window), self.vision.background(maps[:, whole:])
            parts.append(self.vision.decode(own.feat[:, some], free.feat[:, some], background).frame)
        first = int(not isinstance(self.rssm.free, GaussianRSSM))
        reward = self.reward_head(self.rssm.head_features(own.feat, free.feat))
        return Reconstruction(IsolatedState(own, free), torch.cat(parts, 1)[:, first:], target[:, first:], reward)

    @torch.no_grad()
    def open_loop(
        self,
        image: Tensor,
        observed: int,
        generator: torch.Generator | None = None,
        action: Tensor | None = None,
        *,
        draws: IsolatedDraws | None = None,
        decode_from: int = 0,
    ) -> Tensor:
        """Frames decoded from what is seen for the first `observed` frames, and from actions alone for the rest.

        Args:
            image: uint8 (B, T, H, W, 3).
            observed: frames that are seen, 1 ≤ observed ≤ T; the background comes from the first ones of them.
            generator: decides latents.
            action: (B, T, A) action that led to each frame; None: zeros.
            draws: of `draw`, in place of a generator.
            decode_from: frames before this one are not decoded, and not returned.

        Returns:
            (B, T - decode_from, 3, H, W) in [0, 1].
        """
        parts = self.open_loop_parts(image, observed, generator, action, draws=draws, decode_from=decode_from)
        return self.vision.scaling.to_unit(full_precision(parts.frame))

    @torch.no_grad()
    def open_loop_parts(
        self,
        image: Tensor,
        observed: int,
        generator: torch.Generator | None = None,
        action: Tensor | None = None,
        *,
        draws: IsolatedDraws | None = None,
        decode_from: int = 0,
    ) -> FrameParts:
        """As `open_loop`: the parts that the frames are made of, in scaled colours."""
        batch, length = image.shape[:2]
        if action is None:
            action = image.new_zeros((batch, length, self.action_dim), dtype=torch.float32)
        if draws is None:
            assert generator is not None
            draws = self.draw(batch, length, generator, observed)
        maps = self.vision.maps(self.vision.scaling(image[:, :observed]))
        own = self.rssm.action.observe(
            self.vision.action_embed(maps), action[:, :observed], None, draws.action[:, :observed]
        )
        ahead = length - observed
        if ahead:
            last = own.map(lambda value: value[:, -1])
            future = self.rssm.action.imagine(last, action[:, observed:], draws.action[:, observed:], ahead)
            own = _joined(own, future)
        free = self._free_ahead(self.vision.free_embed(maps), draws.free, ahead)
        return self.vision.decode(own.feat[:, decode_from:], free.feat[:, decode_from:], self.vision.background(maps))

    def _free_ahead(self, embed: Tensor, noise: Tensor, ahead: int) -> GaussianState:
        """Action-free states of frames with embeddings (B, observed, E), and of `ahead` more that nobody has seen."""
        branch, observed = self.rssm.free, embed.shape[1]
        if isinstance(branch, GaussianRSSM):
            seen = branch.observe(embed, None, None, noise[:, :observed])
            if not ahead:
                return seen
            last = seen.map(lambda value: value[:, -1])
            return _joined(seen, branch.imagine(last, None, noise[:, observed:], ahead))
        return branch.observe(F.pad(embed, (0, 0, 0, ahead)), None, noise, observed)


def _joined(first: GaussianState, second: GaussianState) -> GaussianState:
    return GaussianState(*(torch.cat(pair, 1) for pair in zip(first, second, strict=True)))
