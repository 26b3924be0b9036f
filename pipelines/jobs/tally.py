"""Counting outcomes while they come in: the progress display, and the failure limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ipv_bench.errors import FailureLimitError
from ipv_bench.progress import Bar
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import MACHINE_DEPENDENT
from pipelines.shards.sample_block import Outcome


class Tally:
    """Counts of a job.

    Args:
        num_items: source items of the plan, those that are excluded by rule left out.
        config: its `max_failure_rate` is the limit; one failure is always allowed unless the rate is 0.
    """

    def __init__(self, num_items: int, config: PrepareConfig) -> None:
        self.status: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._num_items, self._rate = num_items, config.max_failure_rate
        self._allowed = max(int(self._rate * num_items), 1 if self._rate else 0)
        self._examples: list[str] = []
        self._bar: Bar | None = None

    def show_on(self, bar: Bar) -> None:
        """Show each further outcome on a progress bar."""
        self._bar = bar

    def add_all(self, outcomes: Iterable[Outcome]) -> None:
        """Count the outcomes of an earlier run."""
        for outcome in outcomes:
            self._count(outcome)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome.

        Raises:
            FailureLimitError: more items failed than the limit allows; the rest could only make it worse.
        """
        self._count(outcome)
        if self._bar is not None:
            self._bar.advance(1, frames=sum(sample.num_frames for sample in outcome.samples))
            if self.status["quarantined"]:
                self._bar.describe(f"{self.status['quarantined']} quarantined")
        self.check()

    def check(self) -> None:
        """Raise when the limit is passed.

        Raises:
            FailureLimitError: see `add`.
        """
        failed = self.status["quarantined"]
        if failed > self._allowed:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
            raise FailureLimitError(
                f"{failed} of {self._num_items} source items failed ({reasons}); such as {'; '.join(self._examples)}",
                expected=f"at most {self._allowed} (max_failure_rate={self._rate:g})",
                fix=f"check that --source is the right release and complete{self._again()}; finished shards are kept: "
                "with `--set max_failure_rate=…` the same command goes on",
            )

    def _again(self) -> str:
        """What to do about failures that may pass."""
        reasons = sorted(self.reasons.keys() & MACHINE_DEPENDENT)
        named = " or ".join(f"`--retry-failed {reason}`" for reason in reasons)
        return f"; {named} tries again what this machine may have spoilt" if reasons else ""

    def _count(self, outcome: Outcome) -> None:
        row = outcome.row
        self.status[row.status] += 1
        if row.status == "quarantined":
            self.reasons[row.reason] += 1
            if len(self._examples) < 3:
                self._examples.append(f"{row.source_id}: {row.message or row.reason}")

    def summary(self) -> str:
        """Counts for the last line."""
        parts = [f"{self.status['written']} written"]
        for status, words in (("too_short", "too short"), ("excluded", "excluded")):
            if self.status[status]:
                parts.append(f"{self.status[status]} {words}")
        if self.status["quarantined"]:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.reasons.items()))
            parts.append(f"{self.status['quarantined']} quarantined ({reasons})")
        return ", ".join(parts)
