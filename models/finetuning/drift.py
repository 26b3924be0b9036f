"""Signs that a policy has left what its model knows, read from a run's own metrics."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from ipv_bench.run_record import METRICS_FILE, read_jsonl

NEWEST_EPISODES = 5
LARGEST_GAP = 0.5
"""An imagination that promises half as much again as episodes bring (median of the newest ones) is worth a warning."""
LARGEST_ERROR_RATIO = 1.5
"""And so is an image loss on the newest episodes this many times that of the batches, which come from all episodes."""


def drift_warnings(folder: Path) -> list[str]:
    """Sentences about a run's newest episodes; none while imagination and episodes agree, or nothing was logged."""
    lines = list(read_jsonl(folder / METRICS_FILE))
    episodes = [line for line in lines if "value_gap" in line][-NEWEST_EPISODES:]
    batches = [line["image_loss"] for line in lines if "updates" in line and "image_loss" in line][-NEWEST_EPISODES:]
    found: list[str] = []
    if len(episodes) < NEWEST_EPISODES:
        return found
    gap = median(line["value_gap"] for line in episodes)
    if gap > LARGEST_GAP:
        imagined = median(line["imagined_return"] for line in episodes)
        realised = median(line["realised_return"] for line in episodes)
        found.append(
            f"in the newest {len(episodes)} episodes the imagination promised {imagined:.3g} and the episodes brought "
            f"{realised:.3g} (value_gap {gap:+.2f}): the policy exploits its model"
        )
    if batches:
        ratio = median(line["episode_image_loss"] for line in episodes) / max(median(batches), 1e-8)
        if ratio > LARGEST_ERROR_RATIO:
            found.append(
                f"the model's image loss on the newest {len(episodes)} episodes is {ratio:.1f} times that of its "
                "batches: the policy has come to states that the model does not know"
            )
    return found
