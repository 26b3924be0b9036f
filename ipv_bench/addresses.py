"""Addresses as they may be shown: no user, no password, no signature.

What a command prints, writes into `run.json` or puts on a page goes through here; the addresses that are opened do not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "WANDB_API_KEY", "HF_TOKEN")
HIDDEN = "***"

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#'\"<>]*)([^\s'\"<>]*)")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:@\[\]]*)(:[0-9]{0,5})?")
_SHORTEST_SECRET = 8


def public_address(address: str) -> str:
    """An address without user, password, query and fragment; other text, such as a folder, as it is."""
    return _ADDRESS.sub(_public, address, count=1)


def without_credentials(text: str) -> str:
    """Text whose addresses are public ones, and in which no secret of the environment stands."""
    if "://" in text:
        text = _ADDRESS.sub(_public, text)
    for name in SECRET_VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    return text


def public_values(value: Any) -> Any:
    """Values for a file that others will read: `without_credentials` of every text in them, keys included."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {public_values(key): public_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [public_values(item) for item in value]
    return value


def _public(match: re.Match[str]) -> str:
    scheme, authority, rest = match.groups()
    if "@" in authority:
        authority = authority.rpartition("@")[2]
    elif "@" in rest and not _HOST.fullmatch(authority):  # a password with a slash, not written as %2F
        authority, rest = re.fullmatch(r"([^/?#]*)(.*)", rest.rpartition("@")[2], re.DOTALL).groups()  # type: ignore[union-attr]
    return scheme + authority + re.split(r"[?#]", rest, maxsplit=1)[0]
