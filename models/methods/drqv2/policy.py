"""Acting: the newest frames of each environment, and the actor's action with or without noise."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ipv_bench.seeding import derive_seed
from models.methods.drqv2.config import DrQv2Config
from models.methods.drqv2.losses import DrQv2Networks
from models.methods.drqv2.networks import noisy_action
from models.training.entry_check import to_tensor
from models.training.hardware import autocast
from models.training.mode import Mode


class Acting(Protocol):
    """What a policy needs of its agent."""

    config: DrQv2Config
    device: torch.device
    networks: DrQv2Networks
    mode: Mode

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise at the present step."""


class StackPolicy:
    """The agent's policy for `count` environments, with their newest frames.

    Args:
        agent: whose networks decide; later updates take effect at the next call.
        count: number N of environments.
        seed: of the random draws.
        purpose: names the random draws.
        explore: add the noise of the agent's present step; else the mean action.
    """

    def __init__(self, agent: Acting, count: int, seed: int, purpose: str, *, explore: bool) -> None:
        self.count = count
        self._agent, self._seed, self._purpose, self._explore = agent, seed, purpose, explore
        self._frames: Tensor | None = None

    @torch.inference_mode()
    def act(self, image: NDArray[np.uint8], is_first: NDArray[np.bool_], index: int) -> NDArray[np.float32]:
        """See `models.methods.base.Policy.act`; where `is_first` is true, all frames of the stack are this one.

        Fewer frames than `count` are allowed when all of them are first ones.
        """
        agent = self._agent
        newest = to_tensor(image).to(agent.device)
        first = to_tensor(np.asarray(is_first, bool)).to(agent.device)
        stack = self._see(newest, first)
        agent.mode.set(training=False)
        with autocast(agent.device, agent.config.training.precision):
            action = agent.networks.actor(agent.networks.encoder(channels_of(stack)))
        if self._explore:
            generator = torch.Generator(agent.device).manual_seed(derive_seed(self._seed, index, self._purpose))
            normal = torch.randn(action.shape, generator=generator, device=agent.device)
            action = noisy_action(action, normal, agent.noise_std, None)
        chosen: NDArray[np.float32] = action.float().cpu().numpy()
        return chosen

    def _see(self, newest: Tensor, first: Tensor) -> Tensor:
        """Stacks (N, K, H, W, 3) with the frames (N, H, W, 3) as their newest ones."""
        filled = newest[:, None].expand(-1, self._agent.config.drqv2.frame_stack, -1, -1, -1)
        if self._frames is None or len(self._frames) != len(newest):
            self._frames = filled.clone()
        else:
            moved = torch.cat([self._frames[:, 1:], newest[:, None]], 1)
            self._frames = torch.where(first[:, None, None, None, None], filled, moved)
        return self._frames


def channels_of(stack: Tensor) -> Tensor:
    """Stacks (N, K, H, W, 3) as the encoder sees them: (N, 3·K, H, W), frame by frame, in channels-last memory."""
    return stack.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2)
