"""A kill at every file-system call: the parts in seconds, whole commands in `make test-slow`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.crash_points import Scenario, enumerate_points


def run_scenarios(*arguments: str) -> dict[str, dict]:
    """Results of scenarios, run in a process of one thread, which may fork."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.faults.crash_points", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1700)
    results: dict[str, dict] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    assert done.returncode == 0, [result["failures"] for result in results.values()] or done.stderr
    return results


def test_no_kill_costs_a_checkpoint() -> None:
    results = run_scenarios("checkpoint_next", "checkpoint_replaced", "checkpoint_replaced_in_two")
    assert all(result["points"] == result["tried"] > 15 for result in results.values())
    assert results["checkpoint_replaced"]["calls"]["exchange"] == 1
    assert results["checkpoint_replaced_in_two"]["calls"]["rename"] > results["checkpoint_next"]["calls"]["rename"]


def test_no_kill_costs_a_log_or_an_episode() -> None:
    results = run_scenarios("record_and_log", "replay", "--every", "5")
    assert results["replay"]["points"] > 80
    assert results["replay"]["calls"].keys() >= {"open", "write", "fsync", "rename", "remove"}


def test_kills_of_prepare() -> None:
    """A sample of the points; all of them in `make test-slow`."""
    results = run_scenarios("prepare", "--every", "25")
    assert results["prepare"]["points"] > 40
    assert results["prepare"]["calls"].keys() >= {"open", "write", "fsync", "rename", "truncate"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    ["prepare", "prepare_repair", "prepare_retry", "prepare_decoder", "finetune", "pretrain", "report", "sample"],
)
def test_kills_at_every_call_of_a_command(scenario: str) -> None:
    every = {"finetune": "8", "pretrain": "6", "report": "16"}.get(scenario, "1")
    assert run_scenarios(scenario, "--every", every)[scenario]["tried"] > 5


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "every"), [("prepare", "9"), ("finetune", "14"), ("pretrain", "9")])
def test_a_full_disk_at_the_calls_of_a_command(scenario: str, every: str) -> None:
    assert run_scenarios(scenario, "--full-disk", "--every", every)[scenario]["tried"] > 4


def write_in_place(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with open(folder / "value.json", "w") as file:
        file.write(json.dumps({"value": 1}))


def write_and_rename(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with open(folder / "half", "w") as file:
        file.write(json.dumps({"value": 1}))
    os.replace(folder / "half", folder / "value.json")


def unreadable(folder: Path) -> str:
    path = folder / "value.json"
    try:
        return "" if not path.exists() or json.loads(path.read_text()) else "empty"
    except ValueError as error:
        return str(error)


def test_the_enumeration_finds_a_file_that_is_written_in_place(tmp_path: Path) -> None:
    """The check can fail: half a file under its final name is found, and renaming passes."""

    def scenario(act) -> Scenario:
        return Scenario("", lambda folder: None, act, lambda folder: sorted(os.listdir(folder)), unreadable)

    found = enumerate_points(scenario(write_in_place), tmp_path / "in_place")
    # The folder made, the file opened (nothing is there yet), half of it written: only the last leaves half a file.
    assert [(failure["point"], failure["call"]) for failure in found["failures"]] == [(3, "write value.json")]
    good = enumerate_points(scenario(write_and_rename), tmp_path / "renamed")
    assert (good["points"], good["failures"]) == (4, [])
