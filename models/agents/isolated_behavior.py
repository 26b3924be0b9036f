"""Behaviour on isolated branches: the action-free future is rolled out first, and the policy looks ahead into it.

Source: Iso-Dream (Pan et al., NeurIPS 2022, arXiv:2205.13817). Legend: `N` imagined trajectories, `H` horizon,
`W` window, `F` feature size of a branch, `A` action size, `S` size of a latent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.agents.behavior import ActorCritic, Trajectories
from models.agents.config import IsolatedBehaviorConfig
from models.isolation.branches import IsolatedBranches, IsolatedState
from models.isolation.config import IsolationConfig
from models.nets.distributions import TruncatedNormal
from models.nets.future_attention import FutureAttention
from models.nets.gaussian_rssm import GaussianState, stack_gaussian
from models.nets.loop_body import apart, loop_body
from models.training.optimizer import OptimizerGroup


class IsolatedBehaviorDraws(NamedTuple):
    """Random numbers of one imagination.

    Attributes:
        uniform: (H, N, A) in [0, 1], for the actions.
        action: (N, H, S) standard normal, for the action-conditional branch.
        free: (N, H + max(W, 1) - 1, S) for the action-free one; None where nothing looks at it.
    """

    uniform: Tensor
    action: Tensor
    free: Tensor | None


class IsolatedActorCritic(ActorCritic):
    """Actor, critic and slow critic, with the attention through which they look ahead.

    Args:
        config: behaviour section.
        isolation: window, and what the reward head sees.
        feat_size: F.
        action_dim: A.
    """

    config: IsolatedBehaviorConfig

    def __init__(
        self, config: IsolatedBehaviorConfig, isolation: IsolationConfig, feat_size: int, action_dim: int
    ) -> None:
        super().__init__(config, feat_size, action_dim, config.critic_layers)
        self.isolation = isolation
        self.attention = FutureAttention(feat_size, isolation.window) if isolation.window else None

    def groups(self) -> list[OptimizerGroup]:
        """Optimiser groups `actor`, and `critic` with the attention, which learns from its loss (as released)."""
        actor, critic = super().groups()
        if self.attention is None:
            return [actor, critic]
        attention = {f"attention.{name}": value for name, value in self.attention.named_parameters()}
        return [actor, OptimizerGroup("critic", critic.parameters | attention, self.config.critic_optimizer)]

    def draw(self, count: int, rssm: Any, generator: torch.Generator) -> Any:
        """Random numbers of `count` trajectories."""
        horizon, stoch, device = self.config.horizon, rssm.config.stoch, generator.device
        uniform = torch.rand(horizon, count, self.action_dim, generator=generator, device=device)
        action = torch.randn(count, horizon, stoch, generator=generator, device=device)
        free = None
        if self.isolation.needs_future:
            steps = horizon + max(self.isolation.window, 1) - 1
            free = torch.randn(count, steps, stoch, generator=generator, device=device)
        return IsolatedBehaviorDraws(uniform, action, free)

    def imagine(
        self,
        rssm: Any,
        reward_head: nn.Module,
        start: Any,
        draws: Any,
        discount_head: nn.Module | None = None,
        terminal: Tensor | None = None,
    ) -> Trajectories:
        """Follow the actor from `start` (N, ...), detached, for `horizon` steps; see `ActorCritic.imagine`.

        The action-free branch is rolled out once, before anything is done in it: the policy looks at the same future
        that the rewards come from (the released code rolls out two).

        Actor and critic see detached features of the branches. The actor's gradient comes through action, dynamics and
        reward, and through the values of the slow critic, whose attention is held still meanwhile.
        """
        branches: IsolatedBranches = rssm
        states: IsolatedState = start.map(torch.Tensor.detach)
        horizon, free = self.config.horizon, None
        if draws.free is not None:
            free = branches.roll_free(states.free, draws.free)  # (N, H + max(W, 1), F)
        with torch.no_grad():
            memory = None if self.attention is None or free is None else self.attention.memory(free)
        state, sequence, actions = states.action, [states.action], [torch.zeros_like(draws.uniform[0])]
        for step in range(horizon):
            window = None
            if memory is not None:
                window = tuple(apart(part[:, step : step + self.isolation.window]) for part in memory)
            drawn = apart(draws.uniform[step]), apart(draws.action[:, step])
            action, state = self._isolated_step(branches, state, window, *drawn)
            sequence.append(state)
            actions.append(action)
        imagined = stack_gaussian(sequence)  # (N, H + 1, ...)
        feat = imagined.feat
        heads = branches.head_features(feat, None if free is None else free[:, : horizon + 1])
        reward, value = reward_head(heads), self.slow_critic(self._seen_by_slow_critic(feat, free))
        discount, weight = self.discounts(reward, heads, discount_head, terminal)
        seen = feat.detach() if self.attention is None else self.attention(feat.detach(), free)
        states_alike: Any = imagined
        return Trajectories(states_alike, torch.stack(actions, 1), reward, value, discount, weight, seen)

    def act(self, rssm: IsolatedBranches, state: IsolatedState, generator: torch.Generator | None) -> TruncatedNormal:
        """Policy (N, A) at states (N, ...); `generator` draws the future that it looks at, None takes the means."""
        policy: TruncatedNormal = self.actor(self.look_ahead(rssm, state, generator))
        return policy

    def values(self, rssm: Any, states: Any, generator: torch.Generator) -> Tensor:
        """See `ActorCritic.values`."""
        value: Tensor = self.critic(self.look_ahead(rssm, states, generator))
        return value

    def look_ahead(self, rssm: IsolatedBranches, state: IsolatedState, generator: torch.Generator | None) -> Tensor:
        """Features (N, F) that actor and critic see of states (N, ...)."""
        feat = state.action.feat
        if self.attention is None:
            return feat
        shape = (len(feat), self.isolation.window - 1, rssm.config.stoch)
        noise = torch.zeros(shape, device=feat.device)
        if generator is not None:
            noise = torch.randn(shape, generator=generator, device=feat.device)
        seen: Tensor = self.attention(feat[:, None], rssm.roll_free(state.free, noise))
        return seen[:, 0]

    @loop_body
    def _isolated_step(
        self,
        branches: IsolatedBranches,
        state: GaussianState,
        window: tuple[Tensor, ...] | None,
        uniform: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, GaussianState]:
        """The action (N, A) in states (N, ...), by `uniform` (N, A), and the states that it leads to.

        `window` holds the keys and values of the future that the policy looks at.
        """
        seen = state.feat.detach()
        if self.attention is not None and window is not None:
            with torch.no_grad():
                seen = self.attention.attend(seen[:, None], *window)[:, 0]
        action: Tensor = self.actor(seen).sample(uniform)
        return action, branches.action.img_step(state, action, noise)

    def _seen_by_slow_critic(self, feat: Tensor, free: Tensor | None) -> Tensor:
        """What the slow critic sees, (N, H + 1, F): a gradient for the states, and none for the attention."""
        if self.attention is None:
            return feat
        held = {name: value.detach() for name, value in self.attention.named_parameters()}
        seen: Tensor = torch.func.functional_call(self.attention, held, (feat, free))
        return seen
