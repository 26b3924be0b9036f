"""Meta-world remastered: `metaworld-remastered/drawer_open` and all other 49 tasks, whose looks change per episode.

Table, floor, wall, object, arm, light and camera: seven visual factors, drawn for every episode from one visual seed,
written into the one model. Motion, rewards and successes are those of `metaworld/` to the last bit: an episode of the
same seed and actions passes through the same states. Facts: docs/suites/metaworld_remastered.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.envs.metaworld import DEFAULT_CAMERA, PACKAGE, TASKS, TIME_LIMIT, MetaworldConfig, MetaworldEnv
from models.envs.metaworld_factors import ALL_FACTORS, Factor, Looks, Surface, draw_looks, visual_seed_of
from models.envs.metaworld_parts import find_parts, material_of
from models.envs.metaworld_patterns import PATTERN_SIZE, picture, shaded, shading
from models.envs.registry import Suite
from models.envs.rendering import camera_number, import_mujoco

NAME = "metaworld-remastered"
PATTERNS = "patterns-1"
"""Stands in the fingerprint; another name means that looks are drawn by other rules."""

TEXTURED: tuple[Factor, ...] = ("table", "floor", "wall", "object", "arm")
MAX_TEXTURED_FACES = 4500
"""Of an arm's mesh that gets a texture. The renderer works out texture coordinates vertex by vertex: with all of the
arm's 66,000 faces a frame would cost 8 % more, with a quarter of them, on most of its length, 2 %."""
FLOOR_REPEATS = 12.0
SKY = "remastered background"
"""Name of the skybox, which has none in Meta-world's models."""


class MetaworldRemasteredConfig(MetaworldConfig):
    """What this suite has beside what Meta-world has."""

    vary: tuple[Factor, ...] | None = None
    """Visual factors that change from episode to episode; null: all."""


class MetaworldRemasteredEnv(MetaworldEnv):
    """A Meta-world task whose looks are drawn anew for every episode.

    Args:
        name: the task, with underscores.
        config: `vary` lists the factors that change.
    """

    def __init__(self, name: str, config: MetaworldRemasteredConfig) -> None:
        self._vary: tuple[Factor, ...] = ALL_FACTORS if config.vary is None else config.vary
        super().__init__(name, config, suite=NAME)
        self._model = self._simulator.model
        self._looks: Looks | None = None
        self._painter = _Painter(self._model, self._vary)
        self._lights = _Lights(self._model)
        self._jitter: _CameraJitter | None = None
        self._stale = False

    def fingerprint(self) -> dict[str, Any]:
        """As in Meta-world, and what varies by which rules."""
        vary = "all" if set(self._vary) == set(ALL_FACTORS) else sorted(self._vary)
        return super().fingerprint() | {"vary": vary, "textures": PATTERNS}

    def episode_metadata(self) -> dict[str, Any]:
        """The visual seed and the factors drawn for the current episode."""
        return {} if self._looks is None else self._looks.as_metadata(self._vary)

    def wear(self, looks: Looks) -> None:
        """Show the current episode in these looks: the factors that vary."""
        self._looks, self._stale = looks, True
        self._painter.paint(looks)
        if "light" in self._vary:
            self._lights.shine(looks)
        if "camera" in self._vary:
            if self._jitter is None:
                camera = DEFAULT_CAMERA if self.config.camera is None else self.config.camera
                self._jitter = _CameraJitter(self._model, camera_number(self._model, camera))
            self._jitter.move(looks)
        # Where camera and lamps stand is worked out with the motion; this part of it reads positions and nothing else.
        import_mujoco().mj_camlight(self._model, self._simulator.data)

    def _new_simulator(self, kind: Any, reward_version: str) -> Any:
        vary = self._vary

        class Textured(kind):  # type: ignore[misc]  # the class of the task
            """The task with room for the textures that will be drawn."""

            def _initialize_simulation(self) -> tuple[Any, Any]:
                mujoco = import_mujoco()
                model = _with_textures(mujoco, self.fullpath, vary)
                return model, mujoco.MjData(model)

        return Textured(reward_function_version=reward_version)

    def _start_episode(self, seed: int) -> None:
        super()._start_episode(seed)
        self.wear(draw_looks(visual_seed_of(seed)))

    def _image(self) -> NDArray[np.uint8]:
        if self._stale and self._looks is not None:
            self._stale = False
            for number in self._painter.draw_textures(self._looks):
                if self._renderer is not None:
                    self._renderer.upload_texture(number)
        return super()._image()


def _with_textures(mujoco: Any, path: str, vary: tuple[Factor, ...]) -> Any:
    """Compile a task's model with one more texture and material for each factor that needs them.

    Meta-world's own textures of up to 1024 pixels are slow to upload, and arm and half of the objects have none.
    """
    spec = mujoco.MjSpec.from_file(path)
    flat, role = mujoco.mjtBuiltin.mjBUILTIN_FLAT, mujoco.mjtTextureRole.mjTEXROLE_RGB
    kinds = {"floor": mujoco.mjtTexture.mjTEXTURE_2D}
    for factor in TEXTURED:
        if factor in vary:
            kind = kinds.get(factor, mujoco.mjtTexture.mjTEXTURE_CUBE)
            spec.add_texture(name=_look(factor), type=kind, builtin=flat, width=PATTERN_SIZE, height=PATTERN_SIZE)
            material = spec.add_material(name=_look(factor))
            material.textures[role] = _look(factor)
            if factor == "floor":
                material.texrepeat = [FLOOR_REPEATS, FLOOR_REPEATS]
    if "wall" in vary:
        sky = next(texture for texture in spec.textures if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
        sky.name, sky.width, sky.height = SKY, PATTERN_SIZE, PATTERN_SIZE
    return spec.compile()


def _num_faces(model: Any, geom: int) -> int:
    """Of a shape's mesh; 0: it has none."""
    mesh = model.geom_dataid[geom]
    return int(model.mesh_facenum[mesh]) if mesh >= 0 else 0


def _look(factor: Factor) -> str:
    return f"remastered {factor}"


class _Painter:
    """Colours and textures of one model.

    Args:
        model: made by `_with_textures`.
        vary: the factors that are painted.
    """

    def __init__(self, model: Any, vary: tuple[Factor, ...]) -> None:
        self._model, self._vary, self._parts = model, vary, find_parts(model)
        parts = self._parts
        # Before shapes get the new materials, which are one for a whole part.
        self._body, self._key = (self._by_material(geoms) for geoms in (parts.body, parts.key))
        self._pedestal = [geom for geom in parts.arm if model.geom_rgba[geom, 0] == model.geom_rgba[geom, 1]]
        wearers = {
            "table": parts.table,
            "floor": parts.floor,
            "wall": parts.wall,
            "object": parts.body + parts.key,
            "arm": tuple(geom for geom in parts.arm if _num_faces(model, geom) <= MAX_TEXTURED_FACES),
        }
        for factor, geoms in wearers.items():
            if factor in vary:
                model.geom_matid[list(geoms)] = model.material(_look(factor)).id
        for factor in ("table", "floor", "wall"):
            if factor in vary:  # white, so that the texture's colours are seen
                model.geom_rgba[list(wearers[factor])] = 1.0

    def paint(self, looks: Looks) -> None:
        """Write the colours of arm, object and goals into the model."""
        rgba = self._model.geom_rgba
        if "arm" in self._vary:
            _, mean = shading(looks.arm)
            links, pedestal, *fingers = (shaded(colour, mean) for colour in looks.arm_colours)
            rgba[list(self._parts.arm)] = links
            rgba[self._pedestal] = pedestal
            for geom, colour in zip(self._parts.fingers, fingers, strict=True):
                rgba[geom] = colour
        if "object" in self._vary:
            _, mean = shading(looks.thing)
            for geoms, colours in ((self._body, looks.body_colours), (self._key, looks.key_colours)):
                for geom, number in geoms.items():
                    rgba[geom] = shaded(colours[number], mean)
            for number, site in enumerate(self._parts.goals):
                self._model.site_rgba[site, :3] = looks.goal_colours[number % len(looks.goal_colours)]

    def draw_textures(self, looks: Looks) -> list[int]:
        """Draw the episode's textures into the model; their numbers, for the upload."""
        surfaces: dict[Factor, Surface] = {"table": looks.table, "floor": looks.floor, "wall": looks.wall}
        drawn = {factor: picture(surface) for factor, surface in surfaces.items() if factor in self._vary}
        shades: dict[Factor, Surface] = {"object": looks.thing, "arm": looks.arm}
        drawn |= {factor: shading(surface)[0] for factor, surface in shades.items() if factor in self._vary}
        numbers = [self._write(self._model.texture(_look(factor)).id, pixels) for factor, pixels in drawn.items()]
        if "wall" in self._vary:
            numbers.append(self._write(self._model.texture(SKY).id, picture(looks.background)))
        return numbers

    def _write(self, number: int, pixels: NDArray[np.uint8]) -> int:
        model = self._model
        faces = model.tex_height[number] // PATTERN_SIZE
        start = model.tex_adr[number]
        values = np.tile(pixels, (faces, 1, 1)).reshape(-1)
        model.tex_data[start : start + values.size] = values
        return int(number)

    def _by_material(self, geoms: tuple[int, ...]) -> dict[int, int]:
        """Shape → number of its material among those of the part."""
        names = sorted({material_of(self._model, geom) for geom in geoms})
        return {geom: names.index(material_of(self._model, geom)) for geom in geoms}


class _Lights:
    """Headlight and lamps of one model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._directions = model.light_dir.copy()

    def shine(self, looks: Looks) -> None:
        """Set colours, and turn the lamps about the vertical."""
        model = self._model
        for part, colour in looks.headlight.items():
            getattr(model.vis.headlight, part)[:] = colour
        model.light_diffuse[:] = model.light_specular[:] = looks.lamps[: model.nlight]
        cos, sin = np.cos(np.radians(looks.lamp_turn)), np.sin(np.radians(looks.lamp_turn))
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        model.light_dir[:] = self._directions @ turn.T


class _CameraJitter:
    """One camera, and small steps and turns from where it stands.

    Args:
        model: a `mujoco.MjModel`.
        camera: number of the camera; one that is fixed to its body, or one that follows it without turning.
    """

    def __init__(self, model: Any, camera: int) -> None:
        self._model, self._camera = model, camera
        self._position, self._followed = model.cam_pos[camera].copy(), model.cam_pos0[camera].copy()
        self._rotation = _matrix(model.cam_quat[camera])
        self._followed_rotation = model.cam_mat0[camera].reshape(3, 3).copy()

    def move(self, looks: Looks) -> None:
        """Shift and turn the camera, as it sees directions."""
        mujoco, model, camera = import_mujoco(), self._model, self._camera
        quaternion, turn = np.zeros(4), np.zeros(4)
        mujoco.mju_euler2Quat(turn, np.radians(looks.camera_turn), "xyz")
        mujoco.mju_mat2Quat(quaternion, (self._rotation @ _matrix(turn)).reshape(-1))
        model.cam_quat[camera] = quaternion
        model.cam_pos[camera] = self._position + self._rotation @ looks.camera_shift
        model.cam_mat0[camera] = (self._followed_rotation @ _matrix(turn)).reshape(-1)
        model.cam_pos0[camera] = self._followed + self._followed_rotation @ looks.camera_shift


def _matrix(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.zeros(9)
    import_mujoco().mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def make(name: str, config: MetaworldRemasteredConfig) -> MetaworldRemasteredEnv:
    """Build `metaworld-remastered/<name>`."""
    return MetaworldRemasteredEnv(name, config)


SUITE = Suite(NAME, TASKS, make, PACKAGE, MetaworldRemasteredConfig, extra="metaworld", time_limit=lambda _: TIME_LIMIT)
