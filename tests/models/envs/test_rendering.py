"""Offscreen rendering: errors that say what helps, and a quiet end of the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ipv_bench.errors import ConfigError
from models.envs import EnvConfig, make_env
from models.envs.rendering import no_offscreen_rendering

FRAME = "from models.envs import *; make_env('metaworld/reach', EnvConfig(render_profile='fast')).reset(0); print('ok')"


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def test_a_renderer_that_nobody_closed_ends_without_noise() -> None:
    done = _python(FRAME)
    assert (done.returncode, done.stdout.strip()) == (0, "ok")
    assert "Exception ignored" not in done.stderr
    assert "EGL" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "help_text"),
    [
        ({"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere.json"}, "apt-get install"),
        ({"MUJOCO_GL": "vulkan"}, "unset MUJOCO_GL (it is 'vulkan'"),
    ],
)
def test_no_rendering_says_what_helps(environment: dict[str, str], help_text: str) -> None:
    done = _python(FRAME, **environment)
    assert "MissingDependencyError: offscreen rendering" in done.stderr
    assert help_text in done.stderr
    assert "`ipv-bench doctor` renders one frame" in done.stderr


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr("models.envs.rendering.missing_packages", lambda: ["libegl1"])
    error = no_offscreen_rendering(AttributeError("'NoneType' object has no attribute 'eglQueryString'"))
    assert error.fix.startswith("apt-get update && apt-get install -y --no-install-recommends libegl1;")
    assert error.exit_status == 2


@pytest.mark.parametrize("camera", [9, "sid"])
def test_an_unknown_camera_lists_those_that_exist(camera: int | str) -> None:
    env = make_env("dmc/cheetah_run", EnvConfig(camera=camera))
    with pytest.raises(ConfigError, match="which this task does not have") as caught:
        env.reset(0)
    assert "side, back" in caught.value.expected
    env.close()


def test_the_renderer_is_named_as_opengl_names_it() -> None:
    env = make_env("dmc/cartpole_balance", EnvConfig(render_profile="fast"))
    assert env.renderer() == ""  # nothing was drawn yet
    env.reset(0)
    from OpenGL import GL  # the context is still current; PyOpenGL asks by its own way

    own = [GL.glGetString(name).decode() for name in (GL.GL_VENDOR, GL.GL_RENDERER, GL.GL_VERSION)]
    assert env.renderer() == ", ".join(own)
    env.close()


def test_without_opengl_no_renderer_is_known() -> None:
    done = _python("from models.envs.rendering import gl_in_use as f; print([f()])")
    assert (done.returncode, done.stdout.strip()) == (0, "['']")


def test_closing_twice_is_allowed() -> None:
    env = make_env("dmc/cartpole_balance", EnvConfig(render_profile="fast"))
    env.reset(0)
    env.close()
    env.close()
