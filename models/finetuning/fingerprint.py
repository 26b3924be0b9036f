"""The environment that a run was trained in, beside the one that is here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipv_bench.run_record import RunRecord

Changes = dict[str, list[Any]]


def fingerprint_changes(record: RunRecord, found: Mapping[str, Any]) -> Changes:
    """What differs, as key → [in the record, here], None where one lacks it; empty for a record without a fingerprint.

    Args:
        record: of the run.
        found: fingerprint of the environment that is here.
    """
    known = record.env_fingerprint
    if not known:
        return {}
    return {
        key: [known.get(key), found.get(key)]
        for key in sorted(found.keys() | known.keys())
        if found.get(key) != known.get(key)
    }


def told_changes(changes: Changes) -> str:
    """The changes in one line."""
    return "; ".join(f"{key}: {before!r} → {now!r}" for key, (before, now) in changes.items())
