"""Policies that play for a recording: each episode is a function of (seed, number of the episode) alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ipv_bench.seeding import numpy_generator
from models.finetuning.rollout import Policy, UniformPolicy
from models.methods.base import Agent

PURPOSE = "record"
PolicyMaker = Callable[[int], Policy]
"""The policy of the episode of this number, for one environment."""


class SmoothPolicy:
    """Actions that change slowly: uniform in [-1, 1] at each step, with a given correlation from step to step.

    A stationary Gaussian sequence, z' = ρ z + √(1 - ρ²) ε, seen through its distribution function: so the share of each
    action is the uniform policy's, and only the order in time differs.

    Args:
        action_dim: A.
        correlation: ρ, 0 ≤ ρ < 1.
        generator: of the episode.
    """

    def __init__(self, action_dim: int, correlation: float, generator: np.random.Generator) -> None:
        self._correlation, self._generator = correlation, generator
        self._normal = generator.standard_normal(action_dim)

    def act(self, image: NDArray[np.uint8], is_first: NDArray[np.bool_], index: int) -> NDArray[np.float32]:
        """(1, A); see `models.finetuning.rollout.Policy.act`. Calls are taken in order."""
        action: NDArray[np.float32] = (2 * ndtr(self._normal) - 1).astype(np.float32)[None]
        fresh = self._generator.standard_normal(len(self._normal))
        self._normal = self._correlation * self._normal + np.sqrt(1 - self._correlation**2) * fresh
        return action


class ExpertPolicy:
    """Stands for an expert that acts inside the environment; its actions come back with the steps."""

    def __init__(self, action_dim: int) -> None:
        self._nothing = np.zeros((1, action_dim), np.float32)

    def act(self, image: NDArray[np.uint8], is_first: NDArray[np.bool_], index: int) -> NDArray[np.float32]:
        """See `models.finetuning.rollout.Policy.act`."""
        return self._nothing


def policy_maker(kind: str, action_dim: int, seed: int, smoothness: float, agent: Agent | None, explore: bool) -> Any:
    """The policies of a recording, by episode.

    Args:
        kind: "uniform", "smooth", "expert", or "run".
        action_dim: A.
        seed: of the recording.
        smoothness: for `smooth`.
        agent: for `run`.
        explore: for `run`.
    """

    def make(number: int) -> Policy:
        purpose = f"{PURPOSE} policy of episode {number}"
        if kind == "uniform":
            return UniformPolicy(action_dim, seed, purpose)
        if kind == "smooth":
            return SmoothPolicy(action_dim, smoothness, numpy_generator(seed, number, purpose))
        if kind == "expert":
            return ExpertPolicy(action_dim)
        assert agent is not None
        return agent.policy(1, seed, purpose, explore=explore)

    return make
