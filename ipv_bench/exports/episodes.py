"""What is exported: whole videos or episodes, one after another, with their tracks and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ipv_bench.tracks import TrackEntry


@dataclass(frozen=True)
class EpisodeFacts:
    """One episode before its frames are read.

    Attributes:
        number: in its source.
        source_id: what it is called there.
        length: in frames.
        label: class, task or empty.
        split: empty where none is named.
    """

    number: int
    source_id: str
    length: int
    label: str
    split: str


class EpisodeSource(Protocol):
    """Episodes of one frame size with the same tracks.

    Attributes:
        location: for messages and cards.
        episodes: all of them, in order.
        size: height and width of the frames.
        rates: frame rates that the episodes state, 0 for those that state none; empty where none does.
        tracks: what each episode has beside its frames.
        licence: of what the frames were made from, in words.
        left_out: sentences about episodes that cannot be read and are not in `episodes`.
    """

    location: str
    episodes: list[EpisodeFacts]
    size: tuple[int, int]
    rates: list[float]
    tracks: dict[str, TrackEntry]
    licence: str
    left_out: list[str]

    def frames(self, episode: EpisodeFacts) -> Iterator[np.ndarray]:
        """The frames in order, each uint8 (H, W, 3)."""

    def read_tracks(self, episode: EpisodeFacts) -> dict[str, np.ndarray]:
        """Name → (length, …), as the contract of tracks says: `action[t]` led into frame t."""

    def read_times(self, episode: EpisodeFacts) -> np.ndarray | None:
        """Seconds of each frame, float64 (length,), None where the source states no times."""
