"""Signs that a policy has left what its model knows, read from a run's own metrics."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from ipv_bench.run_record import METRICS_FILE, read_jsonl

NEWEST_EPISODES = 5
LARGEST_GAP = 0.5
"""An imagination that promises half as much again as episodes bring (median of the newest ones) is worth a warning."""
LARGEST_ERROR_RATIO = 1.5
"""And so is an image loss on the newest episodes this many times that of the batches, which come from all episodes."""


def drift_warnings(folder: Path) -> list[str]:
    """Sentences about a run's newest episodes; none while imagination and episodes agree, or too little was logged.

    Numbers that were not finite (null in a log) are left out, and so is what a method's agent does not log.
    """
    lines = list(read_jsonl(folder / METRICS_FILE))
    return [text for text in (_gap(lines), _error(lines)) if text]


def _gap(lines: list[dict[str, Any]]) -> str:
    episodes = _with(lines, "value_gap", "imagined_return", "realised_return")
    gap = _median(episodes, "value_gap") if len(episodes) == NEWEST_EPISODES else 0.0
    if gap <= LARGEST_GAP:
        return ""
    imagined, realised = _median(episodes, "imagined_return"), _median(episodes, "realised_return")
    return (
        f"in the newest {len(episodes)} episodes the imagination promised {imagined:.3g} and the episodes brought "
        f"{realised:.3g} (value_gap {gap:+.2f}): the policy exploits its model"
    )


def _error(lines: list[dict[str, Any]]) -> str:
    episodes, batches = _with(lines, "episode_image_loss"), _with(lines, "updates", "image_loss")
    if len(episodes) < NEWEST_EPISODES or not batches:
        return ""
    ratio = _median(episodes, "episode_image_loss") / max(_median(batches, "image_loss"), 1e-8)
    if ratio <= LARGEST_ERROR_RATIO:
        return ""
    return (
        f"the model's image loss on the newest {len(episodes)} episodes is {ratio:.1f} times that of its "
        "batches: the policy has come to states that the model does not know"
    )


def _with(lines: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """The newest lines that have a finite number under each name."""
    return [line for line in lines if all(_finite(line.get(name)) for name in names)][-NEWEST_EPISODES:]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _median(lines: list[dict[str, Any]], name: str) -> float:
    return float(median(line[name] for line in lines))
