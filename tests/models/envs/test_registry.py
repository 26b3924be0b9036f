"""Task names, and what a user gets wrong about them (through the command line too)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ipv_bench.cli import run
from ipv_bench.errors import ConfigError, MissingDependencyError, UnknownNameError
from ipv_bench.plugins import OURS
from models.envs import EnvConfig, make_env, task_names
from models.envs.dmc_remastered import DmcRemasteredConfig
from models.envs.metaworld import MetaworldConfig
from models.envs.registry import suite_of
from models.envs.robosuite import TASKS as ROBOSUITE_TASKS


def test_names_are_those_of_the_packages() -> None:
    from dm_control import suite
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    expected = {f"dmc/{domain}_{task}" for domain, task in suite.ALL_TASKS}
    expected |= {f"metaworld/{name.removesuffix('-v3').replace('-', '_')}" for name in ALL_V3_ENVIRONMENTS}
    expected |= {name.replace("/", "-remastered/") for name in expected if name.startswith("metaworld/")}
    expected |= {"dmcr/cheetah_run", "dmcr/hopper_stand", "dmcr/walker_run"}
    expected |= {"highway/highway", "highway/highway_fast"}
    expected |= {"carla/clear_noon", "carla/wet_sunset", "carla/dynamic_weather"}
    expected |= {f"robosuite/{name}" for name in ROBOSUITE_TASKS}  # its own tests compare them with the package
    assert set(task_names()) == expected
    assert task_names() == sorted(task_names())


def test_names_are_listed_without_a_simulator() -> None:
    """A typing error must not cost the seconds that mujoco takes to load."""
    code = (
        "import sys\nfrom models.envs import task_names\n"
        "assert len(task_names()) > 100\n"
        "heavy = {'mujoco', 'dm_control', 'metaworld', 'carla', 'robosuite', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("dmc/cartpole_balanc", "dmc/cartpole_balance"),
        ("metaworld/lever-pull-v3", "metaworld/lever_pull"),
        ("dmcr/cheeta_run", "dmcr/cheetah_run"),
        ("cheetah_run", "dmc/cheetah_run"),
    ],
)
def test_an_unknown_task_names_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        suite_of(given)
    assert nearest.partition("/")[2] in caught.value.fix


def test_an_unknown_task_through_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["finetune", "--preset", "tiny", "--task", "dmc/cartpole_balanc", "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert "unknown task 'dmc/cartpole_balanc'" in message
    assert "dmc/cartpole_balance" in message


@pytest.mark.parametrize(
    ("task", "config"),
    [
        ("dmc/cheetah_run", DmcRemasteredConfig(vary=("floor",))),
        ("metaworld/reach", DmcRemasteredConfig(assets="labmaze")),
        ("dmcr/cheetah_run", MetaworldConfig(reward_version="v1")),
    ],
)
def test_a_field_of_another_suite_is_refused(task: str, config: EnvConfig) -> None:
    owner = "dmcr" if isinstance(config, DmcRemasteredConfig) else "metaworld"
    (name,) = config.model_fields_set
    with pytest.raises(ConfigError, match=f"env.{name} belongs to .*{owner}.*, and {task.split('/')[0]} tasks"):
        make_env(task, config)


@pytest.mark.parametrize("suite", sorted(set(OURS["suites"]) - {"gym"}))  # its own: test_gym.py
def test_a_missing_package_says_what_to_install(suite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "dm_control",
        "dm_control.suite",
        "dm_control.rl.control",
        "metaworld",
        "metaworld.env_dict",
        "carla",
        "highway_env",
        "robosuite",
    ):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails as if it were not installed
    task = next(name for name in task_names() if name.startswith(f"{suite}/"))
    with pytest.raises(MissingDependencyError, match="which is not installed") as caught:
        make_env(task)
    extra = {"dmcr": "dmc", "metaworld-remastered": "metaworld", "highway": "driving"}.get(suite, suite)
    assert f"[{'train,' * (extra == 'robosuite')}{extra}]'" in caught.value.fix


def test_no_offscreen_rendering_through_the_command_line(tmp_path) -> None:
    """EGL without any driver, as on a bare machine."""
    arguments = [
        "finetune", "--preset", "tiny", "--task", "dmc/cartpole_balance", "--set", "method=dreamerv2",
        "--run", str(tmp_path / "run"),
    ]  # fmt: skip
    code = "import sys; from ipv_bench.cli import run; sys.exit(run(sys.argv[1:]))"
    environment = os.environ | {"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": str(tmp_path / "none.json")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "offscreen rendering (MUJOCO_GL=egl) does not work" in done.stderr
    assert "apt-get install" in done.stderr
    assert "ipv-bench doctor" in done.stderr
