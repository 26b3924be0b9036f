"""Recurrent state-space model with categorical latents (DreamerV2, with the published ContextWM and APV sizes).

Legend: `B` batch, `T` time, `S` categorical variables, `K` classes, `D` deterministic size, `E` embedding size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ipv_bench.errors import ConfigError
from models.nets.config import RSSMConfig
from models.nets.distributions import draw_one_hot, full_precision, straight_through
from models.nets.elu import elu
from models.nets.heads import xavier_linear
from models.nets.loop_body import apart, loop_body
from models.nets.recurrent_linear import LoopedLinear, Slot, by_step


class State(NamedTuple):
    """A latent state, or a sequence of them.

    Attributes:
        stoch: (..., S, K) one-hot latents.
        deter: (..., D) GRU state.
        logit: (..., S, K) logits that `stoch` was drawn from.
    """

    stoch: Tensor
    deter: Tensor
    logit: Tensor

    @property
    def feat(self) -> Tensor:
        """(..., S*K + D): latents flattened, then the GRU state."""
        return torch.cat([self.stoch.flatten(-2), self.deter], -1)

    def map(self, function: Callable[[Tensor], Tensor]) -> State:
        """The state with `function` applied to each tensor."""
        return State(*(function(value) for value in self))


class Latents(NamedTuple):
    """What decides the latents of a sequence, or of one step; with neither given, the most likely class is taken.

    Attributes:
        noise: (T, B, S, K) Gumbel noise: sampling. Of one step: (B, S, K).
        forced: (T, B, S, K) one-hot latents to use as they are. Of one step: (B, S, K).
    """

    noise: Tensor | None = None
    forced: Tensor | None = None

    def at(self, step: int) -> Latents:
        """Those of one step of the sequence."""
        return Latents(*(None if value is None else apart(value[step]) for value in self))

    def draw(self, logit: Tensor) -> Tensor:
        """Latents (B, S, K) of the one step that these are of, with straight-through gradients."""
        if self.forced is not None:
            return straight_through(self.forced.to(logit.dtype), logit)
        return draw_one_hot(logit, self.noise)


class GRUCell(nn.Module):
    """GRU with one linear layer on [input, state] and a LayerNorm over all three gates together."""

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size + size, 3 * size)  # PyTorch's own initialisation, as published
        self.norm = nn.LayerNorm(3 * size, eps=1e-3)

    def gates(self, mixed: Tensor, deter: Tensor) -> Tensor:
        """New state (..., D) from the linear layer's output (..., 3 D) and the old state (..., D)."""
        reset, candidate, update = self.norm(mixed).chunk(3, -1)
        update = torch.sigmoid(update - 1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(deter, candidate.to(deter.dtype), update.to(deter.dtype))


class RSSM(nn.Module):
    """Posterior and prior over latent states.

    Args:
        config: sizes.
        embed_size: size of what the posterior sees at each step.
        action_free: no action enters; the weights for one exist all the same (and only shrink by weight decay).
    """

    def __init__(self, config: RSSMConfig, embed_size: int, *, action_free: bool) -> None:
        super().__init__()
        self.config, self.action_free = config, action_free
        self.stoch_size = config.stoch * config.discrete
        if config.action_dim is None:
            raise ConfigError(
                "rssm.action_dim is null, and this model is made before any environment is known",
                expected="the width that actions are padded to (published: 50)",
                fix="leave rssm.action_dim out",
            )
        self.img_in = xavier_linear(self.stoch_size + config.action_dim, config.hidden)
        self.gru = GRUCell(config.hidden, config.deter)
        self.img_out = xavier_linear(config.deter, config.hidden)
        self.img_logit = xavier_linear(config.hidden, self.stoch_size)
        self.obs_out = xavier_linear(config.deter + embed_size, config.hidden)
        self.obs_logit = xavier_linear(config.hidden, self.stoch_size)

    def initial(self, batch: int) -> State:
        """The state before a sequence: zeros."""
        c, weight = self.config, self.img_in.weight
        stoch = weight.new_zeros(batch, c.stoch, c.discrete)
        return State(stoch, weight.new_zeros(batch, c.deter), stoch)

    def observe(
        self,
        embed: Tensor,
        action: Tensor | None,
        is_first: Tensor | None,
        latents: Latents,
        state: State | None = None,
    ) -> tuple[State, Tensor]:
        """Posterior states of a sequence, and the prior's logits.

        Args:
            embed: (B, T, E) embedding of each frame.
            action: (B, T, A) action that led to each frame, A ≤ `action_dim`; None in the action-free model.
            is_first: (B, T), 1 where an episode starts: the old state and the action are zeroed there. None: nowhere.
            latents: how latents are drawn.
            state: state before the sequence; None for zeros.

        Returns:
            Posterior states (B, T, ...), and prior logits (B, T, S, K).
        """
        batch, length = embed.shape[:2]
        state = state or self.initial(batch)
        keep = None if is_first is None else (1 - is_first.to(embed.dtype)).t()[..., None]  # (T, B, 1)
        into = self._action_part(action, keep)  # (T or 1, B or 1, hidden)
        deter_size = self.config.deter
        seen = F.linear(embed, self.obs_out.weight[:, deter_size:], self.obs_out.bias).transpose(0, 1)  # (T, B, hidden)
        img_in = LoopedLinear(self.img_in, length, batch, self.stoch_size, added=into.expand(length, -1, -1))
        mix = LoopedLinear(self.gru.linear, length, batch)
        obs_out = LoopedLinear(self.obs_out, length, batch, deter_size, added=seen)
        obs_logit = LoopedLinear(self.obs_logit, length, batch)
        layers, steps = (img_in, mix, obs_out, obs_logit), []
        starting = starting_steps(keep, length)
        for t, slots in enumerate(by_step(*layers)):
            held = apart(keep[t]) if keep is not None and starting[t] else None
            state = self._observe_step(layers, slots, state.stoch, state.deter, held, latents.at(t))
            steps.append(state)
        posterior = stack_states(steps)
        return posterior, self.prior_logit(posterior.deter)

    @loop_body
    def _observe_step(
        self,
        layers: tuple[LoopedLinear, ...],
        slots: tuple[Slot, ...],
        stoch: Tensor,
        deter: Tensor,
        keep: Tensor | None,
        latents: Latents,
    ) -> State:
        """One step of `observe`, from the old state's `stoch` and `deter`, times `keep` (B, 1)."""
        (img_in, mix, obs_out, obs_logit), (into, mixed, seen, drawn) = layers, slots
        stoch = stoch.flatten(-2)
        if keep is not None:
            stoch, deter = stoch * keep, deter * keep
        x = elu(img_in(stoch, into))  # (B, hidden)
        deter = self.gru.gates(mix(torch.cat([x, deter.to(x.dtype)], -1), mixed), deter)  # (B, D)
        logit = self._logit(obs_logit(elu(obs_out(deter, seen)), drawn))  # (B, S, K)
        return State(latents.draw(logit), deter, logit)

    def prior_logit(self, deter: Tensor) -> Tensor:
        """Logits (..., S, K) of the prior at GRU states (..., D)."""
        return self._logit(self.img_logit(elu(self.img_out(deter))))

    def img_step(self, state: State, action: Tensor | None, latents: Latents) -> State:
        """Next state without an image: (B, ...), the action (B, A) taken in it and that step's latents, to (B, ...)."""
        inputs = state.stoch.flatten(-2)
        if action is not None:
            inputs = torch.cat([inputs, action.to(inputs.dtype)], -1)
        x = elu(F.linear(inputs, self.img_in.weight[:, : inputs.shape[-1]], self.img_in.bias))  # (B, hidden)
        deter = self.gru.gates(self.gru.linear(torch.cat([x, state.deter.to(x.dtype)], -1)), state.deter)
        logit = self.prior_logit(deter)
        return State(latents.draw(logit), deter, logit)

    def imagine(self, state: State, action: Tensor | None, latents: Latents, length: int) -> State:
        """`length` steps without images from `state` (B, ...): (B, length, ...). `action`: (B, length, A) or None."""
        steps = []
        for t in range(length):
            state = self.img_step(state, None if action is None else action[:, t], latents.at(t))
            steps.append(state)
        return stack_states(steps)

    def carry_on(self, first: State, other: State, action: Tensor | None = None) -> State:
        """Another sequence's latents after a first step of one's own, without images.

        Args:
            first: state (B, 1, ...).
            other: states (B, T, ...) whose latents are taken from the second step on.
            action: (B, T, A) action that led to each step, or None.

        Returns:
            States (B, T, ...), the first of which is `first`.
        """
        forced = Latents(forced=other.stoch[:, 1:].transpose(0, 1))
        start = first.map(lambda value: value[:, -1])
        rest = None if action is None else action[:, 1:]
        length = other.deter.shape[1] - 1
        if not length:
            return first
        future = self.imagine(start, rest, forced, length)
        return State(*(torch.cat(pair, 1) for pair in zip(first, future, strict=True)))

    def _action_part(self, action: Tensor | None, keep: Tensor | None) -> Tensor:
        """What actions and bias add to the first layer, for all steps at once: (T or 1, B or 1, hidden).

        `keep` (T, B, 1) is 0 where an episode starts.
        """
        if action is None:
            return self.img_in.bias[None, None]
        action = action.transpose(0, 1)  # (T, B, A)
        if keep is not None:
            action = action * keep
        columns = self.img_in.weight[:, self.stoch_size : self.stoch_size + action.shape[-1]]
        return F.linear(action, columns, self.img_in.bias)

    def _logit(self, flat: Tensor) -> Tensor:
        # Softmax and KL of half-precision logits would lose the small probabilities.
        return full_precision(flat).reshape(*flat.shape[:-1], self.config.stoch, self.config.discrete)


def starting_steps(keep: Tensor | None, length: int) -> list[bool]:
    """Steps at which a sequence may start anew; `keep` (T, B, 1) is 0 there and 1 elsewhere.

    Elsewhere the old state would be multiplied by ones. Only a CPU is asked: another device would be waited for.
    """
    if keep is None or keep.device.type != "cpu" or torch.compiler.is_compiling():
        return [keep is not None] * length
    found: list[bool] = (keep != 1).flatten(1).any(1).tolist()
    return found


def stack_states(steps: list[State]) -> State:
    """States (B, ...) of consecutive steps, as one sequence (B, T, ...)."""
    return State(*(torch.stack(values, 1) for values in zip(*steps, strict=True)))
