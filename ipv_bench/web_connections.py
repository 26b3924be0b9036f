"""Connections to one web server: direct or by proxy, kept for the next request, none of them closer than the first one.

`http_proxy`, `https_proxy` and `no_proxy` are obeyed. Certificates are those of the system (`SSL_CERT_FILE`). Safe to
use from threads and in forked processes.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ipv_bench.web_error import WebError
from ipv_bench.web_target import INTERNET, OWN_MACHINE, PORTS, Reach, Target, reach

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""Longest time without a byte."""
KEPT_CONNECTIONS = 16


class _DirectConnection(http.client.HTTPConnection):
    """A connection to addresses that were looked up, and looked at, before."""

    def __init__(
        self, target: Target, addresses: list[tuple[socket.AddressFamily, Any]], tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(target.host, target.port, timeout=SILENCE_SECONDS)
        self.default_port = PORTS[target.scheme]
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


class WebConnections:
    """Sends requests to the hosts of one client and of its redirects.

    Args:
        home: host that the user named; others may not be closer than it.
    """

    def __init__(self, home: str) -> None:
        self._home = home
        self._floor: Reach | None = None
        self._forget()

    @contextlib.contextmanager
    def answer(self, target: Target, headers: dict[str, str], seconds: float) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET; its connection is kept when it was read to its end.

        Args:
            seconds: that it may take from here to the end, and the head of it as long.

        Raises:
            WebError: the host is closer than the first one.
            OSError, HTTPException: no answer, or it ends before its end.
        """
        connection, response = self._send(target, headers, seconds)
        try:
            with _at_most(seconds, connection):
                yield response
        finally:
            self._give_back(target, connection, response)

    def _send(
        self, target: Target, headers: dict[str, str], seconds: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        proxy = self._proxy(target)
        path = target.url if proxy and target.scheme == "http" else target.path
        while True:
            connection = self._kept(target)
            fresh = connection is None
            connection = connection or (self._through(proxy, target) if proxy else self._direct(target))
            try:
                with _at_most(seconds, connection):
                    login = self._proxy_login(proxy) if proxy else {}
                    connection.request("GET", path, headers={**headers, **login})
                    return connection, connection.getresponse()
            except (OSError, http.client.HTTPException):
                connection.close()
                if fresh:  # one that was kept may have been closed by the server meanwhile
                    raise

    def _direct(self, target: Target) -> http.client.HTTPConnection:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        addresses: list[tuple[socket.AddressFamily, Any]] = [(family, address) for family, _, _, _, address in found]
        nearest = min(reach(str(address[0])) for _, address in addresses)
        self._check_reach(target, nearest)
        return _DirectConnection(target, addresses, self._tls if target.scheme == "https" else None)

    def _check_reach(self, target: Target, found: Reach) -> None:
        if self._floor is None:
            self._floor = found  # the first connection goes to the host that the user named
        if found < self._floor:
            where = "this machine" if found == OWN_MACHINE else "a private network"
            raise WebError(f"it leads to {target.host}, which is in {where} while {self._home} is not")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()  # reads the system's certificates, some milliseconds

    @cached_property
    def _proxies(self) -> dict[str, str]:
        return getproxies()

    def _proxy(self, target: Target) -> str:
        proxy = self._proxies.get(target.scheme, "")
        return "" if not proxy or proxy_bypass(target.host) else proxy

    def _through(self, proxy: str, target: Target) -> http.client.HTTPConnection:
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

    def _kept(self, target: Target) -> http.client.HTTPConnection | None:
        if self._process != os.getpid():  # after a fork both processes would read from one connection
            self._forget()
        with self._lock:
            waiting = self._idle.get(target.origin)
            return waiting.pop() if waiting else None

    def _give_back(
        self, target: Target, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        key = (target.scheme, connection.host, connection.port)
        whole = response.isclosed() and connection.sock is not None
        with self._lock:
            waiting = self._idle.setdefault(key, [])
            if whole and isinstance(connection, _DirectConnection) and len(waiting) < KEPT_CONNECTIONS:
                waiting.append(connection)
                return
        connection.close()


@contextlib.contextmanager
def _at_most(seconds: float, connection: http.client.HTTPConnection) -> Iterator[None]:
    """Hang up what takes longer."""
    timer = threading.Timer(seconds, _hang_up, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """End a request that takes too long: whoever waits for bytes gets an error."""
    link = connection.sock
    if link is not None:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
