"""The splits of a LeRobot data set: ranges of episodes, as `splits` in its `meta/info.json` writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from ipv_bench.errors import SourceError
from ipv_bench.file_names import shown

Split = tuple[str, int, int]
"""Name, first episode, end."""
INFO_FILE = "meta/info.json"
_SPAN = re.compile(r"(\d{1,9}):(\d{1,9})")


def read_splits(info: Mapping[str, Any], where: str) -> list[Split]:
    """The splits that are written `first:end` and hold something, by their first episode.

    Args:
        info: contents of the file.
        where: the file, for messages.

    Raises:
        SourceError: an episode is in two of them.
    """
    stated, found = info.get("splits"), []
    for name, text in stated.items() if isinstance(stated, dict) else ():
        span = _span(text)
        if span and span[0] < span[1]:
            found.append((str(name), *span))
    found.sort(key=lambda split: split[1:])
    for (name, first, end), (other, start, stop) in pairwise(found):
        if start < end:
            raise SourceError(
                f"{where}: episode {start} is in two splits: {shown(name)} has {first}:{end}, "
                f"{shown(other)} {start}:{stop}",
                expected="each episode in one split at most",
                fix="correct `splits` in that file; test data would be among the training data",
            )
    return found


def split_doubts(info: Mapping[str, Any], splits: Sequence[Split], split_of: Mapping[int, str]) -> list[str]:
    """Warnings of what `splits` says and no episode has, and of episodes in none.

    Args:
        info: contents of the file.
        splits: those that were read.
        split_of: number of each episode → its split; empty for none.
    """
    stated, warnings = info.get("splits"), []
    if stated is not None and not isinstance(stated, dict):
        return [f"{INFO_FILE}: splits is {shown(stated)}, no table of names and ranges: no episode has a split"]
    odd = [f"{shown(name)} is {shown(text)}" for name, text in (stated or {}).items() if _span(text) is None]
    if odd:
        warnings.append(f"{INFO_FILE}: {len(odd)} splits are no `first:end` and left out, the first: {odd[0]}")
    last = max(split_of, default=-1)
    beyond = [f"{shown(name)} is {first}:{end}" for name, first, end in splits if end > last + 1]
    if beyond:
        warnings.append(
            f"{INFO_FILE}: {len(beyond)} splits reach beyond the last episode, which is {last}, the first: {beyond[0]}"
        )
    without = [number for number, split in split_of.items() if not split]
    if splits and without:
        warnings.append(f"{len(without)} of {len(split_of)} episodes are in no split, the first is {without[0]}")
    return warnings


def _span(text: object) -> tuple[int, int] | None:
    """What `first:end` says; None of anything else."""
    found = _SPAN.fullmatch(text) if isinstance(text, str) else None
    span = (int(found[1]), int(found[2])) if found else None
    return span if span and span[0] <= span[1] else None
