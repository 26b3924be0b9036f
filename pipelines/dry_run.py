"""`prepare --dry-run`: counts from the inventory; bytes and time from a timed sample. Nothing is written to `--out`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from ipv_bench.config import flatten
from ipv_bench.progress import say
from pipelines.datasets.base import SourceItem
from pipelines.datasets.split_archive import extract
from pipelines.jobs.decode_worker import WorkItem, WorkOrder
from pipelines.jobs.supervise import DecodeWorker
from pipelines.prepare import Job, make_executor, plan_job
from pipelines.shards.plan import Plan
from pipelines.shards.sample_block import Outcome

NUM_TIMED = 12


@dataclass(frozen=True)
class Estimate:
    """What the whole job would take.

    Attributes:
        num_items: source items that would be decoded.
        num_frames, size_bytes: of the shard set.
        decoder_seconds: wall time of one decoder process for all of it.
    """

    num_items: int
    num_frames: int
    size_bytes: int
    decoder_seconds: float


def dry_run(job: Job) -> Estimate:
    """Print what `prepare` would do.

    Raises:
        SourceError, ConfigError: as `prepare` would.
    """
    _, plan = plan_job(job)
    planned = [item for task in plan.tasks for item in task.items]
    items = [item for item in planned if not item.excluded and not item.problem]
    excluded = sum(1 for item in planned if item.excluded)
    problems = Counter(item.problem[0] for item in planned if item.problem)
    say(f"{plan.called}, {job.profile} profile: {len(planned):,} source items in {len(plan.tasks)} shards")
    for split, count in sorted(Counter(item.split for item in items).items()):
        say(f"  {count:,} to decode" + (f" in {split}" if split else ""))
    if excluded:
        say(f"  {excluded:,} excluded by the profile")
    for reason, count in sorted(problems.items()):
        say(f"  {count:,} unusable already: {reason}")
    say(
        "  config: "
        + ", ".join(f"{key}={value}" for key, value in flatten(plan.config.model_dump(mode="json")).items())
    )
    estimate = _estimate(job, plan, items)
    executor, workers = make_executor(job, plan.config)
    executor.close()
    free = shutil.disk_usage(_existing(job.out)).free
    say(
        f"  about {estimate.num_frames:,} frames and {_size(estimate.size_bytes)} "
        f"({_size(free)} are free), from {min(NUM_TIMED, len(items))} timed items"
    )
    say(f"  about {_clock(estimate.decoder_seconds / workers)} with {workers} workers, {job.executor} executor")
    say("dry run: nothing was written")
    return estimate


def _estimate(job: Job, plan: Plan, items: list[SourceItem]) -> Estimate:
    if not items:
        return Estimate(0, 0, 0, 0.0)
    step = max(1, len(items) // NUM_TIMED)
    timed = items[step // 2 :: step][:NUM_TIMED] or items[:1]
    limits = plan.config.supervision
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        source = plan.tasks[0].source
        if plan.inventory.archive:
            source = Path(folder)
            wanted = {item.path: item.size_bytes for item in timed}
            extract(job.source.resolve(), plan.inventory.archive, wanted, source, plan.inventory.replaced)
        path = Path(folder) / "sample.tar"
        path.write_bytes(b"")
        work = [
            WorkItem(
                number,
                f"key{number}",
                item,
                limits.cpu_seconds + limits.cpu_seconds_per_megabyte * item.size_bytes / 1e6,
            )
            for number, item in enumerate(timed)
        ]
        worker = DecodeWorker(limits, Event())
        order = WorkOrder(path, 0, source, plan.config, work[:1])
        worker.run(order, lambda number, outcome: None)  # start-up is not part of the rate
        begun = time.perf_counter()
        worker.run(WorkOrder(path, 0, source, plan.config, work), lambda number, outcome: outcomes.append(outcome))
        seconds = time.perf_counter() - begun
        worker.close()
    # Videos differ in length: what is measured is scaled by bytes where sizes are known, else by number.
    sizes = sum(item.size_bytes for item in timed)
    scale = sum(item.size_bytes for item in items) / sizes if sizes else len(items) / len(timed)
    frames = sum(sample.num_frames for outcome in outcomes for sample in outcome.samples)
    size_bytes = sum(outcome.size_bytes for outcome in outcomes)
    return Estimate(len(items), round(frames * scale), round(size_bytes * scale), seconds * scale)


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 3600:,.1f} hours" if seconds >= 7200 else f"{seconds / 60:,.0f} minutes"
