"""The one protocol behind which every task suite stands.

An environment renders images, takes actions in [-1, 1], repeats them, counts control steps, latches success and refuses
numbers that are not finite. A suite supplies four hooks (`_start_episode`, `_control_step`, `_image`, `fingerprint`).
All randomness of an episode comes from the seed given to `reset`.
"""

from __future__ import annotations

import os
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from ipv_bench.config import Config
from ipv_bench.errors import ConfigError, IpvBenchError, SimulationError, TrainingError, UsageError

RenderProfileName = Literal["faithful", "fast", "default"]


class EnvConfig(Config):
    """How a task is run and seen: what all suites have. A suite with more of it has a subclass of its own."""

    own_process: ClassVar[bool] = False
    """Whether the simulator may end or block its process: then it never runs in that of the training."""

    inexact: ClassVar[str] = ""
    """Why equal seeds need not give equal episodes; such runs record `exact: false` and this reason."""

    resource_fields: ClassVar[tuple[str, ...]] = ()
    """Own fields that say where things run, and how patiently: free to change when a run is continued."""

    unsaved_fields: ClassVar[tuple[str, ...]] = ()
    """Own fields that a run's record may hold and that nothing takes from there: a program to start, a host to ask.
    Runs are passed around, and opening somebody else's must not run anything."""

    render_profile: RenderProfileName = "faithful"
    """`default`: the simulator's own settings; `faithful`: hardly distinguishable and cheaper; `fast`: no shadows, no
    reflections. Each suite's page in docs/suites gives cost and pixel difference."""

    image_size: PositiveInt = 64
    """Height and width of the images, pixels."""

    camera: str | int | None = None
    """Camera by name or number; null: the suite's (`corner` in Meta-world, 0 in dm-control, 2 for quadruped)."""

    flip: bool | None = None
    """Turn the image's rows upside-down; null: the suite's choice (Meta-world: true, which sets `corner` upright)."""

    action_repeat: PositiveInt = 1
    """Control steps per agent step; their rewards are summed (papers: Meta-world 1, dm-control 2)."""

    time_limit: PositiveInt | None = None
    """Control steps per episode; null: the suite's own (Meta-world 500, dm-control mostly 1000)."""

    def unread(self) -> Mapping[str, str]:
        """Fields of this section that the suite does not look at → why: they are refused where they are set."""
        return {}

    @classmethod
    def of_record(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields as a run's record holds them, without those that a record must not decide."""
        return {key: value for key, value in values.items() if key not in cls.unsaved_fields}

    def at(self, place: int) -> Self:
        """The config of environment number `place` of a run, where each needs something of its own (a server's port).

        Training environments are 0, 1, …; those of the evaluation follow.
        """
        return self


class Observation(TypedDict):
    """What the agent sees after a step.

    `image` is uint8 (H, W, 3), rows top first. `is_first`: the episode's first; `is_last`: its last; `is_terminal`: the
    task ended it (not the time limit).
    """

    image: NDArray[np.uint8]
    is_first: bool
    is_last: bool
    is_terminal: bool


@dataclass(frozen=True)
class ControlStep:
    """One control step of the simulator.

    Attributes:
        reward: of this step alone.
        terminated: the task ended the episode.
        truncated: the suite's time limit ended it.
        success: whether the goal is reached at this step; None in suites that define no success.
    """

    reward: float
    terminated: bool
    truncated: bool
    success: bool | None = None


def refuse_longer_time_limit(task: str, config: EnvConfig, own: int) -> None:
    """Refuse a config whose `time_limit` would never be reached.

    Raises:
        ConfigError: it is above the suite's `own`.
    """
    if config.time_limit is not None and config.time_limit > own:
        raise ConfigError(
            f"env.time_limit is {config.time_limit}, but {task} ends after {own} control steps",
            expected=f"at most {own}, or null",
            fix="leave env.time_limit out, or set a smaller one",
        )


@contextmanager
def explained_simulator_errors(task: str, package: str) -> Iterator[None]:
    """Around everything that a simulator's own code does: what it raises becomes an error of the environment.

    Args:
        task: the full name.
        package: what `pip install` brings the simulator; empty where that is not known.

    Raises:
        SimulationError: the simulator raised something; with its task, package, and the line that raised.
    """
    try:
        yield
    except (IpvBenchError, ModuleNotFoundError):
        raise
    except Exception as error:  # simulators fail in their own ways
        line = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(line.filename)}:{line.lineno}"
        raise SimulationError(
            f"the simulator of {task} raised {type(error).__name__}: {error} ({where})",
            expected=f"the task to run with {package}" if package else "the task to run",
            fix="`pip check` shows packages that do not fit; `ipv-bench doctor` shows versions",
        ) from error


class Env(ABC):
    """An environment with images and one continuous action.

    Args:
        task: the full name, `<suite>/<task>`.
        config: how it is run and seen.
        action_low: (A,) lower bounds of the simulator's action.
        action_high: (A,) upper bounds.
        own_time_limit: control steps after which the suite ends an episode.

    Raises:
        ConfigError: `time_limit` is longer than the suite's own.

    Attributes:
        package: what `pip install` brings the simulator; set by `make_env`, for messages.
    """

    package = ""

    def __init__(
        self,
        task: str,
        config: EnvConfig,
        action_low: NDArray[np.floating[Any]],
        action_high: NDArray[np.floating[Any]],
        own_time_limit: int,
    ) -> None:
        self.task, self.config = task, config
        self._action_low = np.asarray(action_low, np.float64)
        self._action_high = np.asarray(action_high, np.float64)
        refuse_longer_time_limit(task, config, own_time_limit)
        self.time_limit = config.time_limit or own_time_limit
        self._elapsed, self._running = 0, False
        self._success: bool | None = None

    @property
    def action_dim(self) -> int:
        """Number of action components."""
        return len(self._action_low)

    def reset(self, seed: int) -> Observation:
        """Start an episode; equal seeds give equal episodes.

        Raises:
            SimulationError: the simulator raised something, or gave an image of the wrong shape.
        """
        self.begin(seed)
        return self._observe(first=True, terminated=False, last=False)

    def step(self, action: NDArray[np.floating[Any]]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold `action` for `action_repeat` control steps, fewer when the episode ends or the goal is reached.

        Args:
            action: (A,) in [-1, 1]; values beyond are clipped.

        Returns:
            observation, reward (summed over the control steps), terminated, truncated, and info: `env_steps` (control
            steps taken), `success` (reached at any step of the episode so far; None where the suite defines none).

        Raises:
            TrainingError: the action has a wrong size or is not finite.
            SimulationError: the simulator raised something, reward or state are not finite, or the image has the wrong
                shape.
        """
        reward, terminated, truncated, info = self.simulate(action)
        return self._observe(False, terminated, terminated or truncated), reward, terminated, truncated, info

    def begin(self, seed: int) -> None:
        """Start an episode without rendering; `reset` without its image."""
        with explained_simulator_errors(self.task, self.package):
            self._start_episode(int(seed))
        self._elapsed, self._success, self._running = 0, None, True

    def simulate(self, action: NDArray[np.floating[Any]]) -> tuple[float, bool, bool, dict[str, Any]]:
        """`step` without the image: for returns of scripted and random policies."""
        if not self._running:
            raise TrainingError(
                f"step of {self.task} outside an episode",
                expected="a step after reset, and none after the step that ended the episode",
                fix="call reset(seed) first",
            )
        scaled = self._scaled(action)
        total, taken, terminated, truncated = 0.0, 0, False, False
        for _ in range(self.config.action_repeat):
            with explained_simulator_errors(self.task, self.package):
                result = self._control_step(scaled.copy())  # the simulator may write into it
            if not np.isfinite(result.reward):
                raise self._fault(f"the reward is {result.reward}", "a finite number")
            total, taken = total + float(result.reward), taken + 1
            self._elapsed += 1
            if result.success is not None:
                self._success = bool(self._success or result.success)
            terminated = result.terminated
            truncated = not terminated and (result.truncated or self._elapsed >= self.time_limit)
            if terminated or truncated or result.success:
                break
        self._running = not (terminated or truncated)
        return total, terminated, truncated, {"env_steps": taken, "success": self._success}

    def look(self) -> NDArray[np.uint8]:
        """The current image, (image_size, image_size, 3), of an episode that is played without frames; it stays as it
        is whatever follows."""
        with explained_simulator_errors(self.task, self.package):
            return np.array(self._image())  # a simulator may draw all of its frames into one buffer

    def episode_metadata(self) -> dict[str, Any]:
        """What was drawn for the current episode (visual factors), JSON-ready; empty in most suites."""
        return {}

    def renderer(self) -> str:
        """What draws the frames, in words for the record: OpenGL's vendor, renderer and version, or another drawer.

        Known after the first frame; empty: not known. No part of the fingerprint: frames of two renderers are close,
        not equal, and scores of both may be shown together.
        """
        return ""

    def expert_action(self) -> NDArray[np.float64]:
        """What the suite's expert does now, (A,) in [-1, 1]; a suite that has one overrides this.

        Raises:
            UsageError: it has none.
        """
        raise UsageError(
            f"{self.task.partition('/')[0]} has no expert",
            expected="a suite with one, such as metaworld (its scripted policies)",
            fix="--policy uniform, --policy smooth, or the folder of a fine-tuning run",
        )

    def close(self) -> None:  # noqa: B027  (a suite without resources has nothing to release)
        """Release the renderer; the environment cannot be used afterwards."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What makes scores comparable: suite and physics versions, camera, flip, render profile, textures, reward."""

    @abstractmethod
    def _start_episode(self, seed: int) -> None:
        """Reset the simulator; everything random is drawn from `seed`."""

    @abstractmethod
    def _control_step(self, action: NDArray[np.float64]) -> ControlStep:
        """Take one control step with an action within the simulator's bounds."""

    @abstractmethod
    def _image(self) -> NDArray[np.uint8]:
        """The current image, (image_size, image_size, 3), rows top first, flip applied; it may be drawn over later."""

    def _scaled(self, action: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        values = np.asarray(action, np.float64)
        if values.shape != (self.action_dim,):
            raise TrainingError(
                f"the action for {self.task} has shape {values.shape}",
                expected=f"({self.action_dim},)",
                fix="give one number for each of the task's `action_dim` components, and one action at a time",
            )
        if not np.isfinite(values).all():
            raise TrainingError(
                f"the action for {self.task} is not finite: {values.tolist()}",
                expected="numbers in [-1, 1]",
                fix="the policy has diverged: go back to an earlier checkpoint, or lower the learning rate",
            )
        unit = (np.clip(values, -1.0, 1.0) + 1.0) / 2.0
        return self._action_low + unit * (self._action_high - self._action_low)

    def _observe(self, first: bool, terminated: bool, last: bool) -> Observation:
        image = self.look()
        wanted = (self.config.image_size, self.config.image_size, 3)
        if image.shape != wanted or image.dtype != np.uint8:
            raise self._fault(f"the image is {image.dtype} {image.shape}", f"uint8 {wanted}")
        return Observation(image=image, is_first=first, is_last=last, is_terminal=terminated)

    def _fault(self, found: str, expected: str) -> SimulationError:
        return SimulationError(
            f"{self.task}, control step {self._elapsed}: {found}",
            expected=expected,
            fix=f"`ipv-bench record {self.task}` plays the task without an agent: where that fails too, mend the "
            "environment or its versions",
        )
