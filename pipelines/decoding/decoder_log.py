"""The decoders' own messages: every one is heard, in any process.

PyAV is silent until a level is set, and drops a message that equals the last one of the whole process: of eight files
that are damaged in the same way only the first would be heard. Both are set here each time, so a verdict never depends
on what this process imported or decoded before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import av.logging


class Message(NamedTuple):
    """A line of a decoder or demuxer, of level "error".

    Attributes:
        component: who says it: name of the codec (`h264`) or of the container's reader (`matroska,webm`).
        text: without its trailing newline.
    """

    component: str
    text: str


class DecoderLog:
    """Messages since the last `take`."""

    def __init__(self, lines: list[tuple[int, str, str]]) -> None:
        self.lines = lines
        """As they came; empty most of the time, so that looking at them costs little."""
        self.last = ""
        """Text of the last message, empty without any."""

    def take(self) -> list[Message]:
        """All messages that were not taken yet, in order; memory stays flat however many a file causes."""
        taken = [Message(name, text.strip()) for _, name, text in self.lines]
        self.lines.clear()
        if taken:
            self.last = taken[-1].text
        return taken


@contextmanager
def listening() -> Iterator[DecoderLog]:
    """Hear all error messages of this thread's decoders."""
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    with av.logging.Capture(local=True) as lines:
        yield DecoderLog(lines)
