"""Robosuite's manipulation tasks with Panda arms: `robosuite/lift`, `robosuite/door`, `robosuite/two_arm_lift`, …

Release 1.5.2 wants numpy below 2, so it lives in an environment of its own. Facts: docs/suites/robosuite.md.
"""

from __future__ import annotations

import logging
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.envs.base import ControlStep, Env, EnvConfig
from models.envs.registry import Suite
from models.envs.rendering import RenderProfile, SceneRenderer, import_mujoco

PACKAGE = "robosuite==1.5.2"

ONE_ARM = {
    "lift": "Lift", "stack": "Stack", "door": "Door", "wipe": "Wipe", "tool_hang": "ToolHang",
    "nut_assembly": "NutAssembly", "nut_assembly_single": "NutAssemblySingle",
    "nut_assembly_square": "NutAssemblySquare", "nut_assembly_round": "NutAssemblyRound",
    "pick_place": "PickPlace", "pick_place_single": "PickPlaceSingle", "pick_place_milk": "PickPlaceMilk",
    "pick_place_bread": "PickPlaceBread", "pick_place_cereal": "PickPlaceCereal", "pick_place_can": "PickPlaceCan",
}  # fmt: skip
TWO_ARMS = {
    "two_arm_lift": "TwoArmLift", "two_arm_peg_in_hole": "TwoArmPegInHole", "two_arm_handover": "TwoArmHandover",
    "two_arm_transport": "TwoArmTransport",
}  # fmt: skip
TASKS = ONE_ARM | TWO_ARMS
"""Task → class of robosuite: all that the package registers."""

SPARSE = ("tool_hang", "two_arm_transport")
"""Tasks for which robosuite has no shaped reward: 1 in each step in which the goal is reached, else 0."""

ROBOT = "Panda"
TIME_LIMIT = 500
CONTROL_HZ = 20
MODEL_SEED = 0
"""Of what is drawn when a model is built (the cube's size, say): models are built once, and all are the same."""
DEFAULT_CAMERA = "agentview"
COLLISION_SHAPES = 0
"""Group of the shapes that collide; what is seen is in others."""

PROFILES = {
    "default": RenderProfile(),
    "faithful": RenderProfile(reflections=False),
    "fast": RenderProfile(shadows=False, reflections=False),
}


class RobosuiteEnv(Env):
    """A task of robosuite, seen by a renderer of ours: upright, at any size.

    Positions are drawn anew in every episode (robosuite's `hard_reset=False`: the model stays). The reward is
    robosuite's shaped one, at most 1 a step, and its sparse one in tasks of `SPARSE`. `wipe` ends an episode by itself
    (`terminated`); the other tasks never do.

    Args:
        name: a key of `TASKS`.
        config: how it is run and seen.
    """

    def __init__(self, name: str, config: EnvConfig) -> None:
        mujoco = import_mujoco()
        # Two lines about a settings file that nobody needs, and one for each controller.
        logging.getLogger("robosuite_logs").addFilter(_is_an_error)
        import robosuite

        self._simulator: Any = robosuite.make(
            TASKS[name],
            robots=[ROBOT, ROBOT] if name in TWO_ARMS else ROBOT,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            use_object_obs=False,
            # Asked for a shaped one that it has not, `two_arm_transport` prints a warning and leaves out a reward.
            reward_shaping=name not in SPARSE,
            control_freq=CONTROL_HZ,
            hard_reset=False,
            ignore_done=True,
            seed=MODEL_SEED,
        )
        low, high = self._simulator.action_spec
        super().__init__(f"robosuite/{name}", config, low, high, TIME_LIMIT)
        self._unstable = [int(getattr(mujoco.mjtWarning, f"mjWARN_BADQ{part}")) for part in ("POS", "VEL", "ACC")]
        self._renderer: SceneRenderer | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Versions, robot, camera, image and protocol."""
        config = self.config
        return {
            "suite": "robosuite",
            "robosuite": metadata.version("robosuite"),
            "mujoco": metadata.version("mujoco"),
            "robot": ROBOT,
            "camera": self._camera,
            "flip": bool(config.flip),
            "render_profile": config.render_profile,
            "image_size": config.image_size,
            "action_repeat": config.action_repeat,
            "time_limit": config.time_limit,
            "control_hz": CONTROL_HZ,
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
    def _camera(self) -> str | int:
        return DEFAULT_CAMERA if self.config.camera is None else self.config.camera

    def _start_episode(self, seed: int) -> None:
        # In place: the placement samplers hold the same generator, and nothing else draws.
        self._simulator.rng.bit_generator.state = np.random.PCG64(seed).state
        self._simulator.reset()

    def _control_step(self, action: NDArray[np.float64]) -> ControlStep:
        _, reward, done, _ = self._simulator.step(action)
        warnings = self._simulator.sim.data._data.warning
        if any(warnings[kind].number for kind in self._unstable):
            raise self._fault("the simulation has become unstable", "finite positions and speeds")
        success = bool(self._simulator._check_success())
        return ControlStep(float(reward), terminated=bool(done), truncated=False, success=success)

    def _image(self) -> NDArray[np.uint8]:
        sim = self._simulator.sim
        if self._renderer is None:
            self._renderer = SceneRenderer(
                sim.model._model,
                self.config.image_size,
                self._camera,
                PROFILES[self.config.render_profile],
                hidden_groups=(COLLISION_SHAPES,),
            )
        image = self._renderer.render(sim.data._data)
        return image[::-1].copy() if self.config.flip else image


def _is_an_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def make(name: str, config: EnvConfig) -> RobosuiteEnv:
    """Build `robosuite/<name>`."""
    return RobosuiteEnv(name, config)


SUITE = Suite("robosuite", tuple(TASKS), make, PACKAGE, extra="robosuite", time_limit=lambda _: TIME_LIMIT)
