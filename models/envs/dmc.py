"""dm-control's tasks, rendered offscreen: `dmc/cartpole_balance`, `dmc/cheetah_run`, …

Facts and measurements: docs/suites/dmc.md.
"""

from __future__ import annotations

import math
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.envs.base import ControlStep, Env, EnvConfig
from models.envs.registry import Suite
from models.envs.rendering import RenderProfile, SceneRenderer, explained_gl_errors

PACKAGE = "dm-control>=1.0.28,<1.0.29"

DOMAINS: dict[str, tuple[str, ...]] = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse", "two_poles", "three_poles"),
    "cheetah": ("run",),
    "dog": ("stand", "walk", "trot", "run", "fetch"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("upright", "swim"),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run", "run_pure_state"),
    "humanoid_CMU": ("stand", "walk", "run"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("walk", "run", "escape", "fetch"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer6", "swimmer15"),
    "walker": ("stand", "walk", "run"),
}
"""Domain → tasks of dm-control 1.0.28; a task's name is `<domain>_<task>`."""

PROFILES = {
    "default": RenderProfile(),
    "faithful": RenderProfile(shadow_size=512),
    "fast": RenderProfile(shadows=False, reflections=False, samples=0),
}

TIME_LIMIT = 1000
"""Control steps of every task of dm-control 1.0.28, and ours for those that it runs without a limit (lqr)."""

UNBOUNDED_ACTION = 1e6
QUADRUPED_CAMERA = 2

_TASKS = {f"{domain}_{task}": (domain, task) for domain, tasks in DOMAINS.items() for task in tasks}

# lqr draws its stiffness when the model is built, and never again; the model must not depend on an episode's seed.
_BUILD_SEED = 0


def default_camera(name: str) -> int:
    """Camera of `<domain>_<task>`, as in the published DreamerV2 and ContextWM code: 2 for quadruped, 0 for all others.

    Quadruped's camera 0 stays where it is, and the animal soon walks out of its view; camera 2 goes with it.
    """
    return QUADRUPED_CAMERA if _TASKS[name][0] == "quadruped" else 0


class DmcEnv(Env):
    """A task of dm-control's suite, seen through `default_camera` unless the config names another.

    Args:
        name: `<domain>_<task>`.
        config: how it is run and seen.
        suite: first part of the task's full name.
    """

    def __init__(self, name: str, config: EnvConfig, suite: str = "dmc") -> None:
        from dm_control.rl.control import PhysicsError

        self._physics_error = PhysicsError
        self._simulator = self._load(*_TASKS[name])
        self._camera = default_camera(name) if config.camera is None else config.camera
        action = self._simulator.action_spec()
        low, high = (np.broadcast_to(bound, action.shape) for bound in (action.minimum, action.maximum))
        bounded = np.abs(low) < UNBOUNDED_ACTION  # lqr's actions have no bounds: theirs are taken as -1 and 1
        limit = self._simulator._step_limit
        super().__init__(
            f"{suite}/{name}",
            config,
            np.where(bounded, low, -1.0),
            np.where(bounded, high, 1.0),
            math.ceil(limit) if math.isfinite(limit) else TIME_LIMIT,
        )
        self._renderer: SceneRenderer | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Versions, camera, image and protocol."""
        config = self.config
        return {
            "suite": self.task.partition("/")[0],
            "dm_control": metadata.version("dm-control"),
            "mujoco": metadata.version("mujoco"),
            "camera": self._camera,
            "flip": bool(config.flip),
            "render_profile": config.render_profile,
            "image_size": config.image_size,
            "action_repeat": config.action_repeat,
            "time_limit": config.time_limit,
        }

    def renderer(self) -> str:
        """See `Env.renderer`."""
        return "" if self._renderer is None else self._renderer.name

    def close(self) -> None:
        """Free the GL context and the simulator."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self._simulator.close()

    @property
    def physics(self) -> Any:
        """dm-control's physics of the task."""
        return self._simulator.physics

    def _load(self, domain: str, task: str) -> Any:
        with explained_gl_errors():
            from dm_control import suite

        if domain == "quadruped":
            give_in1d(suite.quadruped)
        return suite.load(domain, task, task_kwargs={"random": _BUILD_SEED})

    def _start_episode(self, seed: int) -> None:
        self._simulator.task.random.seed(seed % 2**32)
        self._simulator.reset()

    def _control_step(self, action: NDArray[np.float64]) -> ControlStep:
        try:
            step = self._simulator.step(action)
        except self._physics_error as error:
            raise self._fault(f"the simulation has become unstable: {error}", "finite positions and speeds") from error
        ended = step.last()
        return ControlStep(step.reward, terminated=ended and step.discount == 0.0, truncated=ended)

    def _image(self) -> NDArray[np.uint8]:
        if self._renderer is None:
            profile = PROFILES[self.config.render_profile]
            self._renderer = SceneRenderer(self.physics.model.ptr, self.config.image_size, self._camera, profile)
        image = self._renderer.render(self.physics.data.ptr)
        return image[::-1].copy() if self.config.flip else image


class _NumpyWithIn1d:
    """numpy, and `in1d`, which it had until 2.4."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def in1d(values: Any, wanted: Any) -> NDArray[np.bool_]:
        """Whether each of `values`, flattened, is among `wanted`."""
        return np.isin(values, wanted).ravel()


def give_in1d(module: Any) -> None:
    """Let a module of dm-control that calls `np.in1d` find it, where numpy no longer has it.

    dm-control 1.0.28 does so in quadruped.py. It cannot be updated (later ones do not accept the mujoco that metaworld
    pins), and numpy below 2.4 for everything would be a high price for one call. Only that module's `np` is changed.
    """
    if not hasattr(np, "in1d"):
        module.np = _NumpyWithIn1d()


def make(name: str, config: EnvConfig) -> DmcEnv:
    """Build `dmc/<name>`."""
    return DmcEnv(name, config)


SUITE = Suite("dmc", tuple(_TASKS), make, PACKAGE, extra="dmc", time_limit=lambda _: TIME_LIMIT)
