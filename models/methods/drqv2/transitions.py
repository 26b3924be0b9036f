"""Windows of the replay as n-step transitions, with frames stacked where they are needed and stored once.

Legend: `B` batch, `T` time, `K` frames of a stack, `n` steps, `A` action size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from ipv_bench.errors import ConfigError


class Transitions(NamedTuple):
    """One n-step transition of each window.

    Attributes:
        frames: (B, K) which frames of the window make the observation.
        next_frames: (B, K) and the one n steps later.
        action: (B, A) taken at the observation.
        reward: (B,) discounted sum of the n rewards.
        discount: (B,) of the value n steps later: γⁿ, and 0 where the task ended the episode.
    """

    frames: Tensor
    next_frames: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor


def stack_of(is_first: Tensor, step: int, size: int) -> Tensor:
    """Frames (B, K) that an agent sees at `step` of windows with `is_first` (B, T): none from before the episode.

    The place of a frame from before its start is taken by the first one.
    """
    steps = torch.arange(step + 1, device=is_first.device)
    start = torch.where(is_first[:, : step + 1].bool(), steps, 0).amax(1)  # (B,) newest start of an episode
    wanted = torch.arange(step - size + 1, step + 1, device=is_first.device)  # (K,)
    return torch.maximum(wanted[None], start[:, None])


def transitions_of(
    action: Tensor, reward: Tensor, is_first: Tensor, is_terminal: Tensor, frame_stack: int, n_step: int, gamma: float
) -> Transitions:
    """The transition of each window of `frame_stack + n_step` records, from record `frame_stack - 1` on.

    Source: DrQ-v2 (arXiv:2107.09645), section 3.1: Σ_{i<n} γⁱ r_{t+i} + γⁿ min_k Q_k(…); record t holds the action and
    reward that led to it. Different from the released code, which never stops at a terminal state (`discount or 1.0`
    there makes 1 of 0): nothing is added beyond one.

    Args:
        action: (B, T, A).
        reward: (B, T).
        is_first: (B, T).
        is_terminal: (B, T).
        frame_stack: K.
        n_step: n.
        gamma: γ.
    """
    now = frame_stack - 1
    total, discount = torch.zeros_like(reward[:, 0]), torch.ones_like(reward[:, 0])
    for step in range(now + 1, now + 1 + n_step):
        total = total + discount * reward[:, step]
        discount = discount * gamma * (1 - is_terminal[:, step].to(reward.dtype))
    frames, next_frames = (stack_of(is_first, step, frame_stack) for step in (now, now + n_step))
    return Transitions(frames, next_frames, action[:, now + 1], total, discount)


def check_windows(length: int, is_first: Tensor | NDArray[Any], frame_stack: int, n_step: int) -> None:
    """Windows hold one transition of one episode.

    Raises:
        ConfigError: they are longer or shorter, or an episode starts between the two ends of a transition.
    """
    wanted = frame_stack + n_step
    if length != wanted:
        raise ConfigError(
            f"the batch's windows have T = {length} steps",
            expected=f"T = {wanted}: frame_stack {frame_stack}, and n_step {n_step} further ones",
            fix=f"cut windows of {wanted} successive steps of an episode",
        )
    if bool((is_first[:, frame_stack:] != 0).any()):
        raise ConfigError(
            "an episode starts between the two ends of a transition",
            expected=f"is_first false in the last {n_step} of {length} steps",
            fix="cut windows out of single episodes; before an episode's start repeat its first step",
        )
