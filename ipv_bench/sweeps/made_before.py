"""Runs that lie where a sweep's belong: one of another experiment is refused, and not counted as made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ipv_bench.addresses import public_values
from ipv_bench.came_later import with_later_fields
from ipv_bench.checkpoint_index import checkpoint_sha256, latest_checkpoint
from ipv_bench.config import differences, flatten
from ipv_bench.errors import CheckpointError, RunError, UsageError
from ipv_bench.run_record import RunRecord, read_record
from ipv_bench.sweeps.planned_job import ExpectedRun, Job

MANIFEST_FILE = "manifest.json"
_SHOWN_RUNS, _SHOWN_KEYS, _SHOWN_MORE = 3, 4, 30
_OWN_PARTS = 4
"""Last parts of a pre-training run's path that name it: `pretrain/<data sets>/<method>/seed<n>`."""


def other_runs(jobs: Iterable[Job]) -> dict[str, str]:
    """Finished runs in the jobs' folders that are not as the jobs would make them: folder → what differs.

    Compared are preset and config (what may change on resuming apart), of agents the model that they start from, of
    pre-training runs the shard sets, where these are here.
    """
    found = {job.folder: list(_other(job)) for job in jobs}
    return {
        folder: "; ".join(odd[:_SHOWN_KEYS]) + ("; …" if len(odd) > _SHOWN_KEYS else "")
        for folder, odd in found.items() if odd
    }  # fmt: skip


def refuse_other_runs(jobs: Iterable[Job]) -> None:
    """Refuse a sweep in whose folders runs of another experiment lie.

    Raises:
        UsageError: some are (see `other_runs`); the first ones are named with what differs, the others by folder.
    """
    found = [f"{folder}: {odd}" for folder, odd in other_runs(jobs).items()]
    if found:
        more = [line.partition(": ")[0] for line in found[_SHOWN_RUNS:]]
        named = f"\n  and {', '.join(more[:_SHOWN_MORE])}{', …' if len(more) > _SHOWN_MORE else ''}" if more else ""
        raise UsageError(
            f"runs of another experiment lie where this sweep's belong ({len(found)}; `--dry-run` shows all):\n  "
            + "\n  ".join(found[:_SHOWN_RUNS]) + named,
            expected="runs as the sweep would make them, or none",
            fix="give the sweep a `root` of its own, or move those runs away",
        )  # fmt: skip


def _other(job: Job) -> Iterator[str]:
    """What of the finished run in the job's folder is not as the job would make it."""
    try:
        record = read_record(job.folder)
    except RunError:
        return  # absent; or damaged, which its command says
    if job.expects is None or record.status != "finished":
        return  # a run that is not finished is held against its command when that goes on
    yield from _settings(record, job.expects)
    if job.expects.start:
        yield from _start(record, job.expects.start)
    yield from _sets(record, job.expects.sets)


def _settings(record: RunRecord, expects: ExpectedRun) -> Iterator[str]:
    wanted = dict(expects.says)
    config = flatten(wanted.pop("config"))
    auto = {key for key, value in config.items() if value == "auto"}  # the record has what that was
    yield from differences({name: getattr(record, name) for name in wanted}, wanted)
    before = with_later_fields(record.config, expects.says["config"])
    for line in differences(public_values(before), public_values(config)):  # records hold addresses without passwords
        if line.split(": ", 1)[0] not in auto.union(expects.may_change):
            yield line


def _start(record: RunRecord, start: str) -> Iterator[str]:
    """Whether an agent started from another model: by its hash where the model is here, by its place elsewhere."""
    parent: Mapping[str, Any] = record.parent
    known = str(parent.get("run") or parent.get("checkpoint") or "none")
    if "none" in (known, start):
        if known != start:
            yield f"it starts from: {known} → {start}"
        return
    newest, recorded = _newest_sha256(Path(start)), parent.get("checkpoint_sha256")
    if newest and recorded:
        if newest != recorded:
            yield f"it starts from: weights {str(recorded)[:12]}… of {known} → {newest[:12]}… of {start}"
    elif Path(known).parts[-_OWN_PARTS:] != Path(start).parts[-_OWN_PARTS:]:
        yield f"it starts from: {known} → {start}"


def _newest_sha256(run: Path) -> str:
    """Hash of a run's newest checkpoint; empty where its weights are not here."""
    try:
        newest = latest_checkpoint(run)
        return checkpoint_sha256(newest) if newest is not None else ""
    except CheckpointError:
        return ""


def _sets(record: RunRecord, folders: Iterable[str]) -> Iterator[str]:
    known = {str(entry.get("manifest_sha256")) for entry in record.shard_sets}
    for folder in folders:
        try:
            sha256 = hashlib.sha256((Path(folder) / MANIFEST_FILE).read_bytes()).hexdigest()
        except OSError:
            continue  # not made yet, or on an object store
        if sha256 not in known:
            names = ", ".join(str(entry.get("path") or entry.get("name")) for entry in record.shard_sets)
            yield f"it was trained on: {names or 'no set'} → {folder}, which has another manifest"
