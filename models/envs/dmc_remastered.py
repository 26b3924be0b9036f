"""DMC Remastered: `dmcr/cheetah_run`, `dmcr/hopper_stand`, `dmcr/walker_run`, our own implementation.

Seven visual factors change from episode to episode. The original builds a new model for every episode; here colours,
lights and cameras are written into the one model and two textures are uploaded. Facts: docs/suites/dmcr.md.
"""

from __future__ import annotations

import importlib
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError
from models.envs.base import EnvConfig
from models.envs.dmc import PACKAGE, TIME_LIMIT, DmcEnv
from models.envs.dmcr_factors import DOMAINS, Factor, Factors, draw_factors, dynamics_seed_of, visual_seed_of
from models.envs.dmcr_textures import SKY_SIZE, TextureBank, open_textures
from models.envs.registry import Suite

TASKS = {"cheetah_run": "cheetah", "hopper_stand": "hopper", "walker_run": "walker"}
"""Task → domain; the paper's three."""

SKY_FACES = 6


class DmcRemasteredConfig(EnvConfig):
    """What this suite has beside what all suites have."""

    vary: tuple[Factor, ...] | None = None
    """Visual factors that change from episode to episode; null: the paper's for the task."""
    assets: str | None = None
    """Where floors and skies come from; null: drawn by a procedure; `labmaze`: that package's pictures; else a folder
    with `floors/` and `skies/`."""


class DmcRemasteredEnv(DmcEnv):
    """A dm-control task whose looks are drawn anew for every episode, from one visual seed.

    Args:
        name: a key of `TASKS`.
        config: `vary` lists the factors that change (null: the paper's), `assets` says where pictures come from.

    Raises:
        SourceError: `assets` names a folder without pictures.
        ConfigError: a camera other than the suite's first is to vary.
    """

    def __init__(self, name: str, config: DmcRemasteredConfig) -> None:
        self._domain = TASKS[name]
        self._vary: tuple[Factor, ...] = DOMAINS[self._domain].varies if config.vary is None else config.vary
        self._textures: TextureBank = open_textures(config.assets)
        super().__init__(name, config, suite="dmcr")
        if "camera" in self._vary and config.camera not in (None, 0):
            raise ConfigError(
                f"env.camera is {config.camera!r} while the factor 'camera' varies",
                expected="camera 0, whose ranges are known",
                fix="leave env.camera out, or take camera out of env.vary",
            )
        self._model = self.physics.model.ptr
        self._standard = _StandardLook(self._model)
        self._factors: Factors | None = None
        self._stale_textures: set[int] = set()

    def fingerprint(self) -> dict[str, Any]:
        """As in dm-control, and what varies and which textures are shown."""
        paper = set(self._vary) == set(DOMAINS[self._domain].varies)
        return super().fingerprint() | {
            "vary": "paper" if paper else sorted(self._vary),
            "textures": self._textures.name,
        }

    def episode_metadata(self) -> dict[str, Any]:
        """The visual seed and the factors drawn for the current episode."""
        return {} if self._factors is None else self._factors.as_metadata(self._vary)

    def _load(self, domain: str, task: str) -> Any:
        """Build the task with room for our skies, and with the wide floor."""
        simulator = super()._load(domain, task)
        if "background" in self._vary:
            source = importlib.import_module(f"dm_control.suite.{domain}")
            xml, assets = source.get_model_and_assets()
            name = next(key for key in assets if key.endswith("skybox.xml"))
            resized = re.sub(rb'(width|height)="\d+"', rb'\1="%d"' % SKY_SIZE, _as_bytes(assets[name]))
            simulator.physics.reload_from_xml_string(xml, dict(assets) | {name: resized})
        width = DOMAINS[domain].floor_half_width
        if width is not None:
            # Before the GL context is made: planes become display lists there, and later changes are not seen.
            model = simulator.physics.model.ptr
            model.geom_size[_floor_geom(model), 1] = width
        return simulator

    def _start_episode(self, seed: int) -> None:
        self._factors = draw_factors(
            visual_seed_of(seed), self._domain, self._textures.num_floors, self._textures.num_skies
        )
        # Before the reset, whose forward pass works out where camera and lamp stand.
        self._apply(self._factors)
        super()._start_episode(dynamics_seed_of(seed))

    def show_textures(self) -> None:
        """Bring the episode's floor and sky into the GL context; its first frame does so by itself."""
        assert self._factors is not None
        for number in sorted(self._stale_textures):
            self._write_texture(number, self._factors)
            if self._renderer is not None:
                self._renderer.upload_texture(number)
        self._stale_textures.clear()

    def _image(self) -> NDArray[np.uint8]:
        self.show_textures()
        return super()._image()

    def _apply(self, factors: Factors) -> None:
        model, vary = self._model, self._vary
        if "floor" in vary:
            self._stale_textures.add(model.texture("grid").id)
        if "background" in vary:
            self._stale_textures.add(model.texture("skybox").id)
        if "body" in vary:
            model.material("self").rgba[:] = factors.body
            model.material("effector").rgba[:] = factors.effector
        if "target" in vary:
            model.material("target").rgba[:] = factors.target
        if "reflectance" in vary:
            model.material("grid").reflectance[:] = factors.reflectance
        if "light" in vary:
            for part, colour in factors.headlight.items():
                getattr(model.vis.headlight, part)[:] = colour
            if factors.lamp is not None:
                self._standard.move_lamp(factors.lamp)
        if "camera" in vary:
            self._standard.move_camera(factors.camera)
            if factors.camera_euler is not None:
                self._standard.turn_camera(factors.camera_euler)

    def _write_texture(self, number: int, factors: Factors) -> None:
        """Put the episode's picture into the model's texture data."""
        model = self._model
        is_floor = number == model.texture("grid").id
        picture = self._textures.floor(factors.floor) if is_floor else self._textures.sky(factors.background)
        faces = 1 if is_floor else SKY_FACES  # the same picture on all of them, as the original
        start, size = model.tex_adr[number], faces * picture.size
        assert size == model.tex_height[number] * model.tex_width[number] * model.tex_nchannel[number]
        model.tex_data[start : start + size].reshape(faces, -1)[:] = picture.reshape(-1)


class _StandardLook:
    """Where camera 0 and the lamp stand in the suite's model, and how to move them.

    Cameras and lamps that track a body's centre of mass are placed by an offset that the compiler derived from the
    position in the XML; moving them means changing that offset by as much.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._camera, self._camera_offset = model.cam_pos[0].copy(), model.cam_poscom0[0].copy()
        self._lamp, self._lamp_offset = model.light_pos[0].copy(), model.light_poscom0[0].copy()

    def move_camera(self, position: NDArray[np.float64]) -> None:
        """Put camera 0 at an XML position (3,)."""
        self._model.cam_pos[0] = position
        self._model.cam_poscom0[0] = self._camera_offset + (position - self._camera)

    def turn_camera(self, euler_degrees: NDArray[np.float64]) -> None:
        """Turn camera 0 to XML Euler angles (3,): about x, then the new y, then the new z."""
        rotation = np.eye(3)
        for axis, angle in enumerate(np.radians(euler_degrees)):
            rotation = rotation @ _rotation(axis, float(angle))
        self._model.cam_mat0[0] = rotation.reshape(-1)

    def move_lamp(self, position: NDArray[np.float64]) -> None:
        """Put the lamp at an XML position (3,)."""
        self._model.light_pos[0] = position
        self._model.light_poscom0[0] = self._lamp_offset + (position - self._lamp)


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) about a coordinate axis, angle in radians."""
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[second, first] = math.sin(angle)
    matrix[first, second] = -math.sin(angle)
    return matrix


def _floor_geom(model: Any) -> int:
    grid = model.material("grid").id
    return int(np.flatnonzero(model.geom_matid == grid)[0])


def _as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def make(name: str, config: DmcRemasteredConfig) -> DmcRemasteredEnv:
    """Build `dmcr/<name>`."""
    return DmcRemasteredEnv(name, config)


SUITE = Suite("dmcr", tuple(TASKS), make, PACKAGE, DmcRemasteredConfig, extra="dmc", time_limit=lambda _: TIME_LIMIT)
