"""Published rules for final scores, by name: where they are read and over what they are averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProtocolName = Literal["", "atari100k", "atari200m", "dmc100k", "dmc500k"]


@dataclass(frozen=True)
class Protocol:
    """A rule.

    Attributes:
        stop: env steps (simulator control steps) at which final scores are read.
        episodes: where scores are training episodes, the mean of the last so many; 0: as for other reports.
        words: the rule and its source, for the page.
    """

    stop: float
    episodes: int
    words: str


PROTOCOLS: dict[str, Protocol] = {
    "atari100k": Protocol(
        400_000,
        0,
        "Atari 100k (Kaiser et al., arXiv:1903.00374): read at 400,000 env steps, which are 100,000 actions repeated 4 "
        "times; the evaluations there",
    ),
    "atari200m": Protocol(
        200e6,
        100,
        "Atari at 200 million frames (Machado et al., arXiv:1709.06009): the mean of the last 100 training episodes",
    ),
    "dmc100k": Protocol(1e5, 0, "DMControl 100k (CURL, arXiv:2004.04136): read at 100,000 env steps"),
    "dmc500k": Protocol(5e5, 0, "DMControl 500k (CURL, arXiv:2004.04136): read at 500,000 env steps"),
}
"""Name → rule."""
