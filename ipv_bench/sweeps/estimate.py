"""How long jobs will take, from finished runs like them on a machine like this one."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from ipv_bench.errors import RunError
from ipv_bench.run_record import METRICS_FILE, RunRecord, host_hardware, read_jsonl, read_record
from ipv_bench.sweeps.planned_job import Job, is_done


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    Attributes:
        seconds: of wall time.
        unit: "GPU" or "CPU": what the runs it was taken from were trained on.
    """

    seconds: float
    unit: Literal["GPU", "CPU"]


@dataclass(frozen=True)
class _Recorded:
    seconds: float
    steps: float
    unit: Literal["GPU", "CPU"]


def estimates(jobs: Sequence[Job], root: str) -> dict[str, Estimate | None]:
    """For each job that is not done: what it will take, in proportion to its env steps or updates.

    A run is like another when kind, preset, method and suite are equal, and it was made on the same processor or GPU.
    None where no such run is recorded below `root`.
    """
    known = _recorded(Path(root))
    found: dict[str, Estimate | None] = {}
    for job in jobs:
        if not is_done(job):
            like = known.get(_kind_of(job), [])
            found[job.folder] = _estimate(like, job.steps) if like else None
    return found


def _estimate(like: Sequence[_Recorded], steps: int) -> Estimate:
    mean = sum(one.seconds for one in like) / len(like)
    if steps:
        mean = steps * sum(one.seconds / one.steps for one in like) / len(like)
    return Estimate(mean, like[0].unit)


def _kind_of(job: Job) -> tuple[str, str, str, str]:
    options = dict(pairwise(job.words))
    sets = [value for key, value in pairwise(job.words) if key == "--set"]
    method = next((text.partition("=")[2] for text in sets if text.startswith("method=")), "")
    return job.kind, options.get("--preset", ""), method, options.get("--task", "").partition("/")[0]


def _recorded(root: Path) -> dict[tuple[str, str, str, str], list[_Recorded]]:
    """Finished runs of this machine, by what they are like; those on its GPU where there are any."""
    machine, gpus = host_hardware()["cpu"], gpu_names()
    found: dict[tuple[str, str, str, str], list[_Recorded]] = {}
    for path in sorted(root.rglob("run.json")):
        try:
            record = read_record(path.parent)
            here = record.hardware.get("gpu") in gpus if gpus else record.hardware.get("cpu") == machine
            run = _of(record, path.parent) if here and record.status == "finished" else None
        except (OSError, RunError):
            continue
        if run is not None:
            found.setdefault((record.kind, record.preset, record.method, record.suite), []).append(run)
    return found


def _of(record: RunRecord, folder: Path) -> _Recorded | None:
    step = "env_steps" if record.kind == "finetune" else "updates"
    training: Mapping[str, Any] = record.config.get("training") or {}
    walls = [line["wall_seconds"] for line in read_jsonl(folder / METRICS_FILE) if _number(line.get("wall_seconds"))]
    if not walls or not _number(training.get(step)) or not training[step]:
        return None
    return _Recorded(walls[-1], training[step], "GPU" if record.hardware.get("gpu") else "CPU")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def gpu_names() -> set[str]:
    """Names of this machine's GPUs, as torch calls them; empty without any."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return set()
    return {line.strip() for line in done.stdout.splitlines() if line.strip()}
