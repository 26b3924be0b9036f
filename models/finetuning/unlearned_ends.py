"""Episodes that ended by themselves, to an agent whose imagination does not know that they can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ENDED = "train_ended"
"""Key of a training episode's line in `metrics.jsonl`: 1 where its task ended it, 0 where a time limit did."""
LARGEST_SHARE = 0.1
"""Of the training episodes; more that ended are worth a warning."""


def unlearned_ends(lines: Iterable[Mapping[str, Any]], config: Any) -> dict[str, Any]:
    """What `run.json` says of them (`ends_not_learned`).

    Args:
        lines: of the run's `metrics.jsonl`.
        config: of the run; of a method whose config has no `behavior.discount_head` nothing is known.

    Returns:
        `episodes` that ended, `of` training episodes, and `warning`, a sentence with what to set; empty where ends are
        predicted, or no more than `LARGEST_SHARE` of the episodes had one.
    """
    # Only where there is such a switch, and it is off: a method of another package may have a `behavior` of its own.
    if getattr(getattr(config, "behavior", None), "discount_head", None) is not False:
        return {}
    ended = [bool(line[ENDED]) for line in lines if ENDED in line]
    if sum(ended) <= LARGEST_SHARE * len(ended):
        return {}
    text = (
        f"{sum(ended)} of {len(ended)} training episodes ended before their time limit, and behavior.discount_head is "
        "false (as published for suites whose episodes do not end): imagined ones go on, and their returns too; "
        "for a task that ends, set behavior.discount_head=true in a new run"
    )
    return {"episodes": sum(ended), "of": len(ended), "warning": text}
