"""Which decoded frames are kept: by position, by stride, or by timestamp."""

from __future__ import annotations

from fractions import Fraction

from pipelines.datasets.base import FrameSelection, SourceItem
from pipelines.datasets.prepare_config import PrepareConfig

_JITTER = Fraction(1, 1000)
"""Timestamps in milliseconds (WebM) are rounded: 0.2 s may be written 0.1999."""


def selection_of(item: SourceItem, config: PrepareConfig) -> FrameSelection:
    """The item's own selection, or the config's."""
    return item.selection or FrameSelection(config.skip_frames, config.frame_stride, config.fps)


class FrameSelector:
    """Decides frame by frame, in decoded order.

    Args:
        selection: what is kept.
    """

    def __init__(self, selection: FrameSelection) -> None:
        self._selection = selection
        self._positions = frozenset(selection.positions) if selection.positions is not None else None
        self._fps = Fraction(selection.fps).limit_denominator(1001) if selection.fps else None
        self._start: Fraction | float | None = None
        self._last_interval = -1

    @property
    def by_time(self) -> bool:
        """Whether frames are picked by their timestamps."""
        return self._fps is not None and self._positions is None

    def keeps(self, position: int, time: Fraction | float) -> bool:
        """Whether the frame at 0-based `position` and `time` (seconds, exact when `by_time`) is kept."""
        if self._positions is not None:
            return position in self._positions
        if position < self._selection.first:
            return False
        if self._fps is None:
            return (position - self._selection.first) % self._selection.stride == 0
        if self._start is None:
            self._start = time
        interval = int((time - self._start + _JITTER) * self._fps)
        if interval <= self._last_interval:
            return False
        self._last_interval = interval
        return True

    def kept_fps(self, fps: float) -> float:
        """Frames per second of the kept frames of a source with `fps`; 0 where unknown."""
        if self._positions is not None:
            return 0.0
        if self._fps is not None:
            return min(float(self._fps), fps) if fps else float(self._fps)
        return fps / self._selection.stride
