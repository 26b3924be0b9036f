"""A run beside a frozen protocol, and in what it deviates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipv_bench.frozen_protocol import Protocol
from reports.readers.protocol_result import points_hash
from reports.scores.score_table import ScoredRun


@dataclass(frozen=True)
class Deviation:
    """A field in which a run does not follow the protocol.

    Attributes:
        field: its dotted name, `pretrain.` in front for the run that it starts from.
        found: the run's value.
        wanted: the protocol's.
    """

    field: str
    found: str
    wanted: str


@dataclass(frozen=True, eq=False)
class CheckedRun:
    """A run beside the protocol.

    Attributes:
        run: the run.
        pretrain: record of the pre-training run that it starts from; None where there is none, or it is not known.
        deviations: empty where it follows the protocol.
        entry: its line on a leaderboard; see `entry_of`.
        imposed: fields that it sets to the protocol's values because its method's preset has others.
    """

    run: ScoredRun
    pretrain: Mapping[str, Any] | None
    deviations: tuple[Deviation, ...]
    entry: str
    imposed: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of env steps and scores."""
        return points_hash(self.run.env_steps, self.run.scores)


@dataclass(frozen=True, eq=False)
class CheckedRuns:
    """All runs beside a protocol.

    Attributes:
        name: the protocol's.
        sha256: of its file.
        protocol: its contents.
        following: runs without deviations, each seed of a method and task once.
        deviating: the others.
    """

    name: str
    sha256: str
    protocol: Protocol
    following: tuple[CheckedRun, ...]
    deviating: tuple[CheckedRun, ...]
