"""The times of frames that a shard set states: `pts_seconds` in the JSON of its samples."""

from __future__ import annotations

import io
import tarfile

import numpy as np

from ipv_bench.bounded_json import parse_json
from ipv_bench.errors import ShardSetError
from ipv_bench.segment_source import SegmentSource
from ipv_bench.shard_store import REPAIR

_MAX_JSON_BYTES = 1 << 28
_BLOCK = tarfile.BLOCKSIZE


class StoredTimes:
    """Times of a set's frames; sets whose frames were not picked by time (`fps`) state none.

    Args:
        source: the set.
    """

    def __init__(self, source: SegmentSource) -> None:
        self._source = source
        self._are_stated = source.manifest.options.get("fps") is not None
        if self._are_stated:
            self._begins = _begins(source)

    def of(self, video: int) -> np.ndarray | None:
        """Seconds, float64 (length,); None where the set states none.

        Raises:
            ShardSetError: the JSON of a sample is damaged.
        """
        if not self._are_stated:
            return None
        samples = self._source.index.video_samples
        rows = self._source.index.sample_rows[samples[video] : samples[video + 1]]
        parts = [part for part in (self._of_sample(int(row)) for row in rows) if part is not None]
        return np.concatenate(parts) if len(parts) == len(rows) else None

    def _of_sample(self, row: int) -> np.ndarray | None:
        source, columns = self._source, self._source.index.columns
        shard = source.manifest.shards[int(columns["shard"][row])].file
        where = f"{source.store.location}: the JSON of sample {row} in {shard}"
        begin, end = int(self._begins[row]), int(columns["stream_offset"][row])
        if not 0 < end - begin <= _MAX_JSON_BYTES:
            raise ShardSetError(f"{where} is not before its stream", expected="a complete shard set", fix=REPAIR)
        text = _first_member(source.store.read_range(shard, begin, end - begin), where)
        facts = parse_json(text, where, error=ShardSetError, expect=dict, fix=REPAIR)
        if "pts_seconds" not in facts:
            return None
        times = facts["pts_seconds"]
        numbers = isinstance(times, list) and all(type(time) in (int, float) and abs(time) < 1e12 for time in times)
        if not numbers or len(times) != columns["num_frames"][row]:
            raise ShardSetError(f"{where}: pts_seconds", expected="a time of each frame", fix=REPAIR)
        return np.array(times, np.float64)


def _begins(source: SegmentSource) -> np.ndarray:
    """(num_samples,) where each sample's first member begins: behind the sample before it in its shard."""
    columns = {name: values.astype(np.int64) for name, values in source.index.columns.items() if name != "fps"}
    ends = columns["stream_offset"] + columns["stream_size"]
    if source.manifest.tracks:
        ends = np.maximum(ends, columns["tracks_offset"] + columns["tracks_size"])
    order = np.lexsort((columns["stream_offset"], columns["shard"]))
    begins = np.zeros(len(order), np.int64)
    follows = columns["shard"][order[1:]] == columns["shard"][order[:-1]]
    begins[order[1:]] = np.where(follows, -(-ends[order[:-1]] // _BLOCK) * _BLOCK, 0)
    return begins


def _first_member(data: bytes, where: str) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            member = tar.next()
            file = tar.extractfile(member) if member is not None and member.name.endswith(".json") else None
            if file is not None:
                return file.read()
    except tarfile.TarError as error:
        raise ShardSetError(f"{where} cannot be read: {error}", expected="a complete shard set", fix=REPAIR) from error
    raise ShardSetError(f"{where} is not there", expected="<key>.json before the stream", fix=REPAIR)
