"""What an agent's `act` keeps from call to call: a policy of its own, for as many environments as the calls bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError
from models.training.entry_check import check_observation


class CountedPolicy(Protocol):
    """A policy for `count` environments."""

    count: int

    def act(self, image: NDArray[np.uint8], is_first: NDArray[np.bool_], index: int) -> NDArray[np.float32]:
        """Actions (N, A) for images (N, H, W, 3); `index` counts the calls."""
        ...


class OwnPolicy:
    """Makes a policy at the first call, and another one where the number of environments changes between episodes."""

    def __init__(self) -> None:
        self._policy: CountedPolicy | None = None
        self._calls = 0

    def act(self, obs: Mapping[str, Any], size: int, make: Callable[[int], CountedPolicy]) -> NDArray[np.float32]:
        """Action for one observation, or for a batch of them.

        Args:
            obs: image uint8 (H, W, 3) or (N, H, W, 3); is_first, bool or (N,): true where an episode starts.
            size: height and width that images must have.
            make: the policy for so many environments.

        Returns:
            (A,) or (N, A) in [-1, 1].

        Raises:
            ConfigError: a field is absent or has another shape or dtype, or N changed in the middle of episodes.
        """
        image, is_first = check_observation(obs, size)
        if self._policy is None or self._policy.count != len(image):
            if self._policy is not None and not is_first.all():
                raise ConfigError(
                    f"{len(image)} observations in the middle of episodes, and {self._policy.count} before",
                    expected="the same number from call to call, or is_first everywhere",
                    fix="let their number change where all of them start an episode",
                )
            self._policy = make(len(image))
        action = self._policy.act(image, is_first, self._calls)
        self._calls += 1
        return action[0] if np.ndim(obs["image"]) == 3 else action
