"""Our tasks in Gymnasium's registry: its checker, its vector environments, its words for seeds and limits."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.errors import ConfigError
from models.envs import EnvConfig, make_env, task_names

gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed")
BALANCE = "ipv_bench/dmc-cartpole_balance-v0"
REMASTERED = "ipv_bench/dmcr-walker_run-v0"


def test_every_task_is_registered_by_the_import() -> None:
    ours = {name for name in gymnasium.registry if name.startswith("ipv_bench/")}
    assert ours == {f"ipv_bench/{task.replace('/', '-')}-v0" for task in task_names()}
    assert gymnasium.spec("ipv_bench/carla-clear_noon-v0").nondeterministic
    assert not gymnasium.spec(BALANCE).nondeterministic
    code = (
        "import sys; sys.modules['gymnasium'] = None\nimport models.envs\n"
        "print(len(models.envs.task_names()), 'mujoco' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(task_names())), "False"]  # without Gymnasium all the rest is there


@pytest.mark.parametrize(
    ("first", "second"),
    [("gymnasium", "models.envs"), ("models.envs", "gymnasium"), ("models.envs.gymnasium_tasks", "gymnasium")],
)
def test_the_imports_order_does_not_matter_and_looking_for_gymnasium_imports_nothing(first: str, second: str) -> None:
    code = (
        "import importlib.resources, importlib.util, sys\n"
        f"importlib.import_module({first!r})\n"
        "assert importlib.util.find_spec('gymnasium').name == 'gymnasium'\n"
        f"assert ('gymnasium' in sys.modules) == {first != 'models.envs'}\n"
        f"importlib.import_module({second!r})\n"
        "import gymnasium\n"
        "assert importlib.resources.files('gymnasium').joinpath('__init__.py').is_file()\n"
        "print(sum(name.startswith('ipv_bench/') for name in gymnasium.registry))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(task_names())


@pytest.mark.parametrize("name", [BALANCE, REMASTERED])
def test_the_checker_has_nothing_to_say(name: str) -> None:
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with closing(gymnasium.make(name, render_profile="fast", render_mode="rgb_array")) as env:
            check_env(env.unwrapped)


def test_it_is_the_same_episode_as_without_gymnasium() -> None:
    actions = np.linspace(-1, 1, 5)[:, None].astype(np.float32)
    with (
        closing(gymnasium.make(REMASTERED, render_profile="fast", action_repeat=2, time_limit=9)) as env,
        closing(make_env("dmcr/walker_run", EnvConfig(render_profile="fast", action_repeat=2, time_limit=9))) as plain,
    ):
        image, info = env.reset(seed=11)
        assert info["factors"] == (plain.reset(11), plain.episode_metadata())[1]
        for action in np.repeat(actions, env.action_space.shape[0], 1):
            image, reward, terminated, truncated, info = env.step(action)
            observation, expected, *ends, _ = plain.step(action)
            np.testing.assert_array_equal(image, observation["image"])
            assert (reward, terminated, truncated) == (expected, *ends)
        assert (truncated, info) == (True, {"env_steps": 1})


def test_a_generator_draws_seeds_where_none_is_given() -> None:
    with closing(gymnasium.make(BALANCE, render_profile="fast")) as env:
        env.reset(seed=4)
        one, two = env.reset()[0], env.reset()[0]
        env.reset(seed=4)
        np.testing.assert_array_equal(env.reset()[0], one)
        assert (one != two).any()


_VECTOR = """
import sys
from contextlib import closing
import gymnasium, models.envs, numpy as np
options = {{"render_profile": "fast", "time_limit": 2}}
with closing(gymnasium.make_vec({name!r}, num_envs=2, vectorization_mode={kind!r}, **options)) as envs:
    first, info = envs.reset(seed=[3, 4])
    assert first.shape == (2, 64, 64, 3)
    assert info["factors"]["visual_seed"].shape == (2,)
    envs.action_space.seed(0)
    steps = [envs.step(envs.action_space.sample()) for _ in range(3)]  # the third starts the next episode
    assert [step[3].tolist() for step in steps] == [[False, False], [True, True], [False, False]]
    np.save(sys.argv[1], np.stack([first, *(step[0] for step in steps)]))
"""


def test_vector_environments(tmp_path: Path) -> None:
    """In processes of their own: forks of one that has rendered are refused."""
    images = []
    for kind in ("sync", "async"):
        code = _VECTOR.format(name=REMASTERED, kind=kind)
        subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{kind}.npy")], check=True)
        images.append(np.load(tmp_path / f"{kind}.npy"))
    np.testing.assert_array_equal(*images)


def test_a_fork_of_a_process_that_has_rendered_is_refused_and_does_not_hang() -> None:
    with closing(gymnasium.make(BALANCE, render_profile="fast")) as env:
        env.reset(seed=0)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # the other half of this test; it must not return into pytest
        try:
            gymnasium.make(BALANCE).reset(seed=0)
            os.write(writer, b"rendered")
        except BaseException as error:  # noqa: BLE001
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert "forked from one that has rendered" in pipe.read()
    os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"colour": "red"}, "dmc/cartpole_balance has no colour\n.*of action_repeat, .*\n.*leave colour out"),
        ({"action_repeat": 0}, "action_repeat: .*greater than 0.*\n.*Config describes them\n.*correct them"),
        ({"render_mode": "human"}, "images only, no window\n.*leave it out"),
    ],
)
def test_wrong_arguments(fields: dict[str, object], message: str) -> None:
    from models.envs.gymnasium_tasks import GymnasiumTask

    with pytest.raises(ConfigError, match=message):
        GymnasiumTask("dmc/cartpole_balance", **fields)
