"""Environments in processes of their own: same results, and faults that cost one episode."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.errors import ConfigError, SimulationError, TrainingError
from models.envs import EnvConfig
from models.envs.metaworld import MetaworldConfig
from models.envs.workers import WorkerEnvs
from tests.models.envs.toy_env import LIMIT, ToyConfig, ToyEnv

MAKER = "tests.models.envs.toy_env:make"
ACTION = np.zeros(2, np.float32)


@contextmanager
def _workers(task: str, count: int = 2, workers: int = 2, timeout: float = 300.0) -> Iterator[WorkerEnvs]:
    with WorkerEnvs(task, EnvConfig(), count, workers, timeout, maker=MAKER) as envs:
        yield envs


def _process(envs: WorkerEnvs, index: int) -> int:
    return int(envs.episode_metadata(index)["process"])


def test_three_environments_in_two_processes_play_as_one_here() -> None:
    with _workers("toy/plain", count=3) as envs:
        first = envs.reset({0: 10, 1: 20, 2: 30})
        steps = [envs.step(dict.fromkeys(range(3), ACTION)) for _ in range(LIMIT)]
        processes = [_process(envs, index) for index in range(3)]
    assert processes[0] == processes[2]
    assert len({*processes, os.getpid()}) == 3
    for index, seed in enumerate((10, 20, 30)):
        local = ToyEnv("toy/plain", EnvConfig())
        np.testing.assert_array_equal(local.reset(seed)["image"], first[index]["image"])
        for step in steps:
            here, there = local.step(ACTION), step[index]
            np.testing.assert_array_equal(here[0]["image"], there[0]["image"])
            assert here[1:] == there[1:]


def test_what_draws_is_known_from_the_processes_after_the_first_frames() -> None:
    with _workers("toy/plain") as envs:
        assert envs.renderers() == []
        envs.reset({0: 1, 1: 2})
        assert envs.renderers() == ["a toy's pen"]


def test_a_suites_own_config_fields_reach_its_process() -> None:
    """Meta-world's and DMC Remastered's configs have fields that the common one has not."""
    config = MetaworldConfig(reward_version="v1", render_profile="fast")
    with WorkerEnvs("metaworld/reach", config, 1, 1) as envs:
        assert envs.fingerprint()["reward_version"] == "v1"


def test_a_suites_own_config_reaches_the_processes_and_each_environment_has_its_place() -> None:
    with WorkerEnvs("toy/plain", ToyConfig(door=7), 3, 2, maker=MAKER, first=4) as envs:
        envs.reset({0: 0, 1: 1, 2: 2})
        assert [envs.episode_metadata(index)["door"] for index in range(3)] == [11, 12, 13]


def test_a_step_is_taken_while_its_caller_does_something_else() -> None:
    with _workers("toy/plain") as envs:
        envs.reset({0: 0, 1: 100})
        envs.step_async({1: ACTION, 0: ACTION})
        for worker in envs._workers:
            assert worker._connection.poll(300)  # the answer is there, and nobody has asked for it
        results = envs.step_wait()
        assert list(results) == [1, 0]
        assert [results[index][0]["image"][0, 0, 0] for index in (0, 1)] == [1, 101]


def test_a_step_that_nobody_waits_for_is_forgotten() -> None:
    with _workers("toy/plain", count=1) as envs:
        envs.reset({0: 0})
        envs.step_async({0: ACTION})
        assert envs.reset({0: 50})[0]["image"][0, 0, 0] == 50
        assert envs.step({0: ACTION})[0][1] == 1.0


def test_a_process_that_died_before_it_was_waited_for_costs_its_episode() -> None:
    with _workers("toy/plain", count=1) as envs:
        envs.reset({0: 5})
        envs.step_async({0: ACTION})
        assert envs._workers[0]._connection.poll(300)
        envs._workers[0]._connection.recv()  # the answer is gone when it dies
        os.kill(_process(envs, 0), signal.SIGKILL)
        assert envs.step_wait() == {0: None}
        assert [(lost.seed, lost.reason) for lost in envs.lost] == [(5, "died")]


def test_environments_step_alone_and_keep_their_index() -> None:
    with _workers("toy/plain", count=2, workers=1) as envs:
        envs.reset({0: 0, 1: 100})
        assert list(envs.step({1: ACTION})) == [1]
        assert envs.step({1: ACTION, 0: ACTION})[1][1] == 2.0
        assert envs.action_dim == 2
        assert envs.time_limit == LIMIT
        assert envs.fingerprint() == {"suite": "toy"}


def test_a_process_that_dies_costs_its_episode_only() -> None:
    with _workers("toy/die@3") as envs:
        envs.reset({0: 1000, 1: 5})  # toys with a seed from 1000 on do not fail
        results = [envs.step({0: ACTION, 1: ACTION}) for _ in range(4)]
        assert [result[0] is None for result in results] == [False] * 4
        assert [result[1] is None for result in results] == [False, False, True, True]
        assert [(lost.index, lost.seed, lost.reason) for lost in envs.lost] == [(1, 5, "died")]
        assert "exit status 7" in envs.lost[0].message
        assert envs.reset({1: 2000})[1]["image"][0, 0, 0] == 2000 % 256
        assert envs.step({0: ACTION, 1: ACTION})[0][1] == 5.0  # the other one's episode goes on


def test_a_killed_process_takes_all_episodes_that_it_hosted() -> None:
    with _workers("toy/plain", count=3) as envs:
        envs.reset({0: 0, 1: 1, 2: 2})
        os.kill(_process(envs, 0), signal.SIGKILL)
        results = envs.step(dict.fromkeys(range(3), ACTION))
        assert [index for index, result in results.items() if result is None] == [0, 2]
        assert sorted(lost.index for lost in envs.lost) == [0, 2]


def test_a_process_that_hangs_is_killed_and_started_again() -> None:
    with _workers("toy/hang@2", count=1) as envs:
        envs.reset({0: 5})
        hung = _process(envs, 0)
        assert envs.step({0: ACTION})[0] is not None
        envs._timeout = 0.5  # for this step alone, which would never end: the others may take their time
        assert envs.step({0: ACTION})[0] is None
        envs._timeout = 300.0
        assert envs.lost[0].reason == "hung"
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)
        assert envs.reset({0: 1000})[0] is not None
        assert _process(envs, 0) != hung


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("toy/nan_reward@2", "reward is nan"),
        ("toy/wrong_shape@2", "65, 65"),
        ("toy/raise@2", "RuntimeError: a simulator's own error"),
    ],
)
def test_an_environment_that_fails_costs_its_episode(task: str, message: str) -> None:
    with _workers(task, count=1, workers=1) as envs:
        envs.reset({0: 5})
        assert envs.step({0: ACTION})[0] is not None
        assert envs.step({0: ACTION})[0] is None
        assert envs.lost[0].reason == "fault"
        assert message in envs.lost[0].message
        assert "\n" not in envs.lost[0].message
        assert "to do: " in envs.lost[0].message
        assert envs.reset({0: 1000})[0] is not None


def test_losing_every_episode_stops_the_run() -> None:
    with _workers("toy/raise@1", count=1, workers=1) as envs:
        with pytest.raises(SimulationError, match="3 times in a row") as caught:
            for seed in range(10):
                envs.reset({0: seed})
                envs.step({0: ACTION})
        assert "a simulator's own error" in caught.value.found
        assert len(envs.lost) == 3


def test_what_the_user_got_wrong_is_told_as_it_is() -> None:
    with _workers("toy/bad_config") as envs, pytest.raises(ConfigError, match="cannot be built") as caught:
        envs.reset({0: 0})
    assert caught.value.fix == "take another one"


def test_a_bad_action_is_the_policys_fault() -> None:
    with _workers("toy/plain", count=1, workers=1) as envs:
        envs.reset({0: 0})
        with pytest.raises(TrainingError, match="not finite"):
            envs.step({0: np.full(2, np.nan)})
        assert envs.lost == []


def test_an_interrupted_exchange_leaves_no_old_answer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with _workers("toy/plain", count=1, workers=1) as envs:
        envs.reset({0: 0})
        worker = envs._workers[0]
        worker.send([("step", 0, ACTION)])  # as if Ctrl-C had come before the answer was read
        assert envs.reset({0: 50})[0]["image"][0, 0, 0] == 50


def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    """Even one that is in the middle of a step which never returns, and a parent that is killed."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import numpy as np\n"
        "from models.envs import EnvConfig\n"
        "from models.envs.workers import WorkerEnvs\n"
        f"envs = WorkerEnvs('toy/hang@1', EnvConfig(), 2, 2, 100, maker={MAKER!r})\n"
        "envs.reset({0: 0, 1: 1000})\n"
        "print(*(envs.episode_metadata(i)['process'] for i in range(2)), flush=True)\n"
        "envs.step({0: np.zeros(2), 1: np.zeros(2)})\n"
    )
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as parent:
        children = [int(number) for number in parent.stdout.readline().split()]
        parent.kill()
    while any(_alive(child) for child in children):  # pytest's own limit ends a wait in vain
        time.sleep(0.1)


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
