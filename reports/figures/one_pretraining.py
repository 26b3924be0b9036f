"""The runs of a figure's line start from one pre-training: other videos, or more or fewer of them, are another line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ipv_bench.joined_sets import told_sets
from reports.scores.score_table import ScoredRun, flatten_where

WITHOUT = "without pre-training, or none stated"
_ODD = ("finetuned", "unknown")
"""Kinds of pre-training that its videos do not tell."""


def pretrained_on(run: ScoredRun, where: Mapping[str, Any]) -> str:
    """What a run was pre-trained on, in words, as far as a line does not name it.

    Args:
        run: one of the line's.
        where: the line's conditions.
    """
    named = flatten_where(where)
    if "parent.run" in named:
        return ""
    data, number = sorted(map(str, run.pretraining.get("data") or [])), run.pretraining.get("num_videos")
    kind = str(run.pretraining.get("kind") or "none")
    untold = not data and kind not in _ODD
    parts = [
        told_sets(data) if data and "pretraining.data" not in named else "",
        f"{number} videos" if data and number and "pretraining.num_videos" not in named else "",
        "all videos" if data and not number and "pretraining.num_videos" not in named else "",
        f"kind {kind}" if kind in _ODD and "pretraining.kind" not in named else "",
        WITHOUT if untold and not {"pretraining.data", "pretraining.kind"} & named.keys() else "",
    ]
    return ", ".join(part for part in parts if part)


def of_most(words: Iterable[str]) -> str:
    """The words that are there most often; of several that are there as often, the first."""
    counts = Counter(words)
    return max(counts, key=lambda one: counts[one], default="")
