"""A shard on disk: blocks joined to a tar, and the sidecar that resume reads.

The tar is written under a temporary name, fsynced and renamed; then the sidecar, in the same way. A shard without its
sidecar does not count.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipv_bench.atomic_file import TEMPORARY_SUFFIX, disk_errors, fsync_folder, write_bytes
from ipv_bench.bounded_file import is_disk_fault
from ipv_bench.bounded_json import read_json
from ipv_bench.errors import InputError, ShardSetError
from ipv_bench.shard_set import FRAMES_FILE, MANIFEST_FILE, QUARANTINE_FILE, SAMPLES_FILE, SOURCES_FILE, file_sha256
from pipelines.datasets.base import SourceRow
from pipelines.shards.plan import ShardTask
from pipelines.shards.sample_block import TAR_BLOCK, Outcome, SampleEntry
from pipelines.shards.versions import versions

SET_FILES = (SOURCES_FILE, SAMPLES_FILE, FRAMES_FILE, QUARANTINE_FILE, MANIFEST_FILE)
"""What is written once all shards are finished."""

_RECORD = 10240  # tar files are padded to whole records


@dataclass(frozen=True)
class Block:
    """Where the bytes of one item lie."""

    path: Path
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class StoredShard:
    """A finished shard, as its sidecar tells it.

    Attributes:
        item_hashes: of the task that made it.
        outcomes: one per item, in order.
        offsets: of each item's block in the tar.
        versions: of what made it.
    """

    file: str
    item_hashes: tuple[str, ...]
    options: dict[str, Any]
    size_bytes: int
    sha256: str
    outcomes: tuple[Outcome, ...]
    offsets: tuple[int, ...]
    versions: dict[str, str]


def temporary_path(task: ShardTask, purpose: str) -> Path:
    """An unfinished file of this attempt: never shared, and removed by the next run when it is left over."""
    return task.out / f".{task.file}.{purpose}-{os.urandom(8).hex()}{TEMPORARY_SUFFIX}"


def remove_leftovers(out: Path) -> None:
    """Delete unfinished files of interrupted runs: of shards, whatever the set was to be called, and of the tables and
    the manifest."""
    for start in (f"*-{'[0-9]' * 6}.", *(f"{file}." for file in SET_FILES)):
        for path in out.glob(f".{start}*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)


def finish_shard(task: ShardTask, outcomes: Sequence[Outcome], blocks: Sequence[Block]) -> StoredShard:
    """Join the blocks to the tar and write the sidecar.

    Args:
        outcomes, blocks: one per item of the task; blocks of items that were not written are empty. The file of the
            blocks becomes the tar when they fill it in order; otherwise they are copied.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
    """
    final = task.out / task.file
    size_bytes = sum(block.size_bytes for block in blocks)
    with disk_errors(final):
        temporary = _in_place(blocks) or _joined(task, blocks)
        with open(temporary, "r+b") as file:
            file.truncate(size_bytes)
            file.seek(size_bytes)
            file.write(bytes(2 * TAR_BLOCK + -(size_bytes + 2 * TAR_BLOCK) % _RECORD))
            file.flush()
            os.fsync(file.fileno())
        sha256 = file_sha256(temporary)
        size_bytes = temporary.stat().st_size
        os.replace(temporary, final)
        fsync_folder(task.out)
    offsets, position = [], 0
    for block in blocks:
        offsets.append(position)
        position += block.size_bytes
    shard = StoredShard(
        task.file,
        task.item_hashes,
        task.options,
        size_bytes,
        sha256,
        tuple(outcomes),
        tuple(offsets),
        versions(task.config),
    )
    write_bytes(task.sidecar, _to_json(shard))
    return shard


def _in_place(blocks: Sequence[Block]) -> Path | None:
    """The blocks' file, when it is temporary and they fill it in order without gaps."""
    position, path = 0, None
    for block in blocks:
        path = path or block.path
        if block.size_bytes and (block.path != path or block.offset != position):
            return None
        position += block.size_bytes
    return path if path is not None and path.name.endswith(TEMPORARY_SUFFIX) else None


def _joined(task: ShardTask, blocks: Sequence[Block]) -> Path:
    target = temporary_path(task, "joined")
    with open(target, "wb") as out:
        for block in blocks:
            if not block.size_bytes:
                continue
            with open(block.path, "rb") as file:
                file.seek(block.offset)
                left = block.size_bytes
                while left:
                    piece = file.read(min(left, 1 << 20))
                    assert piece, f"{block.path} ends before its block"
                    out.write(piece)
                    left -= len(piece)
    return target


def _to_json(shard: StoredShard) -> bytes:
    outcomes = []
    for outcome in shard.outcomes:
        samples = [_sample_values(sample) for sample in outcome.samples]
        outcomes.append({**vars(outcome), "row": vars(outcome.row), "samples": samples})
    values = {**vars(shard), "outcomes": outcomes}  # `asdict` would copy all that is in it
    return (json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _sample_values(sample: SampleEntry) -> dict[str, Any]:
    values = {**vars(sample), "frame_offsets": sample.frame_offsets.tolist()}
    if not sample.tracks_size:  # sets without tracks are what they were before there were any
        del values["tracks_offset"], values["tracks_size"]
    return values


def read_sidecar(path: Path) -> StoredShard | None:
    """The finished shard that a sidecar tells of; None when there is none, or when it is damaged.

    Raises:
        ShardSetError: the disk answers with an error: nobody knows whether it is finished.
    """
    try:
        values = read_json(path, error=ShardSetError, expect=dict)
        outcomes = tuple(_outcome(outcome) for outcome in values.pop("outcomes"))
        offsets, hashes = tuple(values.pop("offsets")), tuple(values.pop("item_hashes"))
        shard = StoredShard(**values, outcomes=outcomes, offsets=offsets, item_hashes=hashes)
    except (InputError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        if is_disk_fault(error):
            raise
        return None
    # What it calls the tar is not followed anywhere: a sidecar stands beside its own.
    return shard if shard.file == path.with_suffix(".tar").name and _is_consistent(shard) else None


def _is_consistent(shard: StoredShard) -> bool:
    sizes = [outcome.size_bytes for outcome in shard.outcomes]
    numbers = [shard.size_bytes, *shard.offsets, *sizes]
    return (
        isinstance(shard.options, dict)
        and isinstance(shard.versions, dict)
        and len(shard.outcomes) == len(shard.offsets) == len(shard.item_hashes)
        and all(type(number) is int and number >= 0 for number in numbers)
        and all(start + size <= shard.size_bytes for start, size in zip(shard.offsets, sizes, strict=True))
    )


def _outcome(values: dict[str, Any]) -> Outcome:
    samples = []
    for sample in values["samples"]:
        samples.append(SampleEntry(**{**sample, "frame_offsets": array("I", sample["frame_offsets"])}))
    return Outcome(SourceRow(**values["row"]), tuple(samples), values["size_bytes"], values["machine_dependent"])


def is_intact(shard: StoredShard, out: Path, check_hash: bool) -> bool:
    """Whether the tar is there as its sidecar says: by size, or by every byte."""
    path = out / shard.file
    if not path.is_file() or path.stat().st_size != shard.size_bytes:
        return False
    return not check_hash or file_sha256(path) == shard.sha256
