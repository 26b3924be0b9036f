"""Tracks: arrays with one entry per frame, beside the frames of a sample (`action`, `reward`, `is_first`, …).

A sample of a labelled set has a third member, `<key>.tracks.npz`: plain arrays that any `numpy.load` reads, never
pickled, float32 or uint8, all with the sample's number of frames as their first side. `action[t]` is the action that
led into frame t, zero at t = 0 of the source video. The manifest lists names, shapes and units, and every sample of a
set has all of them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ipv_bench.bounded_arrays import read_npz
from ipv_bench.bounded_file import ErrorKind
from ipv_bench.errors import InputError
from ipv_bench.npz_file import npz_bytes

TRACKS_EXTENSION = "tracks.npz"
ACTION = "action"
MAX_SIDES, MAX_VALUES = 4, 1 << 20
"""Of one frame's entry in a track: its sides, and its values."""
_ENTRY_BYTES = 4096
"""More than what a `.npz` spends on one array beside its data: two zip headers and the `.npy` header."""

TrackType = Literal["float32", "uint8"]


class TrackEntry(BaseModel):
    """One track in the manifest."""

    model_config = ConfigDict(extra="forbid")

    dtype: TrackType
    shape: Annotated[list[Annotated[int, Field(ge=0, le=MAX_VALUES, strict=True)]], Field(max_length=MAX_SIDES)]
    """Of one frame's entry; `[]` for one number per frame."""
    unit: str = ""
    note: str = ""
    """How it came to be: for `action`, whether it was shifted."""


def tracks_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of `<key>.tracks.npz`: equal arrays, equal bytes (uncompressed, ordered by name, without dates)."""
    return npz_bytes(arrays)


def largest_size(entries: Mapping[str, TrackEntry], num_frames: int) -> int:
    """No tracks member of a sample with `num_frames` frames has more bytes."""
    sizes = (math.prod(entry.shape) * np.dtype(entry.dtype).itemsize for entry in entries.values())
    return sum(num_frames * size + _ENTRY_BYTES for size in sizes) + _ENTRY_BYTES


def parse_tracks(
    data: bytes,
    entries: Mapping[str, TrackEntry],
    num_frames: int,
    where: str,
    *,
    error: ErrorKind = InputError,
    fix: str = "",
) -> dict[str, np.ndarray]:
    """The arrays of one `<key>.tracks.npz`.

    Args:
        data: its bytes.
        entries: what the manifest says of the set's tracks.
        num_frames: of the sample.
        where: for messages.
        error: kind of error to raise.
        fix: what the user can do.

    Returns:
        Name → (num_frames, …), float32 or uint8.

    Raises:
        error: it is no such file, or its arrays are not those that the manifest and the index describe.
    """
    limit = largest_size(entries, num_frames)
    arrays = read_npz(io.BytesIO(data), where=where, error=error, limit=limit, fix=fix)
    if arrays.keys() != entries.keys():
        raise error(f"{where} holds the tracks {', '.join(sorted(arrays)) or 'none'}"[:300],
                    expected=", ".join(sorted(entries)), fix=fix)  # fmt: skip
    for name, entry in entries.items():
        found, shape = arrays[name], (num_frames, *entry.shape)
        if (found.dtype, found.shape) != (np.dtype(entry.dtype), shape):
            raise error(f"{where}: {name} is {found.dtype} {found.shape}", expected=f"{entry.dtype} {shape}", fix=fix)
    return arrays


def fault(arrays: Mapping[str, np.ndarray], first: bool) -> str:
    """What the values of a sample's tracks break of the contract, in words; empty when they keep it.

    Args:
        arrays: name → (T, …), T ≥ 1.
        first: whether the sample begins with frame 0 of its source video.
    """
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            frame = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
            return f"{name} holds NaN or infinity at frame {frame}"
    if first and ACTION in arrays and arrays[ACTION][0].any():
        return "action is not zero at frame 0, into which no action led (taken at each frame? action_time=taken_at)"
    return ""


def select_tracks(entries: Mapping[str, TrackEntry], names: Sequence[str], where: str, error: ErrorKind) -> list[str]:
    """`names`, when the set has all of them.

    Raises:
        error: it has none, or not these; the message says which it has.
    """
    for name in names:
        if name not in entries:
            found = f"the tracks {', '.join(sorted(entries))}" if entries else "no tracks: it is an unlabelled set"
            raise error(
                f"{where} has {found}",
                expected=f"the track {name!r}",
                fix="make a labelled set: `ipv-bench record` and `ipv-bench prepare episodes` (docs/tracks.md)",
            )
    return list(names)
