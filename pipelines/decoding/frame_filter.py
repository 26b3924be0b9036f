"""Filters of libavfilter, one after another, for the frames of one video."""

from __future__ import annotations

from fractions import Fraction

import av
import av.filter


class FrameFilter:
    """A chain of filters for frames of one size and format.

    Args:
        frame: the first frame.
        filters: name and arguments of each.

    Raises:
        FFmpegError: the filters do not take such frames; the call raises it too.
    """

    def __init__(self, frame: av.VideoFrame, *filters: tuple[str, str]) -> None:
        self._key = self._key_of(frame, filters)
        self._graph = av.filter.Graph()
        source = self._graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(frame.time_base or Fraction(1, 1000)),
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
        chain = [self._graph.add(name, arguments) for name, arguments in filters]
        self._graph.link_nodes(source, *chain, self._graph.add("buffersink")).configure()

    def fits(self, frame: av.VideoFrame, *filters: tuple[str, str]) -> bool:
        """Whether a chain of these filters for this frame would be the same."""
        return self._key == self._key_of(frame, filters)

    @staticmethod
    def _key_of(frame: av.VideoFrame, filters: tuple[tuple[str, str], ...]) -> tuple[object, ...]:
        return filters, frame.height, frame.width, frame.format.name, int(frame.colorspace), int(frame.color_range)

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        self._graph.push(frame)
        out = self._graph.pull()
        assert isinstance(out, av.VideoFrame)
        return out
