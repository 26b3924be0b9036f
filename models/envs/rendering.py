"""Offscreen rendering of MuJoCo scenes, one way for all suites.

One renderer per environment, kept for its life: making one costs 0.3 to 0.7 s on a CPU. Shadows decide most of what a
frame costs, then antialiasing, then reflections; profiles choose among them.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError, MissingDependencyError, UsageError, nearest_name
from ipv_bench.system_libraries import DRIVER_PACKAGE, LIBRARIES, apt_command, missing_packages

MAX_GEOMS = 10_000
"""Shapes that a scene can hold; the largest suite model has under 500."""


@dataclass(frozen=True)
class RenderProfile:
    """What is drawn, and how finely.

    Attributes:
        shadows: draw shadows.
        reflections: draw mirror images in reflecting floors.
        shadow_size: side of the shadow map, pixels; None: the model's.
        samples: antialiasing samples per pixel; None: the model's.
    """

    shadows: bool = True
    reflections: bool = True
    shadow_size: int | None = None
    samples: int | None = None


def import_mujoco() -> Any:
    """Import mujoco with offscreen rendering, by EGL unless `MUJOCO_GL` says otherwise.

    Raises:
        MissingDependencyError: the GL libraries are absent; the message has the command that installs them.
    """
    with explained_gl_errors():
        import mujoco
    return mujoco


@contextmanager
def explained_gl_errors() -> Iterator[None]:
    """Around imports of libraries that open a display when they are imported (mujoco, dm-control).

    Raises:
        MissingDependencyError: that failed; the message has the command that installs what is absent.
    """
    # These libraries read the variable once, at their first import.
    os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        yield
    except ModuleNotFoundError:
        raise
    except Exception as error:  # PyOpenGL fails with whatever error its half-loaded library happens to give
        raise no_offscreen_rendering(error) from error


def no_offscreen_rendering(error: BaseException) -> MissingDependencyError:
    """The error for a machine that cannot render without a screen, with the command that mends it."""
    packages = missing_packages()
    backend = os.environ.get("MUJOCO_GL", "egl")
    if backend != "egl":
        fix = f"unset MUJOCO_GL (it is {backend!r}; the default, egl, needs no screen)"
    elif packages:
        fix = apt_command(packages)
    else:
        fix = apt_command([*LIBRARIES.values(), DRIVER_PACKAGE])
    return MissingDependencyError(
        f"offscreen rendering (MUJOCO_GL={backend}) does not work: {type(error).__name__}: {error}",
        expected="EGL with a GPU driver, or with Mesa's software renderer",
        fix=f"{fix}; then `ipv-bench doctor` renders one frame and names what is still missing",
    )


_GL_VENDOR, _GL_RENDERER, _GL_VERSION = 0x1F00, 0x1F01, 0x1F02


def gl_in_use() -> str:
    """Vendor, renderer and version of the OpenGL context that is current in this thread; empty: there is none.

    The library is that which PyOpenGL has loaded for mujoco; PyOpenGL's own `OpenGL.GL` takes half a second to import.
    """
    platform: Any = sys.modules.get("OpenGL.platform")
    library = getattr(getattr(platform, "PLATFORM", None), "GL", None)
    if library is None:
        return ""
    get_string = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_uint)(("glGetString", library))
    found = [get_string(name) for name in (_GL_VENDOR, _GL_RENDERER, _GL_VERSION)]
    return ", ".join(text.decode(errors="replace") for text in found if text)


class SceneRenderer:
    """Renders one camera of one model at one size.

    Args:
        model: a `mujoco.MjModel`; a profile changes its shadow map and antialiasing before the GL context is made.
        size: height and width of the images, pixels.
        camera: name or number of the camera.
        profile: what is drawn.
        hidden_groups: numbers of MuJoCo's groups of shapes that are not drawn, beside 3 to 5, which never are.

    Raises:
        ConfigError: the model has no such camera.
        MissingDependencyError: no offscreen rendering on this machine.
        UsageError: this process is a fork of one that has rendered.

    Attributes:
        name: what draws: see `gl_in_use`.
    """

    def __init__(
        self,
        model: Any,
        size: int,
        camera: str | int,
        profile: RenderProfile,
        *,
        hidden_groups: tuple[int, ...] = (),
    ) -> None:
        mujoco = import_mujoco()
        self._mujoco, self._model = mujoco, model
        number = camera_number(model, camera)
        if profile.shadow_size is not None:
            model.vis.quality.shadowsize = profile.shadow_size
        if profile.samples is not None:
            model.vis.quality.offsamples = profile.samples
        # No larger buffer than the image: clearing and resolving the usual 640×480 costs 5 ms a frame on a CPU.
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        _refuse_after_fork()
        try:
            self._gl = mujoco.gl_context.GLContext(size, size)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        except (RuntimeError, ImportError, AttributeError, mujoco.FatalError) as error:
            raise no_offscreen_rendering(error) from error
        self.name = gl_in_use()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = profile.shadows
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = profile.reflections
        self._options, self._view = mujoco.MjvOption(), mujoco.MjvCamera()
        self._options.geomgroup[list(hidden_groups)] = 0
        self._view.type, self._view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, number
        self._rectangle = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)
        _close_before_egl_ends(self)

    def render(self, data: Any) -> NDArray[np.uint8]:
        """The camera's view of `data` (a `mujoco.MjData`), (size, size, 3), rows top first."""
        mujoco = self._mujoco
        self._gl.make_current()
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._view, everything, self._scene)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rectangle, self._context)
        return self._pixels[::-1].copy()  # OpenGL's rows start at the bottom

    def upload_texture(self, number: int) -> None:
        """Copy texture `number` of the model to the GL context, after its pixels were changed."""
        self._gl.make_current()
        self._mujoco.mjr_uploadTexture(self._model, self._context, number)

    def close(self) -> None:
        """Free the GL context; a second call does nothing."""
        if self in _open_renderers:
            _open_renderers.discard(self)
            self._gl.make_current()
            self._context.free()
            self._gl.free()


_open_renderers: weakref.WeakSet[SceneRenderer] = weakref.WeakSet()
_state = {"exit_handler": False, "process": 0}


def _refuse_after_fork() -> None:
    """A GL driver that has started its threads waits for them for ever in a forked child; better an error.

    Raises:
        UsageError: a parent of this process has rendered.
    """
    if _state["process"] not in (0, os.getpid()):
        raise UsageError(
            "this process was forked from one that has rendered, and its GL driver would hang here",
            expected="a process of its own, or a fork made before anything was rendered",
            fix="gymnasium.make_vec(…, vector_kwargs={'context': 'spawn'}), or make vector environments first",
        )
    _state["process"] = os.getpid()


def _close_before_egl_ends(renderer: SceneRenderer) -> None:
    """Remember a renderer, and free it at exit unless its owner did.

    A context that is freed after EGL has shut down prints a traceback. EGL's own exit handler is registered with the
    first context, and handlers run in reverse order, so ours has to be registered after that.
    """
    _open_renderers.add(renderer)
    if not _state["exit_handler"]:
        _state["exit_handler"] = True
        atexit.register(_close_all)


def _close_all() -> None:
    for renderer in list(_open_renderers):
        renderer.close()


def camera_number(model: Any, camera: str | int) -> int:
    """Number of a camera given by name or number.

    Raises:
        ConfigError: the model has no such camera.
    """
    names = [model.camera(i).name for i in range(model.ncam)]
    if isinstance(camera, int):
        if 0 <= camera < len(names):
            return camera
    elif camera in names:
        return names.index(camera)
    near = nearest_name(str(camera), names)
    raise ConfigError(
        f"env.camera is {camera!r}, which this task does not have",
        expected=f"one of {', '.join(names)}, or 0 to {len(names) - 1}",
        fix=f"did you mean {near!r}?" if near else "",
    )
