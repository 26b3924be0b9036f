"""Kills a command at every one of its file-system calls, goes on, and compares with a run that nobody disturbed.

    python -m tests.faults.crash_points [SCENARIO ...] [--every K] [--full-disk] [--out FILE]

With --full-disk nobody is killed: from one of the calls on the disk is full. The command must say so and end with exit
status 2, and with room again go on to the same result.

The last line is JSON: per scenario how many points there are, how many were tried, and what went wrong. This process
imports what a scenario needs and forks for each try, so that a try costs its own work and no imports.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.file_calls import NEEDS_ROOM, FileCalls


@dataclass(frozen=True)
class Scenario:
    """What is killed, and what must hold.

    Attributes:
        what: in words, for the table.
        begin: makes the state before, in a folder that does not exist yet.
        act: the command, run in the folder; run again after the kill.
        contents: what must be equal to that of the undisturbed run in the end.
        after_kill: checks the state right after the kill; returns what is wrong.
        in_decoder: the decoder process is killed, and the command itself must end as if nothing had been.
    """

    what: str
    begin: Callable[[Path], None]
    act: Callable[[Path], None]
    contents: Callable[[Path], Any]
    after_kill: Callable[[Path], str] = lambda folder: ""
    in_decoder: bool = False


def forked(action: Callable[[], None], output: Path) -> int:
    """Run `action` in a child process; 0, its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        action()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 70
    except BaseException:  # noqa: BLE001  (the child must never return into the parent's code)
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


class Trial:
    """One try of a scenario in a folder of its own."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario, self.folder, self._here = scenario, folder / "work", folder
        folder.mkdir(parents=True)
        self.log, self.output = folder / "calls", folder / "output"
        scenario.begin(self.folder)

    def run(self, fatal: int = -1, log: bool = False, full: bool = False) -> int:
        """Act once, killed (or with a full disk) at call `fatal`; -1 counts nothing."""

        def action() -> None:
            root = self.folder
            if fatal >= 0 and self.scenario.in_decoder:
                stub = self._here / "stub"
                stub.mkdir()
                (stub / "sitecustomize.py").write_text(
                    "from tests.faults.file_calls import watch_decoders\nwatch_decoders()\n"
                )
                os.environ["PYTHONPATH"] = os.pathsep.join([str(stub), os.environ.get("PYTHONPATH", os.getcwd())])
                os.environ |= {"FAULTS_ROOT": str(root), "FAULTS_FATAL": str(fatal)}
                os.environ |= {"FAULTS_MARK": str(self._here / "mark"), "FAULTS_LOG": str(self.log) if log else ""}
            elif fatal >= 0:
                numbers = {"full": fatal} if full else {"fatal": fatal}
                FileCalls(root, log=self.log if log else None, **numbers).install()
            self.scenario.act(root)

        return forked(action, self.output)

    def words(self) -> str:
        """The end of what the tries printed."""
        return self.output.read_text(errors="replace")[-1500:] if self.output.exists() else ""


def enumerate_points(scenario: Scenario, folder: Path, every: int = 1, full_disk: bool = False) -> dict[str, Any]:
    """Try every `every`-th crash point of a scenario, or those of its calls that need room on a full disk."""
    begun = time.monotonic()
    whole = Trial(scenario, folder / "whole")
    status = whole.run(0, log=True)
    assert status == 0, whole.words()
    expected = scenario.contents(whole.folder)
    calls = whole.log.read_text().splitlines()
    failures = []
    points = [n for n, call in enumerate(calls, start=1) if not full_disk or call.split()[0] in NEEDS_ROOM]
    tried = points[::every]
    for number in tried:
        problem = (_try_full if full_disk else _try)(scenario, folder / str(number), number, expected)
        if problem:
            failures.append({"point": number, "call": calls[number - 1], "problem": problem})
        else:
            shutil.rmtree(folder / str(number))
    return {
        "what": scenario.what, "points": len(points), "tried": len(tried), "failures": failures,
        "calls": dict(Counter(call.split()[0] for call in calls)), "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


def _try(scenario: Scenario, folder: Path, number: int, expected: Any) -> str:
    """Kill at one point and go on; what is wrong, or nothing."""
    trial = Trial(scenario, folder)
    status = trial.run(number)
    if scenario.in_decoder:
        if not (folder / "mark").exists():
            return "the point was not reached"
    elif status != -signal.SIGKILL:
        return f"the point was not reached: exit status {status}: {trial.words()}"
    else:
        wrong = scenario.after_kill(trial.folder)
        if wrong:
            return wrong
        status = trial.run()
    if status != 0:
        return f"exit status {status}: {trial.words()}"
    found = scenario.contents(trial.folder)
    return "" if found == expected else f"other contents: {_difference(found, expected)}"


def _try_full(scenario: Scenario, folder: Path, number: int, expected: Any) -> str:
    """Let the disk be full from one point on, then give room; what is wrong, or nothing."""
    trial = Trial(scenario, folder)
    status = trial.run(number, full=True)
    if status != 2 or "the disk is full" not in trial.words():
        return f"exit status {status}: {trial.words()}"
    status = trial.run()
    if status != 0:
        return f"with room again: exit status {status}: {trial.words()}"
    found = scenario.contents(trial.folder)
    return "" if found == expected else f"other contents: {_difference(found, expected)}"


def _difference(found: Any, expected: Any) -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        return str([key for key in sorted(found.keys() | expected.keys()) if found.get(key) != expected.get(key)])[:500]
    return f"{found!r} instead of {expected!r}"[:500]


def main() -> None:
    """Run scenarios; the last line is JSON, the exit status 1 when one failed."""
    from tests.faults.scenarios import SCENARIOS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; all without any")
    parser.add_argument("--every", type=int, default=1, help="try one point of so many")
    parser.add_argument("--full-disk", action="store_true", help="the disk is full from there on, nobody is killed")
    parser.add_argument("--out", type=Path, help="JSON file whose entries of these scenarios are replaced")
    options = parser.parse_args()
    results = {}
    for name in options.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            scenario = SCENARIOS[name](Path(folder) / "shared")
            results[name] = enumerate_points(scenario, Path(folder), options.every, options.full_disk)
        print(f"{name}: {results[name]['tried']} of {results[name]['points']} points", file=sys.stderr, flush=True)
        if options.out:
            before = json.loads(options.out.read_text()) if options.out.exists() else {}
            options.out.write_text(json.dumps(before | results, indent=1, sort_keys=True) + "\n")
    print(json.dumps(results))
    sys.exit(any(result["failures"] for result in results.values()))


if __name__ == "__main__":
    main()
