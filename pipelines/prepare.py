"""`prepare`: a raw release becomes a shard set. Inventory, plan, shards, retries, tables; each step can be resumed."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ipv_bench.bounded_file import reading_errors
from ipv_bench.config import build, check_key, merge, nested, parse_overrides
from ipv_bench.errors import ConfigError, FailureLimitError, FindingsError, SourceError, UnknownNameError, UsageError
from ipv_bench.extras import require
from ipv_bench.folder_kind import refuse_other_kind
from ipv_bench.progress import progress, say
from ipv_bench.set_name import check_set_name
from ipv_bench.shard_set import LOG_FILE, MANIFEST_FILE, Manifest, read_manifest
from pipelines.datasets.base import DataSet, data_set
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.split_archive import extract
from pipelines.decoding.selection import refuse_unknown_rates, without_rate
from pipelines.jobs.execute import Executor, LocalExecutor
from pipelines.jobs.resume import Progress, locked, look_at, note
from pipelines.jobs.source_times import (
    changed_since_noted,
    changed_warning,
    note_source,
    note_times,
    num_planned,
    source_times,
)
from pipelines.jobs.tally import Tally
from pipelines.shards.plan import Plan, ShardTask, make_plan
from pipelines.shards.shard_writer import remove_leftovers

ExecutorName = Literal["local", "ray"]
EXTRACTED_FOLDER = ".extracted"
"""Below `--out`: videos of a split archive while the job runs."""


@dataclass(frozen=True)
class Job:
    """What the command line asks for.

    Attributes:
        name: data set.
        source: folder of the raw release.
        out: folder of the shard set.
        profile: "paper" or "official-code".
        workers: decoder processes at a time; None takes one per core (local) or all of the cluster (ray).
        limit: take the first so many items of the sorted inventory.
        retry_failed: reason of quarantined items to try again, "all", or None.
        strict: end with exit status 4 when an item is quarantined or there was a warning.
        overrides: config fields, as `key=value`.
    """

    name: str
    source: Path
    out: Path
    profile: str = "paper"
    workers: int | None = None
    executor: ExecutorName = "local"
    limit: int | None = None
    retry_failed: str | None = None
    strict: bool = False
    overrides: tuple[str, ...] = ()


def resolve_config(release: DataSet, profile: str, overrides: Iterable[str]) -> PrepareConfig:
    """The data set's defaults, changed by the profile, changed by the overrides.

    Raises:
        UnknownNameError: the data set has no such profile.
        ConfigError: unknown field or wrong value, a name that is none among them, or a field that another leaves
            without effect.
    """
    if profile not in release.profiles:
        raise UnknownNameError(f"profile of {release.name}", profile, release.profiles)
    values = dict(release.profiles[profile])
    changes = parse_overrides(overrides)
    for key, value in changes.items():
        check_key(release.config, key)
        values = merge(values, nested(key, value))
    config = build(release.config, values)
    _refuse_without_effect(config, changes)
    check_set_name(config.name, release.name)
    return config.model_copy(update={"name": ""}) if config.name == release.name else config


def _refuse_without_effect(config: PrepareConfig, changed: Iterable[str]) -> None:
    unread = {"jpeg_quality": "encoding=raw stores no JPEGs"} if config.encoding == "raw" else {}
    if config.size == "native":
        unread["scaling"] = "size=native scales nothing"
    for key in sorted(unread.keys() & set(changed)):
        raise ConfigError(f"{key} is set, and {unread[key]}", expected=f"no {key}", fix=f"leave {key} out")


def _all_heeded(config: PrepareConfig) -> None:
    """Of data sets that say nothing of fields which they do not heed."""


def plan_job(job: Job) -> tuple[DataSet, Plan]:
    """Read the inventory and assign it to shards.

    Raises:
        SourceError: the release is missing, half extracted, or empty.
        ConfigError: a field has a wrong value, or one that this release cannot follow.
        UsageError: an option is out of range.
        OutputError: `out` is a run, an analysis, a recording or a report.
    """
    for option, number, without in (("--workers", job.workers, "every core"), ("--limit", job.limit, "everything")):
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}", expected="1 or more", fix=f"leave {option} out for {without}")
    release = data_set(job.name)
    config = resolve_config(release, job.profile, job.overrides)
    if config.decoder == "decord":
        require("decoder=decord", "decord")
    with reading_errors(job.source, error=SourceError, fix="change its permissions"):
        is_folder = job.source.is_dir()
    if not is_folder:
        fix = f"name its place with --source; where there is none: {release.help}" if config.name else release.help
        raise SourceError(f"{job.source} is not a folder", expected=f"a {job.name} release", fix=fix)
    getattr(release, "refuse_unheeded", _all_heeded)(config)
    source = job.source.resolve()
    inventory = release.inventory(source, config)
    for warning in inventory.warnings:
        say(f"warning: {warning}")
    for line in inventory.notes:
        say(line)
    if not inventory.items:
        raise SourceError(f"{job.source} holds no source items", expected=f"a {job.name} release", fix=release.help)
    out = job.out.resolve()
    refuse_other_kind(job.out, MANIFEST_FILE)
    if inventory.archive:
        source = out / EXTRACTED_FOLDER
    plan = make_plan(job.name, job.profile, inventory, config, job.limit, source, out)
    if not os.path.exists(out / LOG_FILE):  # else there may be nothing left to make: `prepare` looks
        refuse_unknown_rates(plan.inventory.items, config)
    return release, _with_rates(plan)


def _with_rates(plan: Plan) -> Plan:
    """The plan, in whose tasks items without times have that problem where frames are picked by time.

    Inventory and hashes stay those of the release: what finished shards hold of such items is still theirs.
    """

    def stated(task: ShardTask) -> ShardTask:
        return replace(task, items=tuple(without_rate(item, plan.config) for item in task.items))

    return replace(plan, tasks=tuple(map(stated, plan.tasks)))


def prepare(job: Job) -> Manifest:
    """Make, resume or repair a shard set.

    Raises:
        SourceError, ConfigError, ShardSetError, OutputError: see `ipv_bench.errors`.
        FailureLimitError: more items failed than `max_failure_rate` allows; finished shards are kept.
        FindingsError: with `strict`, when an item is quarantined or there was a warning.
    """
    release, plan = plan_job(job)
    out = plan.tasks[0].out
    with locked(out):
        state = look_at(plan, out, job.retry_failed, num_planned(out))
        if state.todo or state.retry:
            refuse_unknown_rates(plan.inventory.items, plan.config)
        tally = Tally(sum(1 for item in plan.inventory.items if not item.excluded), plan.config)
        tally.add_all(state.finished)
        done = {outcome.row.source_id for outcome in state.finished}
        settled = [item.source_id in done for item in plan.inventory.items]
        note_source(out, job.source.resolve())
        note_times(out, source_times(plan.inventory, job.source.resolve()), settled)
        if state.complete:
            manifest = read_manifest(out)
            shutil.rmtree(out / EXTRACTED_FOLDER, ignore_errors=True)  # of a job that was killed at its very end
            say(f"{job.out} is complete and intact; nothing to do again")
        else:
            manifest = _make(job, release, plan, state, tally, out)
        changed = changed_since_noted(out, source_times(plan.inventory, job.source.resolve()))
        if changed:
            say(f"warning: {changed_warning(plan.inventory, changed)}")
        _report(job, manifest, tally)
    num_warnings = len(plan.inventory.warnings) + bool(changed)
    if job.strict and (tally.status["quarantined"] or num_warnings):
        raise FindingsError(
            f"--strict: {tally.status['quarantined']} items are quarantined, {num_warnings} warnings were given",
            expected="none",
            fix=f"see {job.out}/quarantine.jsonl",
        )
    return manifest


def _make(job: Job, release: DataSet, plan: Plan, state: Progress, tally: Tally, out: Path) -> Manifest:
    from pipelines.shards.index_tables import write_tables

    if state.repaired:
        say(f"making anew, because damaged or missing: {', '.join(state.repaired[:5])}")
    (out / MANIFEST_FILE).unlink(missing_ok=True)  # it comes last: until then the set is not complete
    if plan.inventory.archive:
        _lay_out(job, plan, state, out)
    executor, workers = make_executor(job, plan.config)
    begun = time.time()
    note(out, event="start", time=begun, host=platform.node(), executor=job.executor, workers=workers)
    num_items, num_done = len(plan.inventory.items), sum(tally.status.values())
    if num_done:
        say(f"going on: {num_done} of {num_items} source items are done")
    with progress(f"prepare {plan.name}", num_items, "videos", num_done) as bar:
        tally.show_on(bar)
        tally.check()
        try:
            pending = executor.run(state.todo, tally.add)
            executor.retry([*state.retry, *pending], tally.add)
        finally:
            executor.close()
    if not tally.status["written"]:
        raise FailureLimitError(
            f"none of the {num_items} source items could be used ({tally.summary()})",
            expected=f"a {job.name} release",
            fix=f"check --source; it is {job.source}",
        )
    manifest = write_tables(plan, release, out)
    shutil.rmtree(out / EXTRACTED_FOLDER, ignore_errors=True)
    remove_leftovers(out)  # of nodes that were lost
    seconds = time.time() - begun
    note(out, event="end", time=time.time(), seconds=round(seconds, 3), items=num_items - num_done)
    return manifest


def _lay_out(job: Job, plan: Plan, state: Progress, out: Path) -> None:
    """Extract the videos of the shards that are still to be made; they are removed when the set is complete."""
    needed = [item for task in state.todo for item in task.items]
    needed += [pending.task.items[place] for pending in state.retry for place in pending.retry]
    sizes = {item.path: item.size_bytes for item in needed if item.frames is not None}
    say(f"laying out {len(sizes):,} videos ({sum(sizes.values()) / 1e9:.2f} GB) of the split archive in {out}, for now")
    inventory = plan.inventory
    extract(job.source.resolve(), inventory.archive, sizes, out / EXTRACTED_FOLDER, inventory.replaced)


def make_executor(job: Job, config: PrepareConfig) -> tuple[Executor, int]:
    """The executor that the job names, and its number of workers."""
    if job.executor == "ray":
        from pipelines.jobs.ray_executor import RayExecutor

        ray_executor = RayExecutor(job.workers, config.supervision)
        return ray_executor, ray_executor.workers
    workers = job.workers or len(os.sched_getaffinity(0))
    return LocalExecutor(workers, config.supervision), workers


def _report(job: Job, manifest: Manifest, tally: Tally) -> None:
    for count in manifest.counts:
        others = [f"{who} {count[key]:,}" for who, key in (("paper", "paper"), ("lists", "official")) if count[key]]
        note_text = f"; {count['note']}" if count["note"] else ""
        say(f"  {count['ours']:,}  {count['rule']}" + (f" ({', '.join(others)}{note_text})" if others else note_text))
    for anomaly in manifest.known_anomalies:
        say(f"  known: {anomaly['source_id']}: {anomaly['note']}")
    totals = manifest.totals
    say(
        f"{manifest.name}: {totals['num_samples']:,} samples, {totals['num_frames']:,} frames, "
        f"{totals['size_bytes'] / 1e6:,.1f} MB in {len(manifest.shards)} shards; {tally.summary()} → {job.out}"
    )
