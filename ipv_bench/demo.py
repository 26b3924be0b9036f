"""The demo: from sample videos to figures, by the same commands that a person would type.

Each step is one `ipv-bench` command, run inside the demo's folder, which is an ordinary workspace (`data/`, `runs/`,
`report/`). Finished steps are recorded in `demo.json`, so that an interrupted demo goes on where it stopped and a
second one has nothing to do.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ipv_bench import __version__
from ipv_bench.atomic_file import disk_errors, write_json
from ipv_bench.bounded_json import read_json
from ipv_bench.errors import InterruptedRunError, IpvBenchError, OutputError
from ipv_bench.progress import say

STATE_FILE = "demo.json"
NUM_VIDEOS = 64
TASK = "dmc/cheetah_run"
SEEDS = (0, 1)
PRETRAINED_METHODS = ("contextwm", "apv")
METHODS = ("contextwm", "apv", "dreamerv2")


@dataclass(frozen=True)
class Step:
    """One command of the demo.

    Attributes:
        name: short name, for the log.
        arguments: what follows `ipv-bench`.
        makes: a path below the demo's folder that exists once the step is done.
        whole: the command makes it complete or not at all, and does not run when it is there: after a kill between the
            end of the command and its record, what it made is the sign that it is done.
    """

    name: str
    arguments: tuple[str, ...]
    makes: str
    whole: bool = False

    @property
    def command(self) -> str:
        """The command as a person would type it inside the demo's folder."""
        return shlex.join(("ipv-bench", *self.arguments))


@dataclass(frozen=True)
class Stage:
    """Steps that do not depend on one another, and so may run side by side."""

    title: str
    steps: tuple[Step, ...]


def stages() -> list[Stage]:
    """The whole demo; task, budget and seeds are fixed here, before any run is looked at."""
    raw, shards = "data/raw/ssv2", "data/shards/ssv2"
    sample = Step("sample", ("sample", raw, "--dataset", "ssv2", "--videos", str(NUM_VIDEOS)), raw, whole=True)
    prepare = Step("prepare", ("prepare", "ssv2", "--workers", str(_jobs())), f"{shards}/manifest.json")
    verify = Step("verify", ("verify", shards, "--decode", "all"), f"{shards}/manifest.json")
    report = Step("report", ("report", "runs"), "report/report.html")
    return [
        Stage("Sample videos in the layout of Something-Something-v2", (sample,)),
        Stage("Videos to shards", (prepare,)),
        Stage("Verify the shards", (verify,)),
        Stage("Pre-train world models on the videos, without actions", tuple(map(_pretrain, PRETRAINED_METHODS))),
        Stage(
            f"Fine-tune agents on {TASK}, with {len(SEEDS)} seeds each",
            tuple(_finetune(method, seed) for seed in SEEDS for method in METHODS),
        ),
        Stage("Runs to figures", (report,)),
    ]


def _pretrain(method: str) -> Step:
    arguments = ("pretrain", "--preset", "tiny", "--set", f"method={method}", "--seed", "0")
    return Step(f"pretrain {method}", arguments, f"runs/pretrain/ssv2/{method}/seed0/run.json")


def _finetune(method: str, seed: int) -> Step:
    init = f"runs/pretrain/ssv2/{method}/seed0" if method in PRETRAINED_METHODS else "none"
    options = ("--preset", "demo", "--set", f"method={method}", "--task", TASK, "--init", init, "--seed", str(seed))
    return Step(f"finetune {method} seed {seed}", ("finetune", *options), f"runs/{TASK}/{method}/seed{seed}/run.json")


def _jobs() -> int:
    return min(2, len(os.sched_getaffinity(0)))


@dataclass
class _Progress:
    """Which commands are done, on disk."""

    folder: Path
    done: dict[str, float] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def load(cls, folder: Path) -> _Progress:
        path = folder / STATE_FILE
        if not path.exists():
            return cls(folder)
        try:
            state = read_json(path, error=OutputError, expect=dict, fix=f"delete {folder}")
            version, done = state["version"], {str(name): float(value) for name, value in state["done"].items()}
            begun = [str(name) for name in state.get("begun", [])]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(
                f"{path} is not the record of a demo: {error}",
                expected="what an earlier demo wrote there, or no such file",
                fix=f"delete {folder}, or choose another with --out",
            ) from None
        if version != __version__:
            raise OutputError(
                f"{folder} holds the demo of ipv-bench {version}",
                expected=f"a folder of version {__version__}, or a new one",
                fix=f"delete {folder}, or choose another with --out",
            )
        return cls(folder, done, begun)

    def has(self, step: Step) -> bool:
        known = step.command in self.done or (step.whole and step.command in self.begun)
        return known and (self.folder / step.makes).exists()

    def begin(self, step: Step) -> None:
        with self.lock:
            if step.whole and step.command not in self.begun and not (self.folder / step.makes).exists():
                self.begun.append(step.command)
                self._write()

    def record(self, step: Step, seconds: float) -> None:
        with self.lock:
            self.done[step.command] = round(seconds, 1)
            self._write()

    def _write(self) -> None:
        write_json(self.folder / STATE_FILE, {"version": __version__, "done": self.done, "begun": self.begun})


def run_demo(folder: str | Path) -> Path:
    """Run what is not done yet, and return the path of the report.

    Raises:
        OutputError: the folder belongs to another version, or cannot be written.
        IpvBenchError: a command failed; its own message was printed.
    """
    folder = Path(folder)
    progress = _Progress.load(folder)
    plan = stages()
    report = folder / plan[-1].steps[0].makes
    if all(progress.has(step) for stage in plan for step in stage.steps):
        say(f"the demo is complete; nothing to do again (delete {folder} to start over)\n\n{report}")
        return report
    start = time.monotonic()
    _make_writable(folder)
    for number, stage in enumerate(plan, start=1):
        missing = [step for step in stage.steps if not progress.has(step)]
        say(f"\n[{number}/{len(plan)}] {stage.title}" + ("" if missing else ": already done"))
        if missing:
            _run_stage(missing, progress)
    say(f"\nthe demo took {(time.monotonic() - start) / 60:.1f} minutes here; its figures and page:\n\n{report}")
    return report


def _make_writable(folder: Path) -> None:
    """Find out before the first step whether the folder can be written."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise OutputError(
            f"cannot write {folder}", expected="a folder that you may write to", fix="choose another with --out"
        )


def _run_stage(steps: list[Step], progress: _Progress) -> None:
    """Run independent steps, at most one per core and two in all; the first failure stops the others."""
    running: list[subprocess.Popen[str]] = []
    alone = len(steps) == 1
    with ThreadPoolExecutor(_jobs()) as pool:
        futures = [pool.submit(_run_step, step, progress, running, alone) for step in steps]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((future.exception() for future in done if future.exception()), None)
        except KeyboardInterrupt:
            failed = InterruptedRunError("interrupted", fix="run the same command again to go on")
        if failed:
            for future in futures:
                future.cancel()
            for process in running:
                process.terminate()
            raise failed


def _run_step(step: Step, progress: _Progress, running: list[subprocess.Popen[str]], alone: bool) -> None:
    say(f"  {step.command}")
    progress.begin(step)
    start = time.monotonic()
    # Its output is read here as UTF-8, whatever the terminal shows.
    text = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
    environment = os.environ | {"OMP_NUM_THREADS": "1", **text}
    command = [sys.executable, "-P", "-m", "ipv_bench", *step.arguments]
    process = subprocess.Popen(
        command, cwd=progress.folder, env=environment, encoding="utf-8", errors="backslashreplace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    running.append(process)
    assert process.stdout is not None
    _forward(process.stdout, "    " if alone else f"    [{step.name}] ")
    status = process.wait()
    running.remove(process)
    if status:
        error = IpvBenchError(
            f"`{step.command}` ended with exit status {status}; its message stands above",
            expected="exit status 0",
            fix="mend that, then run the demo again: it goes on from here",
        )
        error.exit_status = status if status > 0 else 130
        raise error
    progress.record(step, time.monotonic() - start)
    if not alone:
        say(f"    [{step.name}] done in {time.monotonic() - start:.0f} s")


def _forward(lines: IO[str], prefix: str) -> None:
    for line in lines:
        say(prefix + line.rstrip())
