"""What DrQ-v2 learns by: the critics' and the actor's losses on transitions, all randomness handed in.

Source: DrQ-v2 (arXiv:2107.09645), section 3.1 (deep deterministic policy gradient with clipped double critics).
Legend: `B` batch, `K` frames of a stack, `E` encoder's output, `A` action size.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.methods.drqv2.augmentation import draw_shifts
from models.methods.drqv2.config import DrQv2Config
from models.methods.drqv2.networks import Actor, PixelEncoder, TwinCritic, noisy_action


class UpdateDraws(NamedTuple):
    """Random numbers of one update.

    Attributes:
        shift: (B, 2) of the observations; see `draw_shifts`.
        next_shift: (B, 2) of the observations n steps later.
        next_normal: (B, A) noise of the actions there.
        normal: (B, A) noise of the actions that the actor is trained on.
    """

    shift: Tensor
    next_shift: Tensor
    next_normal: Tensor
    normal: Tensor


class DrQv2Networks(nn.Module):
    """Encoder, actor, critics and target critics.

    Args:
        config: the method's.
        action_dim: A.
    """

    def __init__(self, config: DrQv2Config, action_dim: int) -> None:
        super().__init__()
        self.config, self.action_dim = config.drqv2, action_dim
        self.encoder = PixelEncoder(config.drqv2, config.image)
        self.actor = Actor(self.encoder.out_size, action_dim, config.drqv2)
        self.critic = TwinCritic(self.encoder.out_size, action_dim, config.drqv2)
        self.target_critic = copy.deepcopy(self.critic)
        self.target_critic.requires_grad_(False)

    def draw(self, batch: int, generator: torch.Generator) -> UpdateDraws:
        """Random numbers of an update on `batch` transitions."""
        dtype, device, pad = self.encoder.dtype, generator.device, self.config.shift_pad
        shifts = (draw_shifts(batch, pad, generator) for _ in range(2))
        normals = (
            torch.randn(batch, self.action_dim, generator=generator, device=device).to(dtype) for _ in range(2)
        )  # fmt: skip
        return UpdateDraws(*shifts, *normals)

    def critic_loss(
        self,
        stack: Tensor,
        next_stack: Tensor,
        action: Tensor,
        reward: Tensor,
        discount: Tensor,
        next_normal: Tensor,
        std: Tensor,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Squared errors of both critics, summed; the encoder's maps (B, E), detached; and metrics.

        Args:
            stack: (B, 3·K, H, W) observations, shifted.
            next_stack: the same, n steps later.
            action: (B, A) taken at the observations.
            reward: (B,) of the n steps.
            discount: (B,) of the value after them.
            next_normal: (B, A) noise of the actions after them.
            std: standard deviation of that noise, a scalar: a number would be compiled in.
        """
        target = self.target(next_stack, reward, discount, next_normal, std)
        maps = self.encoder(stack)
        first, second = self.critic(maps, action)
        loss = (first - target).square().mean() + (second - target).square().mean()
        metrics = {"critic_loss": loss.detach(), "critic_value": first.detach().mean(), "critic_target": target.mean()}
        return loss, maps.detach(), metrics

    @torch.no_grad()
    def target(self, next_stack: Tensor, reward: Tensor, discount: Tensor, next_normal: Tensor, std: Tensor) -> Tensor:
        """(B,) rewards and the discounted smaller one of the target critics' values of a noisy action."""
        maps = self.encoder(next_stack)
        action = noisy_action(self.actor(maps), next_normal, std, self.config.noise_clip)
        first, second = self.target_critic(maps, action)
        return reward + discount * torch.minimum(first, second)

    def actor_loss(self, maps: Tensor, normal: Tensor, std: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the mean of the smaller critic's value of noisy actions, and metrics; `maps` (B, E) are detached."""
        action = noisy_action(self.actor(maps), normal, std, self.config.noise_clip)
        first, second = self.critic(maps, action)
        loss = -torch.minimum(first, second).mean()
        return loss, {"actor_loss": loss.detach()}

    @torch.no_grad()
    def move_target(self) -> None:
        """Move the target critics a share τ of the way to the critics."""
        for target, critic in zip(self.target_critic.parameters(), self.critic.parameters(), strict=True):
            target.lerp_(critic, self.config.target_rate)
