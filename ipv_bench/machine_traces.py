"""What tells of a machine, taken out of values that are passed on: hosts, programs, users, places of its disks.

Names and hashes stay: they say what something was made from, wherever it lies now.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MACHINE_FIELDS = frozenset({"host", "hostname", "node", "user", "username", "server_command"})
"""Keys, or last parts of dotted keys, whose values are of use on one machine only."""

WORKSPACE_DEPTH = 2
"""Parts of a path, the root among them, that all users of a machine may have in common: `/home` leads to its users."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_PATH = re.compile(r"(?<![\w./:~%+-])~?/[^\s'\"<>|;,()]*/[^\s'\"<>|;,()]*")
_OWN_DOMAINS = ("local", "localdomain", "localhost", "internal", "intranet", "lan", "home", "corp", "private", "arpa")


def without_machine(value: Any) -> Any:
    """A value of a record without what tells of a machine, keys included.

    Fields that name a host, a user or a program to start are left out. Absolute paths become names (from `runs/` on,
    where they lead into such a folder), also inside sentences; so do addresses in a private network, whose host has no
    meaning elsewhere. Public addresses stay.
    """
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if str(key).rpartition(".")[2] not in MACHINE_FIELDS}
        return {without_machine(key): without_machine(item) for key, item in kept.items()}
    if isinstance(value, list | tuple):
        return [without_machine(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def in_one_workspace(first: str | Path, second: str | Path) -> bool:
    """Whether the way from one place to the other leads through no folder that a whole machine shares."""
    common = os.path.commonpath([os.path.abspath(first), os.path.abspath(second)])
    return len(Path(common).parts) > WORKSPACE_DEPTH


def _text(text: str) -> str:
    if text.startswith(("/", "~")) and "/" in text[1:]:  # a path by itself: it may hold spaces
        return _name(text)
    text = _ADDRESS.sub(lambda found: _name(found[0]) if _is_private(found[0]) else found[0], text)
    return _PATH.sub(lambda found: _name(found[0]), text)


def _name(path: str) -> str:
    _, runs, rest = path.rpartition("/runs/")
    return f"runs/{rest}" if runs else path.rstrip("/").rpartition("/")[2]


def _is_private(address: str) -> bool:
    """Whether an address leads to a file or a host that only its own network knows."""
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return True
    if parts.scheme not in ("http", "https"):
        return parts.scheme == "file"  # s3://bucket, hf://…: names of a store, no hosts
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.rpartition(".")[2] in _OWN_DOMAINS
