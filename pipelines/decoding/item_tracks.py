"""The tracks of one source item: read once, whole, and handed out sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ipv_bench.tracks import ACTION, fault
from pipelines.datasets.base import TrackFile, TrackRows
from pipelines.datasets.episode_tracks import as_track, read_members
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import check_file, system_errors

FIRST = "is_first"


class ItemTracks:
    """The arrays of a `TrackFile` or `TrackRows`, in their stored types and shifted where the source says so.

    Args:
        tracks: of the item.
        source: the folder that its path is relative to.

    Raises:
        SourceFailure: `bad_annotation` when an array is absent, pickled, of another type, shape or length than the
            set's, or holds what the contract forbids; `corrupt` when the file cannot be read.
    """

    def __init__(self, tracks: TrackFile | TrackRows, source: Path) -> None:
        found = _read(tracks, source)
        self._arrays: dict[str, np.ndarray] = {}
        for spec in tracks.specs:
            values = as_track(spec, found[spec.name])
            self._arrays[spec.name] = _shifted(values) if spec.name in tracks.taken_at else values

    def check_length(self, num_frames: int) -> None:
        """Refuse tracks that have not one entry per frame of the source.

        Raises:
            SourceFailure: `bad_annotation`.
        """
        for name, values in self._arrays.items():
            if len(values) != num_frames:
                raise SourceFailure("bad_annotation", f"{name} has {len(values)} entries for {num_frames} frames")

    def of_frames(self, positions: Sequence[int], first: bool) -> dict[str, np.ndarray]:
        """The entries of some frames.

        Args:
            positions: of the frames in the source.
            first: whether they begin the stored video: nothing that is stored led into the first of them then.

        Raises:
            SourceFailure: `bad_annotation`.
        """
        for name, values in self._arrays.items():
            if positions[-1] >= len(values):
                raise SourceFailure("bad_annotation", f"{name} has {len(values)} entries, there are more frames")
        part = {name: values[list(positions)] for name, values in self._arrays.items()}
        if first and positions[0]:  # the frames before were left out on purpose
            if ACTION in part:
                part[ACTION][0] = 0
            if FIRST in part:
                part[FIRST][0] = 1
        wrong = fault(part, first)
        if wrong:
            raise SourceFailure("bad_annotation", wrong)
        return part


def _read(tracks: TrackFile | TrackRows, source: Path) -> dict[str, np.ndarray]:
    if isinstance(tracks, TrackRows):
        from pipelines.decoding.table_rows import read_track_columns

        return read_track_columns(tracks, source)
    path = source / tracks.path
    check_file(path)
    with system_errors():
        return read_members(path, [spec.name for spec in tracks.specs])


def _shifted(values: np.ndarray) -> np.ndarray:
    """(T, …) of what was done at frame t → of what led into frame t, zero at t = 0."""
    shifted = np.zeros_like(values)
    shifted[1:] = values[:-1]
    return shifted
