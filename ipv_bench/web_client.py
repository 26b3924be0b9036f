"""Files of a folder on a web server: byte ranges over connections that are kept, redirects by rule.

Redirects may not lead to another scheme, nor closer: a server on the internet cannot send its readers to their own
machine or network, one in the network not to their own machine. User and password go to the host they were given for
and nowhere else. Safe to use from threads and in forked processes.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from ipv_bench.addresses import public_address
from ipv_bench.file_versions import FileVersions
from ipv_bench.patience import Patience
from ipv_bench.web_connections import WebConnections
from ipv_bench.web_error import WebError
from ipv_bench.web_target import SAFE, Target, parse_target

ANSWER_SECONDS = 120.0
SLOWEST_BYTES_PER_SECOND = 50_000
"""An answer may take `ANSWER_SECONDS`, and longer for what is long at this rate."""
FIRST_PATIENCE_SECONDS, PATIENCE_SECONDS = 2.0, 60.0
"""How long what fails in passing is tried again: a host that nobody has reached yet may not be there at all; one that
answered before, or answers that it is busy, is waited for."""
MAX_REDIRECTS = 5

_REDIRECTS, _PASSING = (301, 302, 303, 307, 308), (429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class _PassingError(Exception):
    """Something that another try may mend, after `wait_seconds` if the server asks for that."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class WebClient:
    """Reads files below one address.

    Args:
        address: `https://[user:password@]host[:port]/folder[?query]`; the query, a signature for instance, is sent with
            every file.

    Attributes:
        versions: of the files that ranges are read of.
        patience_seconds: how long a server that cannot be reached is tried again.

    Raises:
        ValueError: no such address.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._start = parse_target(address)
        parts = urlsplit(address)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._login = {"Authorization": f"Basic {token}"} if user or password else {}
        self.versions, self.patience_seconds = FileVersions(), FIRST_PATIENCE_SECONDS
        self._connections = WebConnections(self._start.host)

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self._address, "versions": self.versions, "patience_seconds": self.patience_seconds}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["address"])  # type: ignore[misc]
        self.versions, self.patience_seconds = state["versions"], state["patience_seconds"]

    def get(self, name: str, limit: int) -> bytes:
        """Contents of a file of at most `limit` bytes.

        Raises:
            WebError: it cannot be read, or is larger.
        """
        return b"".join(self.pieces(name, limit))

    def get_range(self, name: str, start: int, size: int) -> bytes:
        """At most `size` bytes of a file from byte `start` on; fewer where it ends before.

        Raises:
            WebError: it cannot be read, the server does not answer byte ranges, or the file is another one than
                `versions` knows.
        """
        return b"".join(self._pieces(name, size, start))

    def pieces(self, name: str, limit: int) -> Iterator[bytes]:
        """Contents of a file of at most `limit` bytes, piece by piece.

        Raises:
            WebError: it cannot be read, is larger, or was changed while it was read.
        """
        return self._pieces(name, limit, None)

    def _pieces(self, name: str, limit: int, start: int | None) -> Iterator[bytes]:
        """Bytes of a file from `start` on (None: all of it); goes on where an answer was cut off."""
        versions = FileVersions() if start is None else self.versions
        patience, done, failure = Patience(), 0, ""
        while True:
            try:
                for piece in self._answer(name, limit, start, done, versions):
                    done += len(piece)
                    yield piece
                return
            except (OSError, http.client.HTTPException, _PassingError) as error:
                if start is not None and done == limit:
                    return
                failure = _reason(error)
                if not self._is_tried_again(error, patience, done):
                    raise WebError(failure) from None
            except WebError as error:
                if not failure:
                    raise
                raise error.after(failure) from None

    def _is_tried_again(self, error: Exception, patience: Patience, done: int) -> bool:
        """Wait before another try, where there is one."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return False
        if isinstance(error, _PassingError):  # there is a server
            return patience.wait(PATIENCE_SECONDS, done=done, at_least=error.wait_seconds)
        return patience.wait(self.patience_seconds, done=done)

    def _answer(self, name: str, limit: int, start: int | None, done: int, versions: FileVersions) -> Iterator[bytes]:
        """What one answer brings of the bytes that are still missing after `done` of them."""
        first = None if start is None and not done else (start or 0) + done
        last = "" if start is None else start + limit - 1
        headers = {} if first is None else {"Range": f"bytes={first}-{last}"}
        seconds = ANSWER_SECONDS + min(limit, 1 << 40) / SLOWEST_BYTES_PER_SECOND
        with self._request(name, headers, seconds) as response:
            again = start is None and response.status == 200  # all of it, also where a part was asked for
            room, skipped = (limit, done) if again else (limit - done, 0)
            _check_answer(response, room, None if again else first)
            difference = versions.difference(name, _size_of_file(response), response.headers.get("ETag", ""))
            if difference:
                raise WebError(difference, changed=True)
            left = room + 1
            while left > 0 and (piece := response.read(min(left, 1 << 20))):
                left -= len(piece)
                new, skipped = piece[skipped:], max(0, skipped - len(piece))
                if left > 0 and new:
                    yield new
            if left <= 0:
                raise WebError(f"it is longer than {limit:,} bytes")
            if response.length:
                raise _PassingError(f"the answer is cut off {response.length:,} bytes before its end")

    @contextlib.contextmanager
    def _request(self, name: str, headers: dict[str, str], seconds: float) -> Iterator[http.client.HTTPResponse]:
        """The answer that is no redirect."""
        target = self._file(name)
        for _ in range(MAX_REDIRECTS + 1):
            login = self._login if target.origin == self._start.origin else {}
            own = {**headers, **login, "Accept-Encoding": "identity"}
            with self._connections.answer(target, own, seconds) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                response.read(1 << 16)
                target = _redirected(target, response.headers.get("Location", ""))
        raise WebError(f"it is redirected more than {MAX_REDIRECTS} times")

    def _file(self, name: str) -> Target:
        path, mark, query = self._start.path.partition("?")
        return Target(*self._start.origin, f"{path.rstrip('/')}/{quote(name, safe=SAFE)}{mark}{query}")


def _redirected(before: Target, location: str) -> Target:
    shown = public_address(location)[:200]
    try:
        target = parse_target(urljoin(before.url, location))
    except ValueError:
        raise WebError(f"it is redirected to {shown!r}, which is no web address") from None
    if target.scheme != before.scheme:
        raise WebError(f"it is redirected from {before.scheme} to {shown}, another scheme")
    return target


def _check_answer(response: http.client.HTTPResponse, limit: int, start: int | None) -> None:
    status = response.status
    if status in _PASSING:
        asked = response.headers.get("Retry-After", "")
        words = f", and asks to come back later ({asked[:40]})" if asked else ""
        raise _PassingError(f"the server answers {status} {response.reason[:60]}{words}", _seconds_until(asked))
    if status in (404, 410):
        raise WebError(f"the server answers {status}", absent=True)
    if start is not None and status == 200:
        raise WebError("the server does not answer byte ranges", ranges=True)
    if status == 416:
        raise WebError("it ends before the range that was asked for")
    if status != (200 if start is None else 206):
        raise WebError(f"the server answers {status} {response.reason[:60]}")
    if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        raise WebError(f"it comes encoded as {response.headers['Content-Encoding'][:40]!r}, which was not asked for")
    if response.length is not None and response.length > limit:
        raise WebError(f"it has {response.length:,} bytes, more than {limit:,}")
    if start is not None:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start:
            raise WebError("the server answers with another range than was asked for", ranges=True)


def _size_of_file(response: http.client.HTTPResponse) -> int | None:
    """Bytes of the whole file, where the answer says it."""
    if response.status != 206:
        return response.length
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return None if found is None or found[3] == "*" else int(found[3])


def _seconds_until(retry_after: str) -> float:
    """Seconds of a `Retry-After`, which holds a number of them or a date; 0 where it holds neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is no HTTP, or is cut off ({type(error).__name__})"
    return public_address(str(getattr(error, "strerror", None) or error))[:200] or type(error).__name__
