"""Are recorded actions of a size that networks take? They come in the units of whoever recorded them.

Legend: `A` size of an action, `n` steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ipv_bench.progress import say_aside
from ipv_bench.segment_source import SegmentSource
from ipv_bench.tracks import ACTION

LARGEST, SMALLEST = 3.0, 0.05
"""Standard deviations, and for what never changes the value, between which nothing is said: [-1, 1] evenly filled has
0.58, a unit Gaussian 1."""
MOST_VIDEOS, MOST_REMOTE = 1000, 64
"""Videos of a set whose actions are looked at; of a remote set each waits for the network."""
MOST_SHOWN = 8
"""Components that a warning has the ranges of."""


@dataclass(frozen=True)
class ActionScale:
    """What the actions of a set's training videos are like, by component.

    Attributes:
        location: folder or address of the set.
        videos: how many were looked at.
        low, high, std: (A,) each.
    """

    location: str
    videos: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    std: NDArray[np.float64]

    def far(self) -> list[int]:
        """Components that are far from [-1, 1]."""
        unknown = ~np.isfinite(self.low + self.high + self.std)
        constant = self.high == self.low
        small = ~constant & (self.std < SMALLEST)
        return np.flatnonzero(
            unknown | small | (self.std > LARGEST) | (constant & (np.abs(self.low) > LARGEST))
        ).tolist()

    def warning(self) -> str:
        """What is far from [-1, 1], with its range, and what to do, or that nothing changes; or empty."""
        if np.array_equal(self.low, self.high):
            return (
                f"warning: the actions in {self.location} never change ({self.videos} training videos): nothing can be "
                "learned of what they do. See that the files that the set is made of hold the actions that were taken"
            )
        far = self.far()
        if not far:
            return ""
        shown = "; ".join(
            f"component {n} from {self.low[n]:.3g} to {self.high[n]:.3g}, standard deviation {self.std[n]:.3g}"
            for n in far[:MOST_SHOWN]
        )
        more = f"; and {len(far) - MOST_SHOWN} more" if len(far) > MOST_SHOWN else ""
        return (
            f"warning: {len(far)} of {len(self.low)} components of the actions in {self.location} are far from [-1, 1] "
            f"({self.videos} training videos): {shown}{more}. The model is given them as they are: of large ones it "
            "learns badly, and small ones it hardly sees. Bring `action` to about [-1, 1] in the files that the set is "
            "made of, prepare it anew, and keep the factors for what will act"
        )


def action_scale(source: SegmentSource) -> ActionScale:
    """Of the videos of a set that are trained on, or of so many of them, evenly taken.

    Raises:
        ShardSetError: it has no actions, or is damaged.
    """
    most = MOST_REMOTE if source.store.waits else MOST_VIDEOS
    videos = source.videos[np.unique(np.linspace(0, len(source.videos) - 1, most).round().astype(np.int64))]
    found = []
    for video in videos.tolist():
        action = source.tracks(video, 0, int(source.index.video_frames[video]), (ACTION,))[ACTION]
        found.append(action[1:])  # none led into the first frame
    values = np.concatenate(found).astype(np.float64)  # (n, A)
    return ActionScale(source.store.location, len(videos), values.min(0), values.max(0), values.std(0))


def tell_action_scale(sources: Iterable[SegmentSource]) -> None:
    """Warn of sets whose actions are far from [-1, 1]. Nothing is scaled: a model's results stay what they are.

    Raises:
        ShardSetError: see `action_scale`.
    """
    for source in sources:
        warning = action_scale(source).warning()
        if warning:
            say_aside(warning)
