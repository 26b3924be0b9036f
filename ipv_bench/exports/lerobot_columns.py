"""Which columns of a LeRobot data set the tracks become, and their values.

A shard set holds the action that led into frame t, LeRobot the one taken at frame t: `action`, `reward` and `success`
move one frame back. The last frame of an episode, at which nothing was done any more, gets zeros there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ipv_bench.errors import ShardSetError
from ipv_bench.tracks import TrackEntry

_SHIFTED: Mapping[str, str] = {"action": "action", "reward": "next.reward", "success": "next.success"}
_RENAMED: Mapping[str, str] = {**_SHIFTED, "state": "observation.state"}
DONE = "next.done"
INDEX_COLUMNS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Column:
    """A column of the data table.

    Attributes:
        name: of the feature.
        dtype: as LeRobot names it.
        shape: of one frame's entry; (1,) for one number.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def feature(self) -> dict[str, object]:
        """Its entry in `info.json`."""
        return {"dtype": self.dtype, "shape": list(self.shape), "names": None}

    def array(self, values: np.ndarray) -> pa.Array:
        """(T, …) as the table stores it: numbers, or nested lists."""
        kind = {"bool": pa.bool_(), "int64": pa.int64(), "uint8": pa.uint8(), "float32": pa.float32()}[self.dtype]
        flat = pa.array(np.ascontiguousarray(values).reshape(-1).astype(self.dtype), kind)
        if self.shape == (1,):
            return flat
        for side in reversed(self.shape):
            flat = pa.FixedSizeListArray.from_arrays(flat, side)
        for_reading = kind
        for _ in self.shape:
            for_reading = pa.list_(for_reading)
        return flat.cast(for_reading)


def track_columns(tracks: Mapping[str, TrackEntry]) -> dict[str, Column]:
    """Track → column.

    Raises:
        ShardSetError: a track has an empty entry, or two would share a column.
    """
    columns: dict[str, Column] = {}
    for name, entry in tracks.items():
        column = _RENAMED.get(name, f"track_{name}" if name in INDEX_COLUMNS else name)
        if 0 in entry.shape:
            raise ShardSetError(
                f"the track {name} has entries of shape {entry.shape}",
                expected="numbers in each frame",
                fix="prepare the set without that track",
            )
        if column in (other.name for other in columns.values()) or column == DONE:
            raise ShardSetError(
                f"the track {name} would become the column {column}, which another one takes",
                expected="one track for each column",
                fix="prepare the set with fewer tracks",
            )
        columns[name] = Column(column, "bool" if name == "success" else entry.dtype, tuple(entry.shape) or (1,))
    return columns


def as_taken(name: str, values: np.ndarray) -> np.ndarray:
    """(T, …) of a track as its column holds them."""
    if name not in _SHIFTED:
        return values
    shifted = np.zeros_like(values)
    shifted[:-1] = values[1:]
    return shifted


def lost(name: str, values: np.ndarray) -> bool:
    """Whether moving the track back loses something: a reward or success at frame 0, before which there is no frame."""
    return name in _SHIFTED and bool(values[0].any())
