"""When label_efficiency.py ends early: where no model has learned to heed actions, more seeds would not show who does.

The rule is of the protocol and was fixed before the first run. It can only end the experiment without a claim, so it
makes no claim likelier than the intervals say.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from label_efficiency_protocol import LEARNERS, Scale, kept_runs, remaining

HEEDED_ABOVE = 1.05
"""A shuffle ratio up to this is of a model that ignores actions."""
NULL = "a null result at this size"


class StopRule(NamedTuple):
    """What the rule says.

    Attributes:
        asked: whether the seeds that it looks at are complete.
        shuffle_ratios: learner → mean over those seeds at the largest N; empty where it was not asked.
        stops: whether nobody heeds actions: the other seeds are not made.
        past: runs of the other seeds that are kept all the same (`--go-on`).
    """

    asked: bool
    shuffle_ratios: dict[str, float]
    stops: bool
    past: int

    def sentence(self, scale: Scale) -> str:
        """In a line; empty where it was not asked."""
        if not self.asked:
            return ""
        largest = max(self.shuffle_ratios.values())
        said = f"the largest shuffle ratio at N={max(scale.labels)} after {scale.stop_after} seeds is {largest:.3g}"
        if not self.stops:
            return f"stop rule: {said}, above {HEEDED_ABOVE}: the other seeds are made"
        past = f"; {self.past} runs were made past it" if self.past else ""
        return f"stop rule: {said}, not above {HEEDED_ABOVE}: {NULL}, the other seeds are not made (--go-on){past}"


def stop_rule(scale: Scale) -> StopRule:
    """Ask it of the runs that are kept."""
    first = scale.seeds[: scale.stop_after]
    kept = list(kept_runs(scale))
    past = sum(seed not in first for _, _, seed, _ in kept) if first else 0
    if not first or any(seed in first for _, _, seed in remaining(scale)):
        return StopRule(False, {}, False, past)
    most = max(scale.labels)
    ratios = {
        name: float(np.mean([result["shuffle_ratio"] for learner, labels, seed, result in kept
                             if (learner, labels) == (name, most) and seed in first]))
        for name in LEARNERS
    }  # fmt: skip
    return StopRule(True, ratios, not any(ratio > HEEDED_ABOVE for ratio in ratios.values()), past)


def to_make(scale: Scale, go_on: bool) -> list[tuple[str, int, int]]:
    """Learner, N and seed of the runs that are still to be made: none past the stop rule, unless one goes on."""
    first = scale.seeds[: scale.stop_after]
    stops = stop_rule(scale).stops and not go_on
    return [run for run in remaining(scale) if not stops or run[2] in first]
