"""Behaviour learned in imagination: actor, critic and slow critic.

Source: DreamerV2 (Hafner et al., arXiv:2010.02193), with dynamics gradients for continuous actions.
Legend: `N` imagined trajectories, `H` horizon, `F` feature size, `A` action size.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.agents.config import BehaviorConfig
from models.agents.lambda_return import lambda_return
from models.nets.distributions import gumbel_noise
from models.nets.heads import ActorHead, ScalarHead
from models.nets.loop_body import apart, loop_body
from models.nets.rssm import RSSM, Latents, State
from models.training.optimizer import OptimizerGroup, assign_gradients


class BehaviorDraws(NamedTuple):
    """Random numbers of one imagination.

    Attributes:
        uniform: (H, N, A) in [0, 1], for the actions.
        latents: (H, N, S, K) noise, or forced one-hots, for the imagined states.
    """

    uniform: Tensor
    latents: Latents


class Trajectories(NamedTuple):
    """Imagined trajectories, start states included.

    Attributes:
        states: (N, H + 1, ...) imagined states.
        action: (N, H + 1, A) action that led to each state; zeros at the start.
        reward: (N, H + 1) predicted reward of each state.
        value: (N, H + 1) slow critic's value of each state.
        discount: (N, H + 1) constant, or predicted: γ times the probability that the episode goes on from the state.
        weight: (N, H + 1) product of the discounts before each state, detached.
        feat: (N, H + 1, F) what actor and critic see of each state; no gradient goes on to the states.
    """

    states: State
    action: Tensor
    reward: Tensor
    value: Tensor
    discount: Tensor
    weight: Tensor
    feat: Tensor


class ActorCritic(nn.Module):
    """Actor, critic and slow critic.

    Args:
        config: behaviour section.
        feat_size: size F of the features of the model that imagines.
        action_dim: size A of the environment's actions.
        critic_layers: hidden layers of the critic; None: as many as the actor's.
    """

    updates: Tensor

    def __init__(
        self, config: BehaviorConfig, feat_size: int, action_dim: int, critic_layers: int | None = None
    ) -> None:
        super().__init__()
        self.config, self.action_dim = config, action_dim
        self.actor = ActorHead(feat_size, action_dim, config.layers, config.units, config.min_std)
        layers = config.layers if critic_layers is None else critic_layers
        self.critic = ScalarHead(feat_size, layers, config.units, zero_output=config.zero_output)
        self.slow_critic = copy.deepcopy(self.critic)
        self.slow_critic.requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def groups(self) -> list[OptimizerGroup]:
        """Optimiser groups `actor` and `critic`."""
        return [
            OptimizerGroup("actor", dict(self.actor.named_parameters()), self.config.actor_optimizer),
            OptimizerGroup("critic", dict(self.critic.named_parameters()), self.config.critic_optimizer),
        ]

    def draw(self, count: int, rssm: RSSM, generator: torch.Generator) -> BehaviorDraws:
        """Random numbers of `count` trajectories."""
        horizon = self.config.horizon
        uniform = torch.rand(horizon, count, self.action_dim, generator=generator, device=generator.device)
        noise = gumbel_noise((horizon, count, rssm.config.stoch, rssm.config.discrete), generator)
        return BehaviorDraws(uniform, Latents(noise))

    def imagine(
        self,
        rssm: RSSM,
        reward_head: nn.Module,
        start: State,
        draws: BehaviorDraws,
        discount_head: nn.Module | None = None,
        terminal: Tensor | None = None,
    ) -> Trajectories:
        """Follow the actor from `start` (N, ...), detached, for `horizon` steps.

        With a `discount_head` the discount of imagined states is predicted; that of the start states is known, from
        `terminal` (N,), true where the task ended the episode there. Nothing is bootstrapped beyond such a state; an
        episode that a time limit cut goes on in imagination.

        The actor sees detached features: its gradients come through action, dynamics, reward and slow critic.
        """
        state = start.map(torch.Tensor.detach)
        states, actions = [state], [torch.zeros_like(draws.uniform[0])]
        for step in range(self.config.horizon):
            action, state = self._imagine_step(rssm, state, apart(draws.uniform[step]), draws.latents.at(step))
            states.append(state)
            actions.append(action)
        sequence = State(*(torch.stack(values, 1) for values in zip(*states, strict=True)))  # (N, H + 1, ...)
        feat = sequence.feat
        reward, value = reward_head(feat), self.slow_critic(feat)
        discount, weight = self.discounts(reward, feat, discount_head, terminal)
        return Trajectories(sequence, torch.stack(actions, 1), reward, value, discount, weight, feat.detach())

    @loop_body
    def _imagine_step(self, rssm: RSSM, state: State, uniform: Tensor, latents: Latents) -> tuple[Tensor, State]:
        """The action (N, A) in states (N, ...), by `uniform` (N, A), and the states that it leads to."""
        action: Tensor = self.actor(state.feat.detach()).sample(uniform)
        return action, rssm.img_step(state, action, latents)

    def discounts(
        self, reward: Tensor, feat: Tensor, discount_head: nn.Module | None, terminal: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Discount and weight (N, H + 1) of imagined states with rewards (N, H + 1) and features (N, H + 1, F)."""
        discount = torch.full_like(reward, self.config.discount)
        if discount_head is not None:
            assert terminal is not None
            known = self.config.discount * (1 - terminal.to(reward.dtype))  # (N,)
            discount = torch.cat([known[:, None], torch.sigmoid(discount_head(feat[:, 1:])).to(reward.dtype)], 1)
        weight = torch.cumprod(torch.cat([torch.ones_like(discount[:, :1]), discount[:, :-1]], 1), 1).detach()
        return discount, weight

    def values(self, rssm: RSSM, states: State, generator: torch.Generator) -> Tensor:
        """The critic's value (N,) of states (N, ...)."""
        value: Tensor = self.critic(states.feat)
        return value

    def target(self, imagined: Trajectories) -> Tensor:
        """λ-returns (N, H) of the imagined states but the last."""
        return lambda_return(
            imagined.reward[:, :-1],
            imagined.value[:, :-1],
            imagined.discount[:, :-1],
            imagined.value[:, -1],
            self.config.lam,
        )

    def actor_loss(self, imagined: Trajectories, target: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and the policy's mean entropy, from the returns after each action.

        The entropy is added to a new tensor: the published code added it to the critic's targets too.
        """
        entropy = self.actor(imagined.feat[:, :-2].detach()).entropy()  # (N, H - 1)
        objective = target[:, 1:] + self.config.entropy * entropy
        return -(imagined.weight[:, :-2] * objective).mean(), entropy.detach().mean()

    def critic_loss(self, imagined: Trajectories, target: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and the critic's values (N, H), for the returns (N, H), detached."""
        value = self.critic(imagined.feat[:, :-1])  # (N, H)
        loss = 0.5 * (imagined.weight[:, :-1] * (value - target.detach()).square()).mean()
        return loss, value

    def forward(
        self,
        rssm: RSSM,
        reward_head: nn.Module,
        start: State,
        draws: BehaviorDraws,
        discount_head: nn.Module | None = None,
        terminal: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Actor loss, critic loss, and metrics (detached scalars), from start states (N, ...); see `imagine`."""
        imagined = self.imagine(rssm, reward_head, start, draws, discount_head, terminal)
        target = self.target(imagined)
        actor_loss, entropy = self.actor_loss(imagined, target)
        critic_loss, value = self.critic_loss(imagined, target)
        metrics = {
            "actor_loss": actor_loss.detach(),
            "critic_loss": critic_loss.detach(),
            "actor_entropy": entropy,
            "imagined_reward": imagined.reward.detach().mean(),
            "critic_value": value.detach().mean(),
            "critic_target": target.detach().mean(),
            "slow_critic_value": imagined.value.detach().mean(),
        }
        return actor_loss, critic_loss, metrics

    def gradients(self, groups: list[OptimizerGroup], actor_loss: Tensor, critic_loss: Tensor) -> None:
        """Gradients of each loss for its own network alone; the world model and the slow critic get none."""
        assign_gradients(actor_loss, groups[:1])
        assign_gradients(critic_loss, groups[1:])

    @torch.no_grad()
    def count_update(self) -> None:
        """Count an applied update; every `slow_every`-th one moves the slow critic towards the critic."""
        self.updates += 1
        if int(self.updates) % self.config.slow_every == 0:
            for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
                slow.lerp_(fast, self.config.slow_fraction)
