"""Where a request to a web server goes, and how far away that is."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

PORTS = {"http": 80, "https": 443}
SAFE = "/%:@!$&'()*+,;=~-._"
"""Characters of a path or query that are sent as they are."""

Reach = int
OWN_MACHINE, OWN_NETWORK, INTERNET = 0, 1, 2


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
class Target:
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


def parse_target(url: str) -> Target:
    """Parse an address; user and password in it are left out.

    Raises:
        ValueError: it has no host, another scheme, or a port that is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("no http or https address with a host")
    query = f"?{quote(parts.query, safe=SAFE + '?')}" if parts.query else ""
    port = parts.port if parts.port is not None else PORTS[parts.scheme]
    return Target(parts.scheme, parts.hostname, port, (quote(parts.path, safe=SAFE) or "/") + query)
