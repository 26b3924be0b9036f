"""Whether sources were replaced since they were planned, by their modification times: cheap, and a warning only.

A file that is replaced by another of the same size changes nothing in the plan. Its time may tell; but times are facts
of a machine, not of the input, so they stand in `prepare_log.jsonl`, outside the set's identity. `verify --source`
compares the contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ipv_bench.bounded_json import MAX_LINE_BYTES, parse_json
from ipv_bench.errors import InputError
from ipv_bench.shard_set import LOG_FILE, SOURCE_EVENT, noted_source
from pipelines.datasets.base import (
    ArrayFile,
    ImageFiles,
    Inventory,
    SourceItem,
    TablePictures,
    TableVideo,
    TrackFile,
    TrackRows,
    VideoFile,
    VideoRange,
)
from pipelines.jobs.resume import note

_EVENT = "source_file_times"
"""Until track files counted too, the event was `source_times`: those sums are not comparable."""
_MODULUS = 1 << 62
NAMED = 3
"""Changed items that the warning names."""


def source_times(inventory: Inventory, source: Path) -> list[int]:
    """A number for each item that changes with the modification time of any of its files; 0 without files.

    Args:
        inventory: of the release.
        source: the folder that its paths are relative to.
    """
    if inventory.archive:
        whole = _sum(source / piece for piece in inventory.archive)
        return [whole if item.frames is not None else 0 for item in inventory.items]
    return [_sum(source / path for path in item_files(item)) for item in inventory.items]


def item_files(item: SourceItem) -> Iterator[str]:
    """Paths of the files that an item's frames and tracks are read from, relative to the source folder."""
    paths = list(_frame_files(item))
    if isinstance(item.tracks, TrackFile):
        paths.append(item.tracks.path)
    elif isinstance(item.tracks, TrackRows):
        paths.append(item.tracks.rows.path)
    yield from dict.fromkeys(paths)


def _frame_files(item: SourceItem) -> Iterator[str]:
    if isinstance(item.frames, VideoFile | VideoRange | ArrayFile):
        yield item.frames.path
    elif isinstance(item.frames, TablePictures | TableVideo):
        yield item.frames.rows.path
    elif isinstance(item.frames, ImageFiles):
        for name in item.frames.names:
            yield f"{item.frames.folder}/{name}" if item.frames.folder else name


def _sum(paths: Iterator[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_mtime_ns
        except OSError:
            total += 1
    return total % _MODULUS


def note_times(out: Path, times: Sequence[int], settled: Sequence[bool]) -> None:
    """Note the times of the items that are still to be decoded; those of settled items stay as they were planned.

    Args:
        out: folder of the shard set, locked.
        times: of `source_times`, now.
        settled: whether an item is in a finished shard, and stays as it is.
    """
    before = _noted(out)
    planned = list(times)
    if before is not None and len(before) == len(times):
        planned = [old if done else new for old, new, done in zip(before, times, settled, strict=True)]
    if planned != before:
        note(out, event=_EVENT, times=planned)


def num_planned(out: Path) -> int | None:
    """Source items that the job in a folder was begun with; None where its log does not say."""
    noted = _noted(out)
    return None if noted is None else len(noted)


def changed_since_noted(out: Path, times: Sequence[int]) -> list[int]:
    """Places of the items whose files changed since they were planned: before this run, or during it."""
    planned = _noted(out)
    if planned is None or len(planned) != len(times):
        return []
    return [place for place, time in enumerate(times) if planned[place] != time]


def changed_warning(inventory: Inventory, changed: Sequence[int]) -> str:
    """A line for the user."""
    names = ", ".join(inventory.items[place].path for place in changed[:NAMED])
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return (
        f"{len(changed)} source items have other modification times than when they were planned ({names}{more}); what "
        "is stored was not made anew: `ipv-bench verify --source DIR` compares it with the files"
    )


def note_source(out: Path, source: Path) -> None:
    """Note where the release lies, for `ipv-bench trace`; a fact of this machine, so no part of the set's identity."""
    if noted_source(out) != str(source):
        note(out, event=SOURCE_EVENT, path=str(source))


def _noted(out: Path) -> list[int] | None:
    """The last times in the log; None without any. Lines that are no such thing are passed over."""
    found = None
    try:
        with open(out / LOG_FILE, "rb") as log:
            while line := log.readline(MAX_LINE_BYTES):
                if f'"{_EVENT}"'.encode() in line:
                    found = _times(line) or found
    except OSError:
        return None
    return found


def _times(line: bytes) -> list[int] | None:
    try:
        values = parse_json(line, LOG_FILE, expect=dict)
    except InputError:
        return None
    times = values.get("times") if values.get("event") == _EVENT else None
    is_list = isinstance(times, list) and all(type(time) is int for time in times)
    return times if is_list else None
