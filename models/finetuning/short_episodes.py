"""Training episodes that are shorter than a window: they are not stored (as published), and never silently.

They are just the ones that ended early, by a crash or a fall: a model that learns from none of them does not know that
there is such an end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGEST_SHARE = 0.1
"""Of the episodes played; a larger one is worth a warning."""


def short_episodes(dropped: int, played: int, length: int, length_key: str) -> dict[str, Any]:
    """What `run.json` says of them (`dropped_short`); empty where there are none.

    Args:
        dropped: episodes that were shorter than a window.
        played: training episodes so far, those among them.
        length: records of a window (`replay.length`); an episode has one more of them than agent steps.
        length_key: config key that decides it.

    Returns:
        episodes, played; and `warning`, a sentence with what to set, above `LARGEST_SHARE`.
    """
    if not dropped:
        return {}
    found: dict[str, Any] = {"episodes": dropped, "played": played}
    if dropped > LARGEST_SHARE * played:
        found["warning"] = (
            f"{_sentence(found)} (replay.length {length}, that is {length - 1} agent steps), and how they ended is not "
            f"learned: set a smaller {length_key}"
        )
    return found


def short_episodes_told(found: Mapping[str, Any]) -> list[str]:
    """What a run's last line says of them: nothing where there are none."""
    if not found:
        return []
    return [f"warning: {found['warning']}" if "warning" in found else _sentence(found)]


def _sentence(found: Mapping[str, Any]) -> str:
    count, played = found["episodes"], found["played"]
    return f"{count} of {played} training episodes were shorter than a window and are not in the replay"
