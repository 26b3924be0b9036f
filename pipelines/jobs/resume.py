"""What an earlier run of the same command left: which shards are finished, which must be made, which retried."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ipv_bench.atomic_file import disk_errors
from ipv_bench.bounded_file import is_disk_fault, read_bytes, reading_errors
from ipv_bench.config import differences
from ipv_bench.errors import OutputError, ShardSetError, UnknownNameError
from ipv_bench.progress import say
from ipv_bench.shard_set import (
    LOG_FILE,
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    Manifest,
    NewerSetError,
    file_sha256,
    manifest_text,
    parse_manifest,
)
from pipelines.datasets.base import ImageFiles, SourceItem
from pipelines.datasets.file_tree import LATER_SUFFIXES
from pipelines.datasets.quarantine import REASONS
from pipelines.jobs.shard_job import PendingShard
from pipelines.shards.plan import Plan, ShardTask
from pipelines.shards.sample_block import Outcome
from pipelines.shards.shard_writer import SET_FILES, Block, StoredShard, is_intact, read_sidecar, remove_leftovers
from pipelines.shards.versions import refuse_mixed, refuse_other_pixels, versions

_NAMED = 3
"""New or lost items that a message names."""


@dataclass(frozen=True)
class Progress:
    """State of the output folder.

    Attributes:
        finished: outcomes of the items of all finished shards.
        todo: shards to be made.
        retry: finished shards with items that `--retry-failed` names.
        complete: a manifest was there, and fits all shards.
        repaired: files of a complete set that were damaged or missing: shards, which are in `todo`, and tables, which
            are written anew.
    """

    finished: tuple[Outcome, ...]
    todo: tuple[ShardTask, ...]
    retry: tuple[PendingShard, ...]
    complete: bool
    repaired: tuple[str, ...]


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other `prepare` commands out of the folder.

    Raises:
        OutputError: one is at work there, or the folder cannot be written.
    """
    with disk_errors(out / LOG_FILE):
        out.mkdir(parents=True, exist_ok=True)
        log = open(out / LOG_FILE, "ab")  # noqa: SIM115  (closed below; the block is not part of the writing)
    with log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another `prepare` is writing to {out}",
                expected="one at a time in a folder",
                fix="wait for it, or choose another --out",
            ) from None
        except OSError as error:  # some network file systems cannot lock
            say(f"{out} cannot be locked ({error.strerror}): make sure that no other `prepare` writes there")
        yield


def look_at(plan: Plan, out: Path, retry_failed: str | None, num_planned: int | None = None) -> Progress:
    """Compare the folder with the plan; leftovers of interrupted runs are removed.

    Args:
        retry_failed: reason of the quarantined items to be tried again, "all", or None.
        num_planned: source items of the release when the job began; None where nobody knows.

    Raises:
        ShardSetError: the folder holds another data set or another plan; the difference is shown. Or its disk answers
            with an error: nothing finished is taken for damaged then.
        UnknownNameError: no such reason.
    """
    if retry_failed is not None and retry_failed not in {"all", *REASONS}:
        raise UnknownNameError("quarantine reason", retry_failed, ["all", *REASONS])
    with reading_errors(out, error=ShardSetError, fix="change the permissions of that file or folder"):
        return _look_at(plan, out, retry_failed, num_planned)


def _look_at(plan: Plan, out: Path, retry_failed: str | None, num_planned: int | None) -> Progress:
    shards = _stored_shards(plan, out)
    remove_leftovers(out)
    was_complete = (out / MANIFEST_FILE).exists()
    manifest = _intact_manifest(plan, out)
    _refuse_other_items(plan, out, shards, manifest, num_planned)
    damaged = _damaged_tables(out, manifest) if was_complete else ()
    finished: list[Outcome] = []
    kept: list[StoredShard] = []
    todo: list[ShardTask] = []
    retry: list[PendingShard] = []
    for task in plan.tasks:
        shard = _finished_shard(task, manifest, check_hash=was_complete)
        if shard is None:
            todo.append(task)
            continue
        kept.append(shard)
        places = _places_to_retry(task, shard, retry_failed, out)
        again = set(places)
        finished += [outcome for place, outcome in enumerate(shard.outcomes) if place not in again]
        if places:
            retry.append(_pending(task, shard, places))
    if todo or retry or damaged:
        for shard in kept:
            refuse_mixed(shard.file, shard.versions, versions(plan.config))
    fits = manifest is not None and manifest.plan_sha256 == plan.sha256()
    repaired = (*(task.file for task in todo), *damaged) if was_complete else ()
    complete = fits and not (todo or retry or damaged)
    return Progress(tuple(finished), tuple(todo), tuple(retry), complete, repaired)


def _stored_shards(plan: Plan, out: Path) -> list[StoredShard]:
    """What the sidecars in the folder tell of; a shard of another data set or of other options is refused."""
    shards = []
    for path in sorted(out.glob("*-[0-9][0-9][0-9][0-9][0-9][0-9].json")):
        shard = read_sidecar(path)
        if shard is None:
            continue
        refuse_other_pixels(f"{out / shard.file}", shard.options, (out / MANIFEST_FILE).exists())
        changed = differences(shard.options, plan.options)
        if changed:
            raise ShardSetError(
                f"{out} holds shards of another plan: " + "; ".join(changed),
                expected="the same data set, profile and options as before, or an empty folder",
                fix="choose another --out, or delete that folder",
            )
        shards.append(shard)
    return shards


def _refuse_other_items(
    plan: Plan, out: Path, shards: Sequence[StoredShard], manifest: Manifest | None, num_planned: int | None
) -> None:
    """Refuse a release that has more or fewer items than when the job began, wherever they stand in the plan."""
    before, now = manifest.totals.get("num_sources") if manifest is not None else num_planned, plan.inventory.items
    stored = {outcome.row.source_id for shard in shards for outcome in shard.outcomes}
    if shards and before not in (None, len(now)):
        new = [item.source_id for item in now if item.source_id not in stored] if manifest is not None else []
        gone = sorted(stored - {item.source_id for item in now})
        later = _of_later_endings(now, stored)
        if before is not None and not gone and len(later) == len(now) - before:
            raise _later_endings(out, before, later)
        named = [f"{word} {', '.join(ids[:_NAMED])}" for word, ids in (("new:", new), ("gone:", gone)) if ids]
        raise ShardSetError(
            f"{out} was begun with {before} source items, the release has {len(now)} now"
            + "".join(f"; {words}" for words in named),
            expected="the release as it was when the job began: more items would go to other shards",
            fix="choose another --out for all of it, or make a set of the new items alone: readers take several sets",
        )
    expected = {task.file for task in plan.tasks}
    for shard in shards:
        if shard.file not in expected:
            raise ShardSetError(
                f"{out} holds {shard.file}, which this plan of {len(plan.tasks)} shards does not have",
                expected="the release as it was when the job began",
                fix="choose another --out, or delete that folder",
            )


def _of_later_endings(now: Sequence[SourceItem], stored: Collection[str]) -> list[SourceItem]:
    """The items that are not in the folder and that older versions left out for their files' endings."""
    return [item for item in now if item.source_id not in stored and _suffixes(item) <= LATER_SUFFIXES]


def _suffixes(item: SourceItem) -> set[str]:
    names = item.frames.names if isinstance(item.frames, ImageFiles) else (item.path,)
    return {os.path.splitext(name)[1].lower() for name in names}


def _later_endings(out: Path, before: int, new: Sequence[SourceItem]) -> ShardSetError:
    endings = ", ".join(sorted(set().union(*map(_suffixes, new))))
    ids = ", ".join(item.source_id for item in new[:_NAMED])
    return ShardSetError(
        f"{out} was begun with {before} source items, the release has {before + len(new)} now; new: {ids}; all new "
        f"ones have endings that older versions of ipv-bench left out ({endings})",
        expected="the items that were there when the job began: more would go to other shards",
        fix="choose another --out for all of it, or move these files out of the source to go on with this set",
    )


def _intact_manifest(plan: Plan, out: Path) -> Manifest | None:
    if not (out / MANIFEST_FILE).exists():
        return None
    try:
        text = read_bytes(out / MANIFEST_FILE, error=ShardSetError, limit=MAX_MANIFEST_BYTES)
        manifest = parse_manifest(text, str(out / MANIFEST_FILE))
    except NewerSetError:
        raise  # not ours to replace
    except ShardSetError as error:
        if is_disk_fault(error):  # what is there is not known
            raise
        return None
    if manifest_text(manifest) != text:
        return None
    refuse_other_pixels(str(out), manifest.options, complete=True)
    changed = differences(manifest.options, plan.options)
    if manifest.name != plan.name or changed:
        raise ShardSetError(
            f"{out} holds a shard set of another plan: " + ("; ".join(changed) or manifest.name),
            expected="the same data set, profile and options as before, or an empty folder",
            fix="choose another --out, or delete that folder",
        )
    return manifest


def _damaged_tables(out: Path, manifest: Manifest | None) -> tuple[str, ...]:
    """What is to be written anew of a complete set beside its shards; the manifest itself when it is None."""
    if manifest is None:
        return (MANIFEST_FILE,)
    tables = [name for name in SET_FILES if name != MANIFEST_FILE]
    return tuple(name for name in tables if not _is_as_listed(out / name, manifest.tables.get(name)))


def _is_as_listed(path: Path, sha256: str | None) -> bool:
    return path.is_file() and not path.is_symlink() and file_sha256(path) == sha256


def _finished_shard(task: ShardTask, manifest: Manifest | None, check_hash: bool) -> StoredShard | None:
    """The shard when it is finished and intact; a complete set is checked byte for byte, so that `prepare` repairs."""
    shard = read_sidecar(task.sidecar)
    if shard is None:
        return None
    if manifest is not None and manifest.tables.get(task.sidecar.name) != file_sha256(task.sidecar):
        return None
    return shard if is_intact(shard, task.out, check_hash) else None


def _places_to_retry(task: ShardTask, shard: StoredShard, reason: str | None, out: Path) -> tuple[int, ...]:
    """Failed items with the given reason, and failed items whose files were replaced since."""
    hashes = task.item_hashes
    if len(hashes) != len(shard.item_hashes):
        raise _other_plan(task, shard, out)
    changed = {place for place, pair in enumerate(zip(hashes, shard.item_hashes, strict=True)) if pair[0] != pair[1]}
    failed = {place: o.row.reason for place, o in enumerate(shard.outcomes) if o.row.status == "quarantined"}
    same_ids = all(shard.outcomes[place].row.source_id == task.items[place].source_id for place in changed)
    if changed and (reason is None or not changed <= failed.keys() or not same_ids):
        raise _other_plan(task, shard, out)
    return tuple(place for place in sorted(failed) if reason in ("all", failed[place]) or place in changed)


def _pending(task: ShardTask, shard: StoredShard, places: Sequence[int]) -> PendingShard:
    tar = task.out / task.file
    blocks = [
        Block(tar, offset, outcome.size_bytes) for offset, outcome in zip(shard.offsets, shard.outcomes, strict=True)
    ]
    return PendingShard(task, shard.outcomes, tuple(blocks), tuple(places))


def _other_plan(task: ShardTask, shard: StoredShard, out: Path) -> ShardSetError:
    pairs = zip([outcome.row.source_id for outcome in shard.outcomes], task.items, strict=False)
    first = next(
        (f"{old!r} → {item.source_id!r}" for old, item in pairs if old != item.source_id), "size, label or tracks"
    )
    return ShardSetError(
        f"{out / shard.file} was made from other source items (first difference: {first})",
        expected="the release as it was when the job began",
        fix="choose another --out; `--retry-failed` accepts new files for items that had failed",
    )


def note(out: Path, **facts: object) -> None:
    """Append a line to prepare_log.jsonl: when, where, how fast, by how many workers; no part of the identity."""
    line = json.dumps(facts, sort_keys=True).encode() + b"\n"
    with disk_errors(out / LOG_FILE), open(out / LOG_FILE, "a+b") as log:
        if log.tell():  # opened at its end; a killed job may have left half a line there
            log.seek(-1, os.SEEK_END)
            line = line if log.read(1) == b"\n" else b"\n" + line
        log.write(line)
