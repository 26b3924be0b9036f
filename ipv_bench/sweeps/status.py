"""Where the jobs of a sweep stand, read from the run folders alone: no server, no memory of the sweep is needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from ipv_bench.errors import RunError
from ipv_bench.run_record import METRICS_FILE, host_hardware, read_jsonl, read_record
from ipv_bench.sweeps.job import is_locked, lock_file
from ipv_bench.sweeps.plan import Job, is_done

State = Literal["done", "running", "stopped", "failed", "waiting"]
ORDER: tuple[State, ...] = ("running", "failed", "stopped", "waiting", "done")


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands.

    Attributes:
        job: the job.
        state: done; running; stopped (interrupted or killed, it goes on when it is started again); failed; waiting.
        share: of the work that is done, 0 to 1.
        seconds_left: at the speed so far; None where unknown.
        detail: why it failed, or what stopped it.
    """

    job: Job
    state: State
    share: float = 0.0
    seconds_left: float | None = None
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        left = None if self.seconds_left is None else round(self.seconds_left)
        return {
            "folder": self.job.folder, "kind": self.job.kind, "state": self.state, "share": round(self.share, 4),
            "seconds_left": left, "detail": self.detail, "command": self.job.command,
        }  # fmt: skip


def sweep_status(jobs: Iterable[Job], root: str) -> list[JobStatus]:
    """The status of each job, in the order of the plan."""
    return [_status(job, root) for job in jobs]


def _status(job: Job, root: str) -> JobStatus:
    if is_done(job):
        return JobStatus(job, "done", 1.0)
    running = is_locked(lock_file(root, job)) or is_locked(Path(job.folder))
    if job.kind == "prepare":
        return JobStatus(job, "running" if running else "waiting")
    try:
        record = read_record(job.folder)
    except RunError as error:
        there = (Path(job.folder) / "run.json").exists()
        return JobStatus(job, "running" if running else "failed" if there else "waiting", detail=error.found * there)
    share, left = _progress(job, record.config)
    if running:
        return JobStatus(job, "running", share, left)
    if record.status == "failed":
        return JobStatus(job, "failed", share, detail=record.failure.splitlines()[0] if record.failure else "")
    return JobStatus(job, "stopped", share, detail="killed" if record.status == "running" else "interrupted")


def _progress(job: Job, config: Mapping[str, Any]) -> tuple[float, float | None]:
    """Share of the run that is done, and the seconds that the rest takes at the speed so far."""
    step = "env_steps" if job.kind == "finetune" else "updates"
    total = (config.get("training") or {}).get(step)
    last: dict[str, Any] = {}
    try:
        for line in read_jsonl(Path(job.folder) / METRICS_FILE):
            last = line if step in line and "wall_seconds" in line else last
    except (OSError, RunError):
        return 0.0, None
    if not last or not total:
        return 0.0, None
    share = min(1.0, last[step] / total)
    return share, last["wall_seconds"] * (1 - share) / share if share else None


def estimate_seconds(jobs: Sequence[Job], root: str) -> dict[str, float | None]:
    """For each job that is not done: seconds that it will take, from finished runs like it on this machine.

    A run is like another when kind, preset, method and suite are equal. None where there is none such.
    """
    known = _recorded(Path(root))
    host = host_hardware()
    found: dict[str, float | None] = {}
    for job in jobs:
        if not is_done(job):
            found[job.folder] = known.get((*_kind_of(job), host["cpu"]))
    return found


def _kind_of(job: Job) -> tuple[str, str, str, str]:
    words = job.words
    options = dict(pairwise(words))
    sets = [value for key, value in pairwise(words) if key == "--set"]
    method = next((text.partition("=")[2] for text in sets if text.startswith("method=")), "")
    return job.kind, options.get("--preset", ""), method, options.get("--task", "").partition("/")[0]


def _recorded(root: Path) -> dict[tuple[str, str, str, str, str], float]:
    seconds: dict[tuple[str, str, str, str, str], list[float]] = {}
    for path in sorted(root.rglob("run.json")):
        try:
            record = read_record(path.parent)
            lines = list(read_jsonl(path.parent / METRICS_FILE))
        except (OSError, RunError, json.JSONDecodeError):
            continue
        walls = [line["wall_seconds"] for line in lines if isinstance(line.get("wall_seconds"), int | float)]
        if record.status == "finished" and walls:
            key = (record.kind, record.preset, record.method, record.suite, str(record.hardware.get("cpu")))
            seconds.setdefault(key, []).append(walls[-1])
    return {key: sum(values) / len(values) for key, values in seconds.items()}
