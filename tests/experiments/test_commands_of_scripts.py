"""How scripts run their commands: minutes, order, failures, kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from one_command import OutOfTimeError, StoppedError, Workspace, command, deadline
from ordered_work import FailedError, Step, as_far_as_it_goes, do_in_order, side_by_side

from tests.experiments.runs_of_scripts import ROOT


def test_a_command_tells_its_seconds_its_failure_and_the_end_of_the_minutes(tmp_path: Path) -> None:
    assert command(tmp_path, "--help") > 0
    with pytest.raises(subprocess.CalledProcessError) as failed:
        command(tmp_path, "verify", "nowhere")
    assert failed.value.returncode == 2
    with pytest.raises(OutOfTimeError) as over:
        command(tmp_path, "sample", "raw", "--dataset", "ssv2", end=deadline(0))
    assert not isinstance(over.value, StoppedError)
    assert not (tmp_path / "raw").exists()  # nothing was started
    with pytest.raises(StoppedError) as stopped:
        command(tmp_path, "sample", "raw", "--dataset", "ssv2", "--videos", "100000", end=deadline(0.05))
    assert stopped.value.seconds > 0


def test_who_is_free_begins_what_can_be_begun_and_what_needs_another_waits_for_it() -> None:
    begun, first_may_end = [], threading.Event()

    def first() -> None:
        begun.append("first")
        assert first_may_end.wait(60)  # until the other worker has done all that does not need it

    parent = Step(first)
    orphan = Step(partial(begun.append, "orphan"), (Step(len),))  # needs what nobody is to do: counts as done
    steps = [parent, Step(partial(begun.append, "child"), (parent,)), Step(partial(begun.append, "other")),
             Step(lambda: (begun.append("last"), first_may_end.set())), orphan]  # fmt: skip
    do_in_order(2, steps)
    assert begun[:3] == ["first", "other", "last"]
    assert sorted(begun) == ["child", "first", "last", "orphan", "other"]
    begun.clear()
    do_in_order(1, [Step(partial(begun.append, number)) for number in range(9)])
    assert begun == list(range(9))

    def fail() -> None:
        raise OutOfTimeError

    broken = Step(fail)
    with pytest.raises(OutOfTimeError):  # and nobody waits for what will never be done
        do_in_order(3, [broken, Step(partial(begun.append, "never"), (broken,))])
    assert "never" not in begun


@pytest.mark.parametrize("jobs", [0, 1, 3])
def test_a_command_that_fails_ends_nothing_but_what_needs_it(
    tmp_path: Path, jobs: int, capfd: pytest.CaptureFixture[str]
) -> None:
    space, done = Workspace(tmp_path), []
    fails = Step(partial(space.command, "verify", "nowhere"), name="the model")
    other = Step(partial(done.append, "other model"), name="other model")
    first = Step(partial(done.append, "of both"), (other, fails), "of both")
    run, alone = Step(partial(done.append, "its run"), (other,)), Step(partial(done.append, "alone"))
    steps = [fails, first, Step(partial(done.append, "of a run"), (first,), "of a run"), other, run, alone]
    with pytest.raises(FailedError, match=r"(?s)1 failed:.*the model: exit status 2 of .*verify nowhere") as told:
        do_in_order(jobs, steps)
    assert sorted(done) == ["alone", "its run", "other model"]
    assert (list(told.value.failed), told.value.not_begun) == (["the model"], ["of both", "of a run"])
    assert as_far_as_it_goes(partial(do_in_order, jobs, [fails])) == 1
    assert "the model: exit status 2" in capfd.readouterr().err


def test_what_failed_is_told_although_the_minutes_are_over(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError("no space left")

    def stop() -> None:
        raise OutOfTimeError

    waits = Step(len, name="waits")
    with pytest.raises(FailedError, match=r"(?s)one: OSError: no space left.*minutes are over") as told:
        do_in_order(1, [Step(fail, name="one"), Step(stop, name="two"), waits])
    assert told.value.not_begun == []  # it needs nobody: only the time was over
    assert as_far_as_it_goes(stop) == 0
    assert "the same command goes on" in capsys.readouterr().err


def test_a_command_that_somebody_ended_ends_the_script_with_another_status_than_the_minutes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(is_planned: bool) -> None:
        raise StoppedError(1.0, is_planned=is_planned)

    assert as_far_as_it_goes(partial(ended, True)) == 0
    assert as_far_as_it_goes(partial(ended, False)) == 130
    assert "a command was interrupted; the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_refusal_in_a_worker_is_told_as_a_failure_of_its_step(jobs: int) -> None:
    def refuse() -> None:
        raise SystemExit("kept models are of other videos")

    done: list[int] = []
    with pytest.raises(FailedError, match=r"one: kept models are of other videos"):
        do_in_order(jobs, [Step(refuse, name="one"), Step(partial(done.append, 1), name="two")])
    assert done == [1]


def test_what_is_interrupted_begins_nothing_more() -> None:
    done: list[int] = []

    def step(number: int) -> None:
        done.append(number)
        if number == 1:
            raise KeyboardInterrupt
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        side_by_side(2, {str(number): partial(step, number) for number in range(500)})
    assert 1 in done
    assert len(done) < 500
    done.clear()
    side_by_side(3, {str(number): partial(done.append, number) for number in range(5)})
    assert sorted(done) == [0, 1, 2, 3, 4]
    side_by_side(0, {"five": partial(done.append, 5)})
    assert done[-1] == 5


@contextmanager
def script_at_work(folder: Path, end: str, prepare: str = "") -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A script whose command has hours to go, and that command's process; the script is killed in the end."""
    code = (
        f"import signal, sys; {prepare}sys.path[:0] = sys.argv[1:3]; "
        "from pathlib import Path; from one_command import command, deadline; "
        f"command(Path(sys.argv[3]), 'sample', 'raw', '--dataset', 'ssv2', '--videos', '100000', end={end})"
    )
    script = subprocess.Popen([sys.executable, "-c", code, str(ROOT), str(ROOT / "benchmarks"), str(folder)])
    try:
        child = wait_for(lambda: children(script.pid))[0]
        wait_for(lambda: b"100000" in words_of(child))
        yield script, child
    finally:
        script.kill()
        script.wait()


def test_a_killed_script_takes_its_command_with_it(tmp_path: Path) -> None:
    with script_at_work(tmp_path, "None") as (_, child):
        pass
    wait_for(lambda: not words_of(child))


def test_ctrl_c_ends_a_script_whose_minutes_are_far_from_over(tmp_path: Path) -> None:
    heeded = "signal.signal(signal.SIGINT, signal.default_int_handler); "  # also where the tests run in the background
    with script_at_work(tmp_path, "deadline(60)", heeded) as (script, child):
        script.send_signal(signal.SIGINT)
        assert script.wait(timeout=60) != 0
    wait_for(lambda: not words_of(child))


def words_of(pid: int) -> bytes:
    """Command line of a process; empty once it has ended."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_bytes() if path.exists() else b""


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def wait_for(found: Callable[[], Any]) -> Any:
    for _ in range(1200):
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError("waited a minute in vain")
