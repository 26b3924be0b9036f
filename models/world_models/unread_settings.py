"""Settings that a run would not look at: what changes nothing must not stand in a run's record, and name it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ipv_bench.config import in_sections
from ipv_bench.errors import ConfigError


def refuse_unread(changed: Iterable[str], unread: Mapping[str, str]) -> None:
    """Refuse settings without an effect.

    Args:
        changed: config keys that were set.
        unread: key, or section of keys, that is not looked at → why.

    Raises:
        ConfigError: one of them is set all the same.
    """
    for key in changed:
        for name, why in unread.items():
            if in_sections(key, [name]):
                raise ConfigError(f"{key} is set, and {why}", expected=f"no {key}", fix=f"leave {key} out")
