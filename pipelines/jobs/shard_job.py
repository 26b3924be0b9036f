"""Making one shard: the first pass, and the quiet retry of what the machine may have spoilt.

Outcomes that depend on the machine are not final on the first try. A shard with such items waits (`PendingShard`) until
all others are done; then each is tried once more, alone, with larger limits, and the shard is joined from the blocks of
both passes. What still fails is quarantined as not deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipv_bench.atomic_file import disk_errors
from pipelines.jobs.decode_worker import WorkItem, WorkOrder
from pipelines.jobs.lost_source import refuse_lost_source
from pipelines.jobs.supervise import DecodeWorker
from pipelines.shards.plan import ShardTask
from pipelines.shards.sample_block import Outcome, without_frames
from pipelines.shards.shard_writer import Block, StoredShard, finish_shard, temporary_path

OnItem = Callable[[Outcome], None]


@dataclass(frozen=True)
class PendingShard:
    """A shard whose items in `retry` are tried again at the end.

    Attributes:
        outcomes, blocks: one per item; those of `retry` are replaced by the second try.
        retry: places of the items within the shard.
    """

    task: ShardTask
    outcomes: tuple[Outcome, ...]
    blocks: tuple[Block, ...]
    retry: tuple[int, ...]


def first_pass(task: ShardTask, worker: DecodeWorker, on_item: OnItem) -> StoredShard | PendingShard:
    """Decode all items of a shard, and finish it unless an item must be tried again.

    Args:
        on_item: told each final outcome; not those that are tried again.

    Raises:
        OutputError: the shard file cannot be written.
        SourceError: the source folder is gone.
    """
    path = temporary_path(task, "part")
    with disk_errors(path):
        path.write_bytes(b"")
    known = {place: outcome for place, item in enumerate(task.items) if (outcome := without_frames(item))}
    for outcome in known.values():
        if not outcome.machine_dependent:
            on_item(outcome)
    places = [place for place in range(len(task.items)) if place not in known]
    try:
        decoded = _decode(task, places, path, worker, on_item, factor=1.0)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    outcomes = [known.get(place) or decoded[place] for place in range(len(task.items))]
    blocks, position = [], 0
    for outcome in outcomes:
        blocks.append(Block(path, position, outcome.size_bytes))
        position += outcome.size_bytes
    retry = tuple(place for place, outcome in enumerate(outcomes) if outcome.machine_dependent)
    if retry:
        return PendingShard(task, tuple(outcomes), tuple(blocks), retry)
    return finish_shard(task, outcomes, blocks)


def second_pass(pending: PendingShard, worker: DecodeWorker, on_item: OnItem) -> StoredShard:
    """Try the pending items once more, each alone in `worker`, and finish the shard."""
    task = pending.task
    outcomes, blocks = list(pending.outcomes), list(pending.blocks)
    paths = {block.path for block in blocks if block.path != task.out / task.file}
    try:
        for place in pending.retry:
            path = temporary_path(task, f"retry{place}")
            paths.add(path)
            with disk_errors(path):
                path.write_bytes(b"")
            known = without_frames(task.items[place])
            if known:
                outcomes[place] = known
                on_item(known)
            else:
                factor = task.config.supervision.retry_factor
                outcomes[place] = _decode(task, [place], path, worker, on_item, factor, final=True)[place]
            blocks[place] = Block(path, 0, outcomes[place].size_bytes)
        return finish_shard(task, outcomes, blocks)
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _decode(
    task: ShardTask,
    places: Sequence[int],
    path: Path,
    worker: DecodeWorker,
    on_item: OnItem,
    factor: float,
    final: bool = False,
) -> dict[int, Outcome]:
    limits = task.config.supervision
    work = []
    for place in places:
        item = task.items[place]
        seconds = limits.cpu_seconds + limits.cpu_seconds_per_megabyte * item.size_bytes / 1e6
        work.append(WorkItem(task.first + place, task.keys[place], item, seconds * factor))
    outcomes: dict[int, Outcome] = {}

    def on_outcome(number: int, outcome: Outcome) -> None:
        outcomes[number - task.first] = outcome
        if outcome.row.reason == "unreadable":
            refuse_lost_source(task.source, outcome.row.path)
        if final or not outcome.machine_dependent:
            on_item(outcome)

    worker.run(WorkOrder(path, 0, task.source, task.config, work), on_outcome)
    return outcomes
