"""`verify --source DIR`: whether a shard set still is what the release in DIR gives, by decoding it again.

A source that was replaced by another file of the same size leaves no trace in sizes; its pictures differ. For the same
package versions the same source gives the same bytes, so the blocks are compared byte for byte.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, Literal

from ipv_bench.bounded_file import reading_errors
from ipv_bench.config import build, differences
from ipv_bench.errors import ShardSetError, SourceError
from ipv_bench.progress import progress
from ipv_bench.shard_set import Manifest, read_manifest
from pipelines.datasets.base import data_set
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.split_archive import extract
from pipelines.decoding.selection import without_rate
from pipelines.jobs.decode_worker import WorkItem, WorkOrder
from pipelines.jobs.lost_source import refuse_lost_source
from pipelines.jobs.supervise import DecodeWorker
from pipelines.shards.plan import Plan, ShardTask, make_plan
from pipelines.shards.sample_block import Outcome, without_frames
from pipelines.shards.shard_writer import StoredShard, read_sidecar
from pipelines.shards.verify import Verification
from pipelines.shards.versions import refuse_mixed, versions

_REPAIR = "if the source is right, delete {tar} and {sidecar} and run `ipv-bench prepare` again"


def verify_source(folder: Path, source: Path, decode: Literal["all"] | int, result: Verification) -> None:
    """Compare a local shard set with its source; what differs is added to `result`.

    Args:
        folder: the shard set.
        source: the raw release that it was made from.
        decode: decode all source items again, or this many, spread evenly over the set.
        result: of `pipelines.shards.verify.verify`.

    Raises:
        ShardSetError: there is no complete set in `folder`, or it was made by other package versions.
        SourceError: `source` is no such release, or goes away meanwhile.
    """
    manifest = read_manifest(folder)
    plan = _plan(manifest, folder, source)
    places = _same_items(plan, folder, result)
    if decode != "all":
        step = len(places) / max(1, min(decode, len(places)))
        places = [places[int(number * step)] for number in range(min(decode, len(places)))]
    with tempfile.TemporaryDirectory() as scratch:
        laid_out = _lay_out(plan, source, places, Path(scratch))
        limits = plan.config.supervision
        worker = DecodeWorker(limits, Event(), limits.retry_factor)  # as the second try, which was the final one
        try:
            with progress("verify: source", len(places), "videos") as bar:
                for task, place, shard in places:
                    _compare(task, place, shard, worker, laid_out, Path(scratch) / "block", result)
                    bar.advance(1)
        finally:
            worker.close()


_Place = tuple[ShardTask, int, StoredShard]


def _plan(manifest: Manifest, folder: Path, source: Path) -> Plan:
    release = data_set(manifest.dataset)
    options: dict[str, Any] = manifest.options
    values = {key: value for key, value in options.items() if key in release.config.model_fields}
    config: PrepareConfig = build(release.config, values)
    with reading_errors(source, error=SourceError, fix="change its permissions"):
        is_folder = source.is_dir()
    if not is_folder:
        raise SourceError(f"{source} is not a folder", expected=f"a {manifest.dataset} release", fix=release.help)
    source = source.resolve()
    inventory = release.inventory(source, config)
    dataset = manifest.dataset
    plan = make_plan(dataset, options["profile"], inventory, config, options["limit"], source, folder.resolve())
    changed = differences(options, plan.options)
    if changed:
        raise ShardSetError(
            f"{folder} was made with other options than this version knows: " + "; ".join(changed),
            expected="a set of this version of ipv-bench",
            fix=f"run this with ipv-bench {manifest.versions.get('ipv-bench', 'of then')}, which made it",
        )
    return plan


def _same_items(plan: Plan, folder: Path, result: Verification) -> list[_Place]:
    """The items that the source and the set both know, with the same sizes and labels; others are findings."""
    same: list[_Place] = []
    for task in plan.tasks:
        shard = read_sidecar(task.sidecar)
        if shard is None:
            result.add("source", task.sidecar.name, "it is not there: the source has more items")
            continue
        refuse_mixed(shard.file, shard.versions, versions(plan.config))
        stored = [outcome.row.source_id for outcome in shard.outcomes]
        for place, item in enumerate(task.items):
            if place >= len(stored) or stored[place] != item.source_id:
                other = stored[place] if place < len(stored) else "nothing"
                result.add("source", task.file, f"the source has {item.source_id!r} where the set has {other!r}")
                break
            if shard.item_hashes[place] != task.item_hashes[place]:
                _add(
                    result, task, f"{item.path} has another size, label or place than the source of {item.source_id!r}"
                )
            else:
                same.append((task, place, shard))
    known = {task.sidecar.name for task in plan.tasks}
    for path in sorted(folder.glob(f"{plan.name}-[0-9][0-9][0-9][0-9][0-9][0-9].json")):
        if path.name not in known:
            result.add("source", path.name, "the source has no items for this shard", "restore the source")
    return same


def _lay_out(plan: Plan, source: Path, places: Sequence[_Place], scratch: Path) -> Path:
    """The folder that the items' paths are relative to."""
    if not plan.inventory.archive:
        return source.resolve()
    items = [task.items[place] for task, place, _ in places]
    sizes = {item.path: item.size_bytes for item in items if item.frames is not None}
    inventory = plan.inventory
    extract(source.resolve(), inventory.archive, sizes, scratch / "videos", inventory.replaced)
    return scratch / "videos"


def _compare(
    task: ShardTask,
    place: int,
    shard: StoredShard,
    worker: DecodeWorker,
    source: Path,
    path: Path,
    result: Verification,
) -> None:
    item, stored = task.items[place], shard.outcomes[place]
    found = without_frames(item)
    if found is None and stored.row.reason == "bad_annotation":  # older sets have frames of such items
        found = without_frames(without_rate(item, task.config))
    if found is None:
        found = _decode(task, place, worker, source, path)
        result.num_sources_decoded += 1
    if found.row.reason == "unreadable":
        refuse_lost_source(source, item.path)
    if found.machine_dependent or stored.machine_dependent:
        result.not_compared.append(f"{item.path}: {_why_not(stored, found)}")
        return
    if found.row != stored.row:
        _add(result, task, f"{item.path} {', '.join(_row_differences(stored, found))}")
        return
    with open(task.out / task.file, "rb") as tar:
        tar.seek(shard.offsets[place])
        same = found.size_bytes == stored.size_bytes and (
            not found.size_bytes or tar.read(found.size_bytes) == path.read_bytes()
        )
    if not same:
        _add(result, task, f"{item.path} gives other frames than are stored of {item.source_id!r}: it was replaced")
    elif found.size_bytes:
        result.num_sources_equal += 1


def _decode(task: ShardTask, place: int, worker: DecodeWorker, source: Path, path: Path) -> Outcome:
    limits, item = task.config.supervision, task.items[place]
    seconds = limits.cpu_seconds + limits.cpu_seconds_per_megabyte * item.size_bytes / 1e6
    path.write_bytes(b"")
    outcomes: list[Outcome] = []
    work = WorkItem(task.first + place, task.keys[place], item, seconds * limits.retry_factor)
    worker.run(WorkOrder(path, 0, source, task.config, [work]), lambda _, outcome: outcomes.append(outcome))
    return outcomes[0]


def _why_not(stored: Outcome, found: Outcome) -> str:
    """Why an outcome that depends on the machine says nothing of the source."""
    if found.machine_dependent:
        before = f"; the set has it as {stored.row.reason}" if stored.machine_dependent else ""
        return f"{found.row.reason} here ({found.row.message}){before}"
    here = " ".join(filter(None, (found.row.status, found.row.reason)))
    return (
        f"{here} here; the set has it as {stored.row.reason}: `prepare --retry-failed {stored.row.reason}` tries again"
    )


def _row_differences(stored: Outcome, found: Outcome) -> Iterator[str]:
    if found.row.status != stored.row.status or found.row.reason != stored.row.reason:
        was, now = (" ".join(filter(None, (row.status, row.reason))) for row in (stored.row, found.row))
        yield f"is now {now} ({found.row.message or 'no message'}), the set says {was}"
        return
    for name in ("num_frames_decoded", "height", "width", "codec", "fps"):
        was, now = getattr(stored.row, name), getattr(found.row, name)
        if was != now:
            yield f"has {name} {now}, the set says {was}"


def _add(result: Verification, task: ShardTask, message: str) -> None:
    result.add("source", task.file, message, _REPAIR.format(tar=task.file, sidecar=task.sidecar.name))
