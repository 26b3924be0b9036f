"""Every task that `finetune` lists resets, steps and renders; what a simulator raises names task and package."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import SimulationError
from ipv_bench.extras import EXTRAS, missing_modules
from models.envs import EnvConfig, make_env, task_names
from models.envs.base import ControlStep
from models.envs.dmc import DmcEnv, _NumpyWithIn1d
from models.envs.registry import known_time_limit, suite_of
from tests.models.finetuning.test_refused_starts import WIDEST

QUICK = {
    "dmc/quadruped_walk",
    "dmc/quadruped_escape",
    "dmc/lqr_lqr_6_2",
    "dmc/manipulator_bring_ball",
    "metaworld/soccer",
}
"""Those whose simulator code is the most unlike the others'; all of them take minutes."""

HERE = [
    task
    for task in task_names()
    if not suite_of(task).config.own_process and not missing_modules(EXTRAS[suite_of(task).extra].modules)
]
"""Those that need no process of their own; the others' tests stand beside their suites."""

TASKS = [pytest.param(task, marks=() if task in QUICK else pytest.mark.slow) for task in HERE]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_resets_steps_and_renders(task: str) -> None:
    with closing(make_env(task, EnvConfig(render_profile="fast", action_repeat=2))) as env:
        assert env.action_dim <= WIDEST[task.partition("/")[0]]  # which agents are made for
        assert env.time_limit == known_time_limit(task, EnvConfig())  # which dry runs go by
        first = env.reset(3)["image"]
        assert first.shape == (64, 64, 3)
        assert first.std() > 3  # something is in view
        action = np.full(env.action_dim, 0.3)
        if task.startswith("highway/"):
            action[0] = 0.0  # steering: the car would leave the road within four steps
        observation, reward, terminated, truncated, info = env.step(action)
        assert (terminated, truncated, info["env_steps"]) == (False, False, 2)
        assert np.isfinite(reward)
        for _ in range(8):
            observation, *_ = env.step(action)
        assert (observation["image"] != first).any()  # and it moves


def test_in1d_is_numpys() -> None:
    found = _NumpyWithIn1d()
    values = np.array([[1, 2], [3, 1]])
    np.testing.assert_array_equal(found.in1d(values, [1, 7]), [True, False, False, True])
    assert found.where is np.where


def test_quadruped_is_seen_by_the_camera_that_goes_with_it() -> None:
    cameras = {}
    for task in ("dmc/quadruped_run", "dmc/walker_run"):
        with closing(make_env(task)) as env:
            cameras[task] = env.fingerprint()["camera"]
    assert cameras == {"dmc/quadruped_run": 2, "dmc/walker_run": 0}


@pytest.mark.parametrize("hook", ["_start_episode", "_control_step", "_image"])
def test_an_exception_inside_a_simulator_names_task_and_package(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> ControlStep:
        raise AttributeError("module 'numpy' has no attribute 'in1d'")

    with closing(make_env("dmc/cheetah_run", EnvConfig(render_profile="fast"))) as env:
        monkeypatch.setattr(env, hook, fails)
        with pytest.raises(
            SimulationError, match="simulator of dmc/cheetah_run raised AttributeError: .*in1d"
        ) as caught:
            env.reset(0)
            env.step(np.zeros(env.action_dim))
    assert "dm-control" in caught.value.expected
    assert "test_every_task.py" in caught.value.found  # where it was raised


def test_a_task_that_cannot_be_built_is_an_environment_error_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    def fails(*_: object) -> None:
        raise TypeError("unexpected keyword")

    monkeypatch.setattr(DmcEnv, "_load", fails)
    arguments = ["finetune", "--preset", "tiny", "--task", "dmc/cheetah_run", "--set", "method=dreamerv2"]
    assert run([*arguments, "--run", str(tmp_path / "run")]) == 1
    message = capsys.readouterr().err
    assert "the simulator of dmc/cheetah_run raised TypeError: unexpected keyword" in message
    assert "internal error" not in message
