"""Files of a folder on a web server: byte ranges over connections that are kept, redirects by rule.

Redirects may not lead to another scheme, nor closer: a server on the internet cannot send its readers to their own
machine or network, one in the network not to their own machine. User and password go to the host they were given for
and nowhere else. `http_proxy`, `https_proxy` and `no_proxy` are obeyed. Certificates are those of the system
(`SSL_CERT_FILE`). Safe to use from threads and in forked processes.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ipv_bench.addresses import public_address
from ipv_bench.file_versions import FileVersions
from ipv_bench.patience import Patience

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""Longest time without a byte."""
ANSWER_SECONDS = 120.0
SLOWEST_BYTES_PER_SECOND = 50_000
"""An answer may take `ANSWER_SECONDS`, and longer for what is long at this rate."""
FIRST_PATIENCE_SECONDS, PATIENCE_SECONDS = 2.0, 60.0
"""How long what fails in passing is tried again: a host that nobody has reached yet may not be there at all; one that
answered before, or answers that it is busy, is waited for."""
MAX_REDIRECTS, KEPT_CONNECTIONS = 5, 16

_REDIRECTS, _PASSING = (301, 302, 303, 307, 308), (429, 500, 502, 503, 504)
_SAFE = "/%:@!$&'()*+,;=~-._"
_PORTS = {"http": 80, "https": 443}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")

Reach = int
OWN_MACHINE, OWN_NETWORK, INTERNET = 0, 1, 2


class WebError(Exception):
    """A file cannot be read.

    Attributes:
        absent: the server says that there is no such file.
        ranges: the server does not answer byte ranges.
        changed: it is another file than before.
    """

    def __init__(self, reason: str, *, absent: bool = False, ranges: bool = False, changed: bool = False) -> None:
        super().__init__(reason)
        self.absent, self.ranges, self.changed = absent, ranges, changed

    def after(self, failure: str) -> WebError:
        """The same, where another try followed on a failure."""
        return WebError(f"{failure}; then {self}", absent=self.absent, ranges=self.ranges, changed=self.changed)


class _PassingError(Exception):
    """Something that another try may mend, after `wait_seconds` if the server asks for that."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


def reach(address: str) -> Reach:
    """How far away an IP address is: this machine (also its link), a private network, or the internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    if ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast:
        return OWN_MACHINE
    return INTERNET if ip.is_global else OWN_NETWORK


@dataclass(frozen=True)
class _Target:
    """Where a request goes: scheme, host, port, and the path with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def _target(url: str) -> _Target:
    """Parse an address; user and password in it are left out.

    Raises:
        ValueError: it has no host, another scheme, or a port that is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("no http or https address with a host")
    query = f"?{quote(parts.query, safe=_SAFE + '?')}" if parts.query else ""
    port = parts.port if parts.port is not None else _PORTS[parts.scheme]
    return _Target(parts.scheme, parts.hostname, port, (quote(parts.path, safe=_SAFE) or "/") + query)


class _Direct(http.client.HTTPConnection):
    """A connection to addresses that were looked up, and looked at, before."""

    def __init__(
        self, target: _Target, addresses: list[tuple[socket.AddressFamily, Any]], tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(target.host, target.port, timeout=SILENCE_SECONDS)
        self.default_port = _PORTS[target.scheme]
        self._addresses, self._tls = addresses, tls

    def connect(self) -> None:
        """Connect to the first address that answers."""
        problem: OSError = OSError("no address")
        for family, address in self._addresses:
            link = socket.socket(family, socket.SOCK_STREAM)
            try:
                link.settimeout(CONNECT_SECONDS)
                link.connect(address)
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    link = self._tls.wrap_socket(link, server_hostname=self.host)
                link.settimeout(SILENCE_SECONDS)
                self.sock = link
                return
            except OSError as error:
                link.close()
                problem = error
        raise problem


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
        self._start = _target(address)
        parts = urlsplit(address)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._login = {"Authorization": f"Basic {token}"} if user or password else {}
        self._floor: Reach | None = None
        self.versions, self.patience_seconds = FileVersions(), FIRST_PATIENCE_SECONDS
        self._forget()

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
        """The answer that is no redirect; its connection is kept when it was read to its end."""
        target = self._file(name)
        for _ in range(MAX_REDIRECTS + 1):
            login = self._login if target.origin == self._start.origin else {}
            connection, response = self._send(target, {**headers, **login, "Accept-Encoding": "identity"}, seconds)
            timer = threading.Timer(seconds, _hang_up, [connection])
            timer.daemon = True
            timer.start()
            try:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                response.read(1 << 16)
                target = self._redirected(target, response.headers.get("Location", ""))
            finally:
                timer.cancel()
                self._give_back(target, connection, response)
        raise WebError(f"it is redirected more than {MAX_REDIRECTS} times")

    def _file(self, name: str) -> _Target:
        path, mark, query = self._start.path.partition("?")
        return _Target(*self._start.origin, f"{path.rstrip('/')}/{quote(name, safe=_SAFE)}{mark}{query}")

    def _redirected(self, before: _Target, location: str) -> _Target:
        shown = public_address(location)[:200]
        try:
            target = _target(urljoin(before.url, location))
        except ValueError:
            raise WebError(f"it is redirected to {shown!r}, which is no web address") from None
        if target.scheme != before.scheme:
            raise WebError(f"it is redirected from {before.scheme} to {shown}, another scheme")
        return target

    def _send(
        self, target: _Target, headers: dict[str, str], seconds: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        proxy = self._proxy(target)
        path = target.url if proxy and target.scheme == "http" else target.path
        while True:
            connection = self._kept(target)
            fresh = connection is None
            connection = connection or (self._through(proxy, target) if proxy else self._direct(target))
            timer = threading.Timer(seconds, _hang_up, [connection])
            timer.daemon = True
            timer.start()
            try:
                connection.request("GET", path, headers={**headers, **(self._proxy_login(proxy) if proxy else {})})
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException):
                connection.close()
                if fresh:  # one that was kept may have been closed by the server meanwhile
                    raise
            finally:
                timer.cancel()

    # Connections.

    def _direct(self, target: _Target) -> http.client.HTTPConnection:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        addresses: list[tuple[socket.AddressFamily, Any]] = [(family, address) for family, _, _, _, address in found]
        nearest = min(reach(str(address[0])) for _, address in addresses)
        self._check_reach(target, nearest)
        return _Direct(target, addresses, self._tls if target.scheme == "https" else None)

    def _check_reach(self, target: _Target, found: Reach) -> None:
        if self._floor is None:
            self._floor = found  # the first connection goes to the host that the user named
        if found < self._floor:
            where = "this machine" if found == OWN_MACHINE else "a private network"
            raise WebError(f"it leads to {target.host}, which is in {where} while {self._start.host} is not")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()  # reads the system's certificates, some milliseconds

    @cached_property
    def _proxies(self) -> dict[str, str]:
        return getproxies()

    def _proxy(self, target: _Target) -> str:
        proxy = self._proxies.get(target.scheme, "")
        return "" if not proxy or proxy_bypass(target.host) else proxy

    def _through(self, proxy: str, target: _Target) -> http.client.HTTPConnection:
        """A connection by way of a proxy, which looks the host up; only addresses written as numbers are looked at."""
        try:
            self._check_reach(target, reach(target.host))
        except ValueError:
            self._check_reach(target, OWN_MACHINE if target.host == "localhost" else INTERNET)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = parts.hostname or "", parts.port or 3128
        if target.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=SILENCE_SECONDS)
        tunnel = http.client.HTTPSConnection(host, port, timeout=SILENCE_SECONDS, context=self._tls)
        tunnel.set_tunnel(target.host, target.port, self._proxy_login(proxy))
        return tunnel

    def _proxy_login(self, proxy: str) -> dict[str, str]:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if not parts.username:
            return {}
        token = base64.b64encode(f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {token}"}

    def _forget(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}

    def _kept(self, target: _Target) -> http.client.HTTPConnection | None:
        if self._process != os.getpid():  # after a fork both processes would read from one connection
            self._forget()
        with self._lock:
            waiting = self._idle.get(target.origin)
            return waiting.pop() if waiting else None

    def _give_back(
        self, target: _Target, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        key = (target.scheme, connection.host, connection.port)
        whole = response.isclosed() and connection.sock is not None
        with self._lock:
            waiting = self._idle.setdefault(key, [])
            if whole and isinstance(connection, _Direct) and len(waiting) < KEPT_CONNECTIONS:
                waiting.append(connection)
                return
        connection.close()


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


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """End a request that takes too long: whoever waits for bytes gets an error."""
    link = connection.sock
    if link is not None:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is no HTTP, or is cut off ({type(error).__name__})"
    return public_address(str(getattr(error, "strerror", None) or error))[:200] or type(error).__name__
