"""stdout and stderr that never stop the work: ASCII terminals, closed streams, a full disk, `| head`.

The exit status says what happened to the work; a reader that went away is no failure of it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from ipv_bench.addresses import without_credentials

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text for a person: without credentials, control characters and what turns the direction of writing.

    Names and messages in it may come from files that somebody else made; `\\x1b` would speak to the terminal.
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], without_credentials(text))


class SteadyStream(io.TextIOBase):
    """A text stream whose writing never raises: characters that it cannot show are written as escapes, and once it is
    gone nothing more is written."""

    def __init__(self, stream: TextIO | None, number: int) -> None:
        self._stream, self._number = stream, number
        if stream is None:  # Python sets it so when the program was started with the stream closed
            return
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None and getattr(stream, "errors", "") == "strict":
            with contextlib.suppress(ValueError, OSError):
                reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write text; never raises."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._write_escaped(text)
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush; never raises."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def close(self) -> None:
        """Let go of the stream underneath, which belongs to somebody else; also called when this one is forgotten."""
        self._stream = None

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """File descriptor of the stream underneath.

        Raises:
            OSError: it has none.
        """
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream underneath."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What happens to characters that the encoding lacks."""
        return "backslashreplace"

    def _write_escaped(self, text: str) -> None:
        self.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))

    def _lose(self, error: Exception) -> None:
        """Write nowhere from now on, and let what waits in the buffer go nowhere as well."""
        stream, self._stream = self._stream, None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())  # type: ignore[union-attr]
            os.close(null)
        if self._number == 1 and not isinstance(error, BrokenPipeError):
            reason = getattr(error, "strerror", None) or error
            sys.stderr.write(f"warning: the output cannot be written ({reason}); the work goes on\n")


@contextlib.contextmanager
def steady_streams() -> Iterator[None]:
    """Put steady streams in place of `sys.stdout` and `sys.stderr` while a command runs."""
    _occupy_standard_numbers()
    before = sys.stdout, sys.stderr
    sys.stderr = SteadyStream(sys.stderr, 2)
    sys.stdout = SteadyStream(sys.stdout, 1)
    try:
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        sys.stdout, sys.stderr = before


def _occupy_standard_numbers() -> None:
    """Let closed descriptors 0, 1 and 2 lead nowhere: the next file that is opened would become "stdout"."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
