"""Random access to a file's bytes, with few system calls for neighbouring places."""

from __future__ import annotations

import os
from typing import BinaryIO

_WINDOW = 1 << 16


class SourceBytes:
    """A file as bytes.

    Args:
        file: open for reading.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file.fileno()
        self.size_bytes = os.fstat(self._file).st_size
        self._start, self._window = 0, b""

    def at(self, position: int, length: int) -> bytes:
        """Up to `length` bytes from `position`; fewer at the end of the file."""
        offset = position - self._start
        if offset < 0 or offset + length > len(self._window):
            self._start, self._window = position, os.pread(self._file, max(length, _WINDOW), position)
            offset = 0
        return self._window[offset : offset + length]

    def stream(self, position: int, length: int) -> bytes:
        """As `at`, for long stretches: nothing is kept."""
        return os.pread(self._file, length, position)

    def is_text_from(self, position: int) -> bool:
        """Whether only text follows: bytes behind the last element that are nobody's."""
        while position < self.size_bytes:
            piece = self.stream(position, 1 << 20)
            if not piece.isascii() or b"\0" in piece or not piece:
                return False
            position += len(piece)
        return True
