"""Recurrent state-space models with Gaussian latents: one that sees frames, and one that foresees them.

Source: Iso-Dream (Pan et al., NeurIPS 2022, arXiv:2205.13817) and its released sizes.
Legend: `B` batch, `T` time, `S` size of the latent, `D` deterministic size, `E` embedding size, `A` action size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.config import GaussianRSSMConfig
from models.nets.distributions import full_precision
from models.nets.heads import xavier_linear
from models.nets.loop_body import apart, loop_body
from models.nets.recurrent_linear import LoopedLinear, Slot, by_step
from models.nets.rssm import GRUCell, starting_steps


class GaussianState(NamedTuple):
    """A latent state, or a sequence of them.

    Attributes:
        stoch: (..., S) latents.
        deter: (..., D) GRU state.
        mean: (..., S) of the Gaussian that `stoch` was drawn from.
        std: (..., S) its standard deviations.
    """

    stoch: Tensor
    deter: Tensor
    mean: Tensor
    std: Tensor

    @property
    def feat(self) -> Tensor:
        """(..., S + D)."""
        return torch.cat([self.stoch, self.deter.to(self.stoch.dtype)], -1)

    def map(self, function: Callable[[Tensor], Tensor]) -> GaussianState:
        """The state with `function` applied to each tensor."""
        return GaussianState(*(function(value) for value in self))


def stack_gaussian(steps: Sequence[GaussianState]) -> GaussianState:
    """States (B, ...) of consecutive steps, as one sequence (B, T, ...)."""
    return GaussianState(*(torch.stack(values, 1) for values in zip(*steps, strict=True)))


class GaussianDynamics(nn.Module):
    """GRU state from step to step, and the Gaussian that it predicts.

    Args:
        config: sizes.
        input_size: size of what drives the GRU.
    """

    def __init__(self, config: GaussianRSSMConfig, input_size: int) -> None:
        super().__init__()
        self.config = config
        self.img_in = xavier_linear(input_size, config.hidden)
        self.gru = GRUCell(config.hidden, config.deter)
        self.img_out = xavier_linear(config.deter, config.hidden)
        self.img_stats = xavier_linear(config.hidden, 2 * config.stoch)

    def initial(self, batch: int) -> GaussianState:
        """The state before a sequence: zeros."""
        latent = self.img_in.weight.new_zeros(batch, self.config.stoch)
        return GaussianState(latent, self.img_in.weight.new_zeros(batch, self.config.deter), latent, latent)

    def prior(self, deter: Tensor, noise: Tensor | None) -> GaussianState:
        """States that GRU states (..., D) predict, drawn with `noise` (..., S); None takes the means."""
        return self.drawn(self.img_stats(F.elu(self.img_out(deter))), deter, noise)

    def drawn(self, stats: Tensor, deter: Tensor, noise: Tensor | None) -> GaussianState:
        """States with Gaussians from the raw numbers (..., 2 S), drawn with `noise` (..., S)."""
        # KL and exponentials of half-precision moments would lose the small differences.
        mean, raw = full_precision(stats).chunk(2, -1)
        std = 2 * torch.sigmoid(raw / 2) + self.config.min_std
        return GaussianState(mean if noise is None else mean + std * noise.to(mean.dtype), deter, mean, std)

    def step(self, driven: Tensor, deter: Tensor) -> Tensor:
        """The next GRU state (B, D) from the first layer's output (B, hidden) and the old state."""
        return self.gru.gates(self.gru.linear(torch.cat([driven, deter.to(driven.dtype)], -1)), deter)


class GaussianRSSM(GaussianDynamics):
    """Posterior and prior over latent states.

    Args:
        config: sizes.
        embed_size: size E of what the posterior sees at each step.
        action_dim: size A of the actions that drive it; 0: none do.
    """

    def __init__(self, config: GaussianRSSMConfig, embed_size: int, action_dim: int) -> None:
        super().__init__(config, config.stoch + action_dim)
        self.action_dim = action_dim
        self.obs_out = xavier_linear(config.deter + embed_size, config.hidden)
        self.obs_stats = xavier_linear(config.hidden, 2 * config.stoch)

    def observe(
        self,
        embed: Tensor,
        action: Tensor | None,
        is_first: Tensor | None,
        noise: Tensor | None,
        state: GaussianState | None = None,
    ) -> GaussianState:
        """Posterior states (B, T, ...) of a sequence.

        Args:
            embed: (B, T, E) embedding of each frame.
            action: (B, T, A) action that led to each frame; None where none drive the model.
            is_first: (B, T), 1 where an episode starts: the old state and the action are zeroed there. None: nowhere.
            noise: (B, T, S) standard normal draws; None takes the means.
            state: state before the sequence; None for zeros.
        """
        batch, length = embed.shape[:2]
        state, config = state or self.initial(batch), self.config
        keep = None if is_first is None else (1 - is_first.to(embed.dtype)).t()[..., None]  # (T, B, 1)
        added = self._action_part(action, keep).expand(length, -1, -1)  # (T, B, hidden)
        seen = F.linear(embed, self.obs_out.weight[:, config.deter :], self.obs_out.bias).transpose(0, 1)
        img_in = LoopedLinear(self.img_in, length, batch, config.stoch, added=added)
        mix = LoopedLinear(self.gru.linear, length, batch)
        obs_out = LoopedLinear(self.obs_out, length, batch, config.deter, added=seen)
        obs_stats = LoopedLinear(self.obs_stats, length, batch)
        layers, steps = (img_in, mix, obs_out, obs_stats), []
        starting = starting_steps(keep, length)
        for t, slots in enumerate(by_step(*layers)):
            held = apart(keep[t]) if keep is not None and starting[t] else None
            drawn = None if noise is None else apart(noise[:, t])
            state = self._observe_step(layers, slots, state.stoch, state.deter, held, drawn)
            steps.append(state)
        return stack_gaussian(steps)

    @loop_body
    def _observe_step(
        self,
        layers: tuple[LoopedLinear, ...],
        slots: tuple[Slot, ...],
        stoch: Tensor,
        deter: Tensor,
        keep: Tensor | None,
        noise: Tensor | None,
    ) -> GaussianState:
        """One step of `observe`, from the old state's `stoch` and `deter`, times `keep` (B, 1)."""
        (img_in, mix, obs_out, obs_stats), (into, mixed, seen, drawn) = layers, slots
        if keep is not None:
            stoch, deter = stoch * keep, deter * keep
        x = F.elu(img_in(stoch, into))  # (B, hidden)
        deter = self.gru.gates(mix(torch.cat([x, deter.to(x.dtype)], -1), mixed), deter)  # (B, D)
        return self.drawn(obs_stats(F.elu(obs_out(deter.to(x.dtype), seen)), drawn), deter, noise)

    def img_step(self, state: GaussianState, action: Tensor | None, noise: Tensor | None) -> GaussianState:
        """Next state without an image: (B, ...), the action (B, A) taken in it, and `noise` (B, S), to (B, ...)."""
        inputs = state.stoch if action is None else torch.cat([state.stoch, action.to(state.stoch.dtype)], -1)
        return self.prior(self.step(F.elu(self.img_in(inputs)), state.deter), noise)

    def imagine(self, state: GaussianState, action: Tensor | None, noise: Tensor | None, length: int) -> GaussianState:
        """`length` steps without images from `state` (B, ...): (B, length, ...); `action` and `noise` by step."""
        steps = []
        for t in range(length):
            taken = None if action is None else apart(action[:, t])
            state = self._imagine_step(state, taken, None if noise is None else apart(noise[:, t]))
            steps.append(state)
        return stack_gaussian(steps)

    @loop_body
    def _imagine_step(self, state: GaussianState, action: Tensor | None, noise: Tensor | None) -> GaussianState:
        """One step of `imagine`."""
        return self.img_step(state, action, noise)

    def _action_part(self, action: Tensor | None, keep: Tensor | None) -> Tensor:
        """What actions and bias add to the first layer, for all steps at once: (T or 1, B or 1, hidden)."""
        if action is None:
            return self.img_in.bias[None, None]
        action = action.transpose(0, 1)  # (T, B, A)
        if keep is not None:
            action = action * keep
        return F.linear(action, self.img_in.weight[:, self.config.stoch :], self.img_in.bias)


class FramePredictor(GaussianDynamics):
    """States that foresee each frame from the embeddings of the frames before it; there is no posterior.

    Args:
        config: sizes.
        embed_size: size E of the embeddings that drive it.
    """

    def __init__(self, config: GaussianRSSMConfig, embed_size: int) -> None:
        super().__init__(config, embed_size)

    def observe(
        self, embed: Tensor, is_first: Tensor | None, noise: Tensor | None, known: int | None = None
    ) -> GaussianState:
        """States (B, T, ...), each of which knows the frames before its own alone.

        Args:
            embed: (B, T, E) embedding of each frame.
            is_first: (B, T), 1 where an episode starts: nothing is known of the frames before. None: nowhere.
            noise: (B, T, S) standard normal draws; None takes the means.
            known: embeddings of the first so many frames enter, zeros for the later ones; None: all enter.
        """
        batch, length = embed.shape[:2]
        before = F.pad(embed[:, :-1], (0, 0, 1, 0))  # (B, T, E): of the frame before
        if known is not None and known < length - 1:
            before = torch.cat([before[:, : known + 1], torch.zeros_like(before[:, known + 1 :])], 1)
        keep = None
        if is_first is not None:
            inside = 1 - is_first.to(embed.dtype)  # (B, T)
            before, keep = before * inside[..., None], inside.t()[..., None]
        driven = F.elu(self.img_in(before)).unbind(1)
        mix = LoopedLinear(self.gru.linear, length, batch)
        deter, steps, starting = self.initial(batch).deter, [], starting_steps(keep, length)
        for t, slot in enumerate(mix.slots):
            held = apart(keep[t]) if keep is not None and starting[t] else None
            deter = self._driven_step(mix, slot, apart(driven[t]), deter, held)
            steps.append(deter)
        return self.prior(torch.stack(steps, 1), noise)

    @loop_body
    def _driven_step(self, mix: LoopedLinear, slot: Slot, driven: Tensor, deter: Tensor, keep: Tensor | None) -> Tensor:
        """The next GRU state (B, D) from the first layer's output (B, hidden) and the old one, times `keep` (B, 1)."""
        if keep is not None:
            deter = deter * keep
        return self.gru.gates(mix(torch.cat([driven, deter.to(driven.dtype)], -1), slot), deter)
