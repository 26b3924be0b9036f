"""Meta-world's 50 tasks: `metaworld/lever_pull`, `metaworld/drawer_open`, …

Version 3.1.1 of the package, whose tasks are called v3; the papers ran v2. What differs: docs/suites/metaworld.md.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError
from models.envs.base import ControlStep, Env, EnvConfig
from models.envs.registry import Suite
from models.envs.rendering import RenderProfile, SceneRenderer, import_mujoco

PACKAGE = "metaworld==3.1.1"
TIME_LIMIT = 500
DEFAULT_CAMERA = "corner"

PAPER_TASKS = ("lever_pull", "drawer_open", "door_lock", "button_press_topdown_wall", "reach", "dial_turn")
"""The six tasks of the ContextWM paper."""

TASKS = (
    "assembly", "basketball", "bin_picking", "box_close", "button_press", "button_press_topdown",
    "button_press_topdown_wall", "button_press_wall", "coffee_button", "coffee_pull", "coffee_push", "dial_turn",
    "disassemble", "door_close", "door_lock", "door_open", "door_unlock", "drawer_close", "drawer_open",
    "faucet_close", "faucet_open", "hammer", "hand_insert", "handle_press", "handle_press_side", "handle_pull",
    "handle_pull_side", "lever_pull", "peg_insert_side", "peg_unplug_side", "pick_out_of_hole", "pick_place",
    "pick_place_wall", "plate_slide", "plate_slide_back", "plate_slide_back_side", "plate_slide_side", "push",
    "push_back", "push_wall", "reach", "reach_wall", "shelf_place", "soccer", "stick_pull", "stick_push", "sweep",
    "sweep_into", "window_close", "window_open",
)  # fmt: skip
"""All 50, with underscores and without the version."""

PROFILES = {
    "default": RenderProfile(),
    "faithful": RenderProfile(reflections=False, shadow_size=1024),
    "fast": RenderProfile(shadows=False, reflections=False),
}


class MetaworldConfig(EnvConfig):
    """What this suite has beside what all suites have."""

    reward_version: Literal["v2", "v2-paper", "v1"] = "v2"
    """The reward: `v2` (dense, 0 to 10), `v1` (the old, unbounded one), or `v2-paper`: v2 with the button task's grip
    term as it was when the paper's runs were made."""


class MetaworldEnv(Env):
    """A Meta-world task with random positions in every episode.

    Success does not end an episode: 500 control steps always, `terminated` never. Rows are flipped by default: the
    camera `corner` hangs upside-down, and the papers' renderer gave rows bottom first, which set it upright (mirrored).

    Args:
        name: the task, with underscores.
        config: how it is run and seen.
        suite: first part of the task's full name.

    Raises:
        ConfigError: `reward_version` is `v2-paper` and the task is none of the six whose reward was compared.
    """

    def __init__(self, name: str, config: MetaworldConfig, suite: str = "metaworld") -> None:
        mujoco = import_mujoco()
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        if config.reward_version == "v2-paper" and name not in PAPER_TASKS:
            raise ConfigError(
                f"env.reward_version is 'v2-paper' for {suite}/{name}",
                expected=f"one of the tasks whose reward was compared with the paper's: {', '.join(PAPER_TASKS)}",
                fix="leave env.reward_version at v2",
            )
        kind = ALL_V3_ENVIRONMENTS[name.replace("_", "-") + "-v3"]
        self._reward_version = config.reward_version
        version = "v1" if config.reward_version == "v1" else "v2"
        self._simulator: Any = self._new_simulator(kind, version)
        self._draw_positions_per_episode()
        bounds: Any = self._simulator.action_space
        super().__init__(f"{suite}/{name}", config, bounds.low, bounds.high, TIME_LIMIT)
        self._old_button_reward = config.reward_version == "v2-paper" and name == "button_press_topdown_wall"
        self._unstable = [int(getattr(mujoco.mjtWarning, f"mjWARN_BADQ{part}")) for part in ("POS", "VEL", "ACC")]
        self._renderer: SceneRenderer | None = None
        self._state = np.zeros(0)
        self._expert: Any = None

    @property
    def state(self) -> NDArray[np.float64]:
        """(39,) hand, gripper and objects now, the same one step ago, and the goal: what scripted experts read."""
        return self._state

    def fingerprint(self) -> dict[str, Any]:
        """Versions, camera, image, reward and protocol."""
        config = self.config
        return {
            "suite": self.task.partition("/")[0],
            "metaworld": metadata.version("metaworld"),
            "mujoco": metadata.version("mujoco"),
            "reward_version": self._reward_version,
            "camera": config.camera if config.camera is not None else DEFAULT_CAMERA,
            "flip": self._flip,
            "render_profile": config.render_profile,
            "image_size": config.image_size,
            "action_repeat": config.action_repeat,
            "time_limit": config.time_limit,
        }

    def expert_action(self) -> NDArray[np.float64]:
        """See `Env.expert_action`: the package's scripted policy of the task, from the state with its goal."""
        if self._expert is None:
            from metaworld.policies import ENV_POLICY_MAP

            policies: Any = ENV_POLICY_MAP
            self._expert = policies[self.task.partition("/")[2].replace("_", "-") + "-v3"]()
        return np.clip(np.asarray(self._expert.get_action(self._state), np.float64), -1.0, 1.0)

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
    def _flip(self) -> bool:
        return True if self.config.flip is None else self.config.flip

    def _new_simulator(self, kind: Any, reward_version: str) -> Any:
        """Build the package's class of the task."""
        return kind(reward_function_version=reward_version)

    def _draw_positions_per_episode(self) -> None:
        """Let every reset draw positions from the simulator's own generator.

        By default the package freezes them, and unfrozen it takes them from numpy's global generator; `reset(seed=)`
        changes neither.
        """
        simulator = self._simulator
        simulator._freeze_rand_vec = False
        simulator.seeded_rand_vec = True
        simulator._set_task_called = True
        # The goal is in the state for scripted experts; the space with its bounds is cached, so it is made anew.
        simulator._partially_observable = False
        del simulator.sawyer_observation_space

    def _start_episode(self, seed: int) -> None:
        self._simulator.seed(seed)
        self._state, _ = self._simulator.reset()

    def _control_step(self, action: NDArray[np.float64]) -> ControlStep:
        self._state, reward, _, truncated, info = self._simulator.step(action.astype(np.float32))
        if any(self._simulator.data.warning[kind].number for kind in self._unstable):
            raise self._fault("the simulation has become unstable", "finite positions and speeds")
        if self._old_button_reward:
            reward = self._paper_button_reward()
        return ControlStep(float(reward), terminated=False, truncated=truncated, success=bool(info["success"]))

    def _paper_button_reward(self) -> float:
        """Reward of button-press-topdown-wall as in the paper's version: a closed hand is rewarded, not an open one."""
        from metaworld.utils import reward_utils

        env, state = self._simulator, self._state
        button, opening = state[4:7], state[3]
        distance = float(np.linalg.norm(button - env.tcp_center))
        start = float(np.linalg.norm(button - env.init_tcp))
        to_target = abs(env._target_pos[2] - button[2])
        closed = 1.0 - max(opening, 0.0)
        near = reward_utils.tolerance(distance, bounds=(0, 0.01), margin=start, sigmoid="long_tail")
        pressed = reward_utils.tolerance(
            to_target, bounds=(0, 0.005), margin=env._obj_to_target_init, sigmoid="long_tail"
        )
        reward = 5 * reward_utils.hamacher_product(closed, near)
        return float(reward + 5 * pressed if distance <= 0.03 else reward)

    def _image(self) -> NDArray[np.uint8]:
        if self._renderer is None:
            camera = self.config.camera if self.config.camera is not None else DEFAULT_CAMERA
            profile = PROFILES[self.config.render_profile]
            self._renderer = SceneRenderer(self._simulator.model, self.config.image_size, camera, profile)
        image = self._renderer.render(self._simulator.data)
        return image[::-1].copy() if self._flip else image


def make(name: str, config: MetaworldConfig) -> MetaworldEnv:
    """Build `metaworld/<name>`."""
    return MetaworldEnv(name, config)


SUITE = Suite("metaworld", TASKS, make, PACKAGE, MetaworldConfig, extra="metaworld", time_limit=lambda _: TIME_LIMIT)
