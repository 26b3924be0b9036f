"""The plain reading of DrQ-v2's update: the published order of operations, step by step.

The same networks as `models/methods/drqv2` computed as the paper and its code say it: frames stacked one transition
after the other, augmentation by padding and `grid_sample` of float pictures, a backward pass of each loss through
everything that it touches, torch's default Adam. It is the reference of the tests and the baseline of the
benchmark; nothing else uses it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.methods.drqv2.losses import DrQv2Networks, UpdateDraws


class PlainTransitions(NamedTuple):
    """Observations (B, 3·K, H, W) and those n steps later, actions (B, A), n-step rewards and discounts (B, 1)."""

    obs: Tensor
    next_obs: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor


def plain_transitions(
    batch: Mapping[str, Any], frame_stack: int, n_step: int, gamma: float, dtype: torch.dtype
) -> PlainTransitions:
    """The transition of each window of a replay's batch (numpy arrays), by loops."""
    found: list[list[Tensor]] = [[] for _ in range(5)]
    for image, action, reward, terminal in zip(
        batch["image"], batch["action"], batch["reward"], batch["is_terminal"], strict=True
    ):
        frames = [torch.from_numpy(frame).to(dtype).permute(2, 0, 1) for frame in image]
        now, total, discount = frame_stack - 1, 0.0, 1.0
        for step in range(now + 1, now + n_step + 1):
            total += discount * float(reward[step])
            discount *= gamma * (0.0 if terminal[step] else 1.0)
        found[0].append(torch.cat(frames[:frame_stack]))
        found[1].append(torch.cat(frames[n_step : n_step + frame_stack]))
        found[2].append(torch.from_numpy(action[now + 1]).to(dtype))
        found[3].append(torch.tensor([total], dtype=dtype))
        found[4].append(torch.tensor([discount], dtype=dtype))
    return PlainTransitions(*(torch.stack(values) for values in found))


def random_shift(x: Tensor, shift: Tensor, pad: int) -> Tensor:
    """Pictures (B, C, H, H) padded by repeated edges, sampled bilinearly on a grid moved by `shift` (B, 2) pixels."""
    size = x.shape[-1]
    x = F.pad(x, (pad, pad, pad, pad), mode="replicate")
    whole = size + 2 * pad
    centres = torch.linspace(-1 + 1 / whole, 1 - 1 / whole, whole, dtype=x.dtype)[:size]
    across, down = centres.expand(size, size), centres[:, None].expand(size, size)
    grid = torch.stack([across, down], -1).expand(len(x), size, size, 2)
    grid = grid + (shift.to(x.dtype) * (2 / whole))[:, None, None]
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class PlainDrQv2:
    """Own copies of an agent's networks, and Adam for each of them."""

    def __init__(self, networks: DrQv2Networks, adam: type[torch.optim.Optimizer] = torch.optim.Adam) -> None:
        self.config = networks.config
        parts = copy.deepcopy(networks)
        self.encoder, self.actor = parts.encoder, parts.actor
        self.critic, self.target_critic = parts.critic, parts.target_critic
        config = self.config
        self.adams = {
            name: adam(module.parameters(), lr=optimizer.lr)  # type: ignore[call-arg]
            for name, module, optimizer in (
                ("encoder", self.encoder, config.encoder_optimizer),
                ("actor", self.actor, config.actor_optimizer),
                ("critic", self.critic, config.critic_optimizer),
            )
        }

    def encode(self, x: Tensor) -> Tensor:
        """Pixels in 0..255 to maps."""
        x = x / 255 - 0.5
        for layer in self.encoder.layers:
            x = torch.relu(layer(x))
        return x.reshape(len(x), -1)

    def act(self, maps: Tensor, normal: Tensor, std: float) -> Tensor:
        """A noisy action: clipped noise, and an action held inside [-1, 1] with a straight-through gradient."""
        hidden = self.actor.policy[:-1](self.actor.trunk(maps))
        if self.config.penultimate_norm:
            hidden = hidden / torch.linalg.vector_norm(hidden, dim=1, keepdim=True).clamp(min=1e-12)
        mean = torch.tanh(self.actor.policy[-1](hidden))
        x = mean + torch.clamp(normal * std, -self.config.noise_clip, self.config.noise_clip)
        held = torch.clamp(x, -1 + 1e-6, 1 - 1e-6)
        return x - x.detach() + held.detach()

    @staticmethod
    def values(critic: Any, maps: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Both critics' values (B, 1)."""
        both = torch.cat([critic.trunk(maps), action], -1)
        return critic.first(both), critic.second(both)

    def update(self, seen: PlainTransitions, draws: UpdateDraws, std: float) -> dict[str, Tensor]:
        """One update; its targets, losses and the gradients of all parameters, for comparisons."""
        pad = self.config.shift_pad
        maps = self.encode(random_shift(seen.obs, draws.shift, pad))
        with torch.no_grad():
            next_maps = self.encode(random_shift(seen.next_obs, draws.next_shift, pad))
            next_action = self.act(next_maps, draws.next_normal, std)
            next_value = torch.minimum(*self.values(self.target_critic, next_maps, next_action))
            target = seen.reward + seen.discount * next_value
        first, second = self.values(self.critic, maps, seen.action)
        critic_loss = F.mse_loss(first, target) + F.mse_loss(second, target)
        found = {"target": target, "critic_loss": critic_loss.detach()}
        self._step(critic_loss, ("encoder", "critic"), found)
        maps = maps.detach()
        action = self.act(maps, draws.normal, std)
        actor_loss = -torch.minimum(*self.values(self.critic, maps, action)).mean()
        found["actor_loss"] = actor_loss.detach()
        self._step(actor_loss, ("actor",), found)
        with torch.no_grad():
            rate = self.config.target_rate
            for slow, fast in zip(self.target_critic.parameters(), self.critic.parameters(), strict=True):
                slow.copy_(rate * fast + (1 - rate) * slow)
        return found

    def tensors(self) -> dict[str, Tensor]:
        """All parameters, named as the agent's."""
        parts: dict[str, nn.Module] = {
            "encoder": self.encoder, "actor": self.actor, "critic": self.critic, "target_critic": self.target_critic,
        }  # fmt: skip
        return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}

    def _step(self, loss: Tensor, names: Sequence[str], found: dict[str, Tensor]) -> None:
        for adam in self.adams.values():
            adam.zero_grad()
        loss.backward()
        for name in names:
            for key, parameter in getattr(self, name).named_parameters():
                found[f"{name}/{key}"] = parameter.grad.clone()
            self.adams[name].step()
