"""Times of frames that never run backwards, whatever the file's clock does."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

BACKWARDS_SECONDS = Fraction(1, 10)
"""A step back by more than this is a clock that starts again; a smaller one is jitter. ffmpeg's program uses it too."""
JUMP_SECONDS = 10
"""A jump ahead by more than this is noted; in broadcast formats, whose clocks may change at any time, it is closed.
ffmpeg's program uses it too (`dts_delta_threshold`)."""

BROADCAST = frozenset({"mpegts", "mpeg", "mpegtsraw"})
"""Formats whose clocks may be discontinuous."""

_REORDERED = frozenset({"h264", "hevc"})
"""Codecs whose pictures' order of showing only their decoders know, not readers of files."""


class StatedTimes:
    """The times that a file states for the frames of one video stream, in units of its time base.

    AVI states none of showing, only an order of decoding: where pictures are reordered, the times that come with
    decoded frames are scrambled, and those of the packets that brought them forth are not.

    Args:
        stream: the video stream.
    """

    def __init__(self, stream: Any) -> None:
        context = stream.codec_context
        is_avi = stream.container.format.name == "avi"
        self.by_packets: bool = is_avi and context.name in _REORDERED and context.has_b_frames
        """Whether they are those of packets: late by what the decoder holds back."""
        rate, base = stream.average_rate or stream.guessed_rate, stream.time_base
        self._step = max(1, round(1 / (rate * base))) if rate and base else 1
        self._last: int | None = None

    def __call__(self, frame: Any) -> int | None:
        """Time of the next decoded frame; None where the file states none."""
        pts: int | None = frame.pts
        if not self.by_packets:
            return pts
        if frame.dts is not None:
            self._last = frame.dts
        else:  # the decoder's last ones
            self._last = pts if self._last is None else self._last + self._step
        return self._last


class Clock:
    """Times of the frames of one video stream, in seconds; they never decrease.

    A frame without a time follows the one before by the stream's frame duration. After a clock that starts again, the
    frame follows the one before likewise, and all later ones keep their distance to it.

    Args:
        stream: the video stream.
        exact: give fractions: picking frames by time must not depend on rounding. They cost 3 % of the decoding.
    """

    def __init__(self, stream: Any, exact: bool) -> None:
        rate = stream.average_rate or stream.guessed_rate
        step = 1 / Fraction(rate) if rate else Fraction(0)
        base = stream.time_base or Fraction(1, av.time_base)
        self._step: Fraction | float = step if exact else float(step)
        self._base: Fraction | float = base if exact else float(base)
        self._shift: Fraction | float = 0 * self._step
        self._last: Fraction | float | None = None
        self._closes_jumps = stream.container.format.name in BROADCAST
        self.notes: dict[str, int] = {}
        """What was odd: how often each."""

    def time(self, pts: int | None) -> Fraction | float:
        """Time of the next frame.

        Args:
            pts: as the file states it, in units of the stream's time base; None where it states none.
        """
        self._last = self._first(pts) if self._last is None else self._next(pts, self._last)
        return self._last

    def _first(self, pts: int | None) -> Fraction | float:
        if pts is None:
            self._note("frames_without_time")
            return 0 * self._step
        return pts * self._base

    def _next(self, pts: int | None, last: Fraction | float) -> Fraction | float:
        if pts is None:
            self._note("frames_without_time")
            return last + self._step
        time = pts * self._base + self._shift
        if last <= time <= last + JUMP_SECONDS:
            return time
        if time > last:
            self._note("jumps_ahead")
            return self._go_on(time, last) if self._closes_jumps else time
        if time < last - BACKWARDS_SECONDS:
            self._note("clock_restarts")
            return self._go_on(time, last)
        self._note("times_out_of_order")
        return last

    def _go_on(self, time: Fraction | float, last: Fraction | float) -> Fraction | float:
        self._shift += last + self._step - time
        return last + self._step

    def _note(self, what: str) -> None:
        self.notes[what] = self.notes.get(what, 0) + 1
