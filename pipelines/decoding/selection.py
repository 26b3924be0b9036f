"""Which decoded frames are kept: by position, by stride, or by timestamp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from ipv_bench.errors import ConfigError
from pipelines.datasets.base import ArrayFile, FrameSelection, ImageFiles, SourceItem, TablePictures
from pipelines.datasets.prepare_config import PrepareConfig

_JITTER = Fraction(1, 1000)
"""Timestamps in milliseconds (WebM) are rounded: 0.2 s may be written 0.1999."""


_TIMELESS = (ImageFiles, ArrayFile, TablePictures)
"""Frames without times: they have those that the item's rate gives them."""


def selection_of(item: SourceItem, config: PrepareConfig) -> FrameSelection:
    """The item's own selection, or the config's."""
    return item.selection or FrameSelection(config.skip_frames, config.frame_stride, config.fps)


def without_rate(item: SourceItem, config: PrepareConfig) -> SourceItem:
    """The item, with a problem where frames are to be picked by time and have none.

    All of them would be kept otherwise, and called so many per second.
    """
    if item.excluded or item.problem or item.fps or not isinstance(item.frames, _TIMELESS):
        return item
    selection = selection_of(item, config)
    if not selection.fps or selection.positions is not None:
        return item
    message = f"it states no rate: fps={selection.fps:g} cannot be followed; {_other_ways(config)}"
    return replace(item, frames=None, problem=("bad_annotation", message))


def refuse_unknown_rates(items: Sequence[SourceItem], config: PrepareConfig) -> None:
    """Refuse to pick frames by time in a release that has no times at all.

    Where other items have them, those that have none are quarantined: see `without_rate`.

    Raises:
        ConfigError: all that could be decoded are pictures or arrays of unknown rate.
    """
    usable = [item for item in items if not item.excluded and not item.problem]
    if usable and all(without_rate(item, config) is not item for item in usable):
        raise ConfigError(
            f"fps={selection_of(usable[0], config).fps:g}, and the {len(usable)} source items of pictures state no "
            f"rate of their own, such as {usable[0].source_id}",
            expected="times by which frames can be picked",
            fix=_other_ways(config),
        )


def _other_ways(config: PrepareConfig) -> str:
    says = "say the rate of pictures with `--set source_fps=30`, or " if hasattr(config, "source_fps") else ""
    return f"{says}keep every N-th frame with `--set frame_stride=N` in place of fps"


def places_in_time(numbers: Sequence[int]) -> Sequence[int]:
    """When each of some numbered frames was taken, in frames since the first: what a gap lacks took its time too.

    The step from one frame to the next is the smallest one. Numbers that are no multiples of it apart count nothing
    that is known, and take their places.
    """
    steps = {after - before for before, after in pairwise(numbers)}
    step = min(steps, default=0)
    if step < 1 or any(other % step for other in steps):
        return range(len(numbers))
    return [(number - numbers[0]) // step for number in numbers]


def exact_rate(fps: float) -> Fraction:
    """The rate that a number stands for: 30000/1001 for 29.97002997…, else the number as it is written."""
    simple = Fraction(fps).limit_denominator(1001)  # rates in files are rounded, 29.970029 for example
    # 1/30 is not 0.03333: what is off by more than rounding is another rate
    return simple if abs(simple - Fraction(fps)) < Fraction(fps) / 10**7 else Fraction(str(fps))


class FrameSelector:
    """Decides frame by frame, in decoded order.

    Args:
        selection: what is kept.
    """

    def __init__(self, selection: FrameSelection) -> None:
        self._selection = selection
        self._positions = frozenset(selection.positions) if selection.positions is not None else None
        self._fps = exact_rate(selection.fps) if selection.fps else None
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
