"""Where the jobs of a sweep stand, read from the run folders alone: no server, no memory of the sweep is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ipv_bench.errors import RunError
from ipv_bench.run_record import METRICS_FILE, RUN_FILE, read_jsonl, read_record
from ipv_bench.sweeps.job import is_locked, kept_note, lock_file, submission_id
from ipv_bench.sweeps.planned_job import Job, is_done

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
    note = kept_note(root, job)
    tried = f"after {note.attempts} attempts: {note.detail}" if note and note.attempts else ""
    if running:
        share, left = _progress(job)
        return JobStatus(job, "running", share, left, f"attempt {note.attempts + 1}, {tried}" if note and tried else "")
    if note is not None and note.outcome == "blocked":
        return JobStatus(job, "waiting", detail=note.detail)
    if job.kind in ("sample", "prepare") or not (Path(job.folder) / RUN_FILE).exists():
        if note is not None:
            return JobStatus(job, "failed" if note.outcome == "failed" else "stopped", detail=tried)
        name = submission_id(root, job)
        return JobStatus(job, "waiting", detail=f"submitted as {name}" if name else "")
    try:
        record = read_record(job.folder)
    except RunError as error:
        return JobStatus(job, "failed", detail=error.found)
    share, _ = _progress(job)
    if record.status == "interrupted":
        return JobStatus(job, "stopped", share, detail="interrupted")
    if record.status == "failed" or (note is not None and note.outcome == "failed"):
        said = record.failure.splitlines()[0] if record.failure else "killed"
        return JobStatus(job, "failed", share, detail=tried or said)
    return JobStatus(job, "stopped", share, detail=f"killed, {tried}" if tried else "killed")


def _progress(job: Job) -> tuple[float, float | None]:
    """Share of the run that is done, and the seconds that the rest takes at the speed so far."""
    step = "env_steps" if job.kind == "finetune" else "updates"
    last: dict[str, Any] = {}
    try:
        total = (read_record(job.folder).config.get("training") or {}).get(step)
        for line in read_jsonl(Path(job.folder) / METRICS_FILE):
            last = line if step in line and "wall_seconds" in line else last
    except (OSError, RunError):
        return 0.0, None
    if not last or not total:
        return 0.0, None
    share = min(1.0, last[step] / total)
    return share, last["wall_seconds"] * (1 - share) / share if share else None
