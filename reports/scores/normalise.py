"""Scores to a scale on which tasks can be pooled, per suite and stated on the page."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import model_validator

from ipv_bench.config import Config
from ipv_bench.errors import ConfigError, InputError
from reports.scores.findings import Finding, warning
from reports.scores.score_table import ScoredRun


class ScoreRange(Config):
    """The scores that become 0 and 1."""

    low: float = 0.0
    """Score that becomes 0."""
    high: float = 1.0
    """Score that becomes 1."""

    @model_validator(mode="after")
    def _not_empty(self) -> ScoreRange:
        if self.high <= self.low:
            raise ValueError(f"high {self.high:g} is not above low {self.low:g}")
        return self


class NormaliseConfig(Config):
    """Own rules for normalising, before the built-in ones."""

    ranges: dict[str, ScoreRange] = {}
    """Suite, or `suite/task`, → range of its returns."""
    human: str | None = None
    """CSV with the columns task (or suite/task), random, human: returns of a random policy and of people."""


_DMC = ScoreRange(high=1000)
BUILT_IN: dict[str, ScoreRange] = {
    "dmc": _DMC,
    "dmcr": _DMC,
    "dmc_vision": _DMC,
    "dmc_proprio": _DMC,
    "carla/ClearNoon": ScoreRange(low=-400, high=1200),
    "carla/WetSunset": ScoreRange(low=-400, high=800),
    "carla/dynamic": ScoreRange(low=-400, high=600),
}
"""Ranges of returns. DMControl's episodes give at most 1000; CARLA's ranges are those of the ContextWM paper
(arXiv:2305.18499): clear noon, wet sunset, dynamic weather."""


@dataclass(frozen=True)
class Normalised:
    """Runs on a scale that tasks share.

    Attributes:
        runs: the runs in their order; those without a rule keep their scores.
        scales: suite → what its scores are, for the page ("return / 1000", "success rate", "return, not normalised").
        findings: suites that have several tasks and no rule.
    """

    runs: tuple[ScoredRun, ...]
    scales: dict[str, str]
    findings: tuple[Finding, ...]


def normalise(runs: Iterable[ScoredRun], config: NormaliseConfig | None = None) -> Normalised:
    """Bring returns into [0, 1] where a rule is known; success rates are left as they are.

    Raises:
        InputError: `config.human` cannot be read.
        ConfigError: a person's score equals the random one.
    """
    config = config or NormaliseConfig()
    rules = dict(BUILT_IN) | dict(config.ranges)
    human = read_human_scores(Path(config.human)) if config.human else {}
    scaled: list[ScoredRun] = []
    scales: dict[str, set[str]] = {}
    unscaled: dict[str, list[ScoredRun]] = {}
    for run in runs:
        found, text = _scaled(run, rules, human)
        if found is None:
            unscaled.setdefault(run.suite, []).append(run)
        scaled.append(found or run)
        scales.setdefault(run.suite, set()).add(text)
    findings = tuple(
        _pooled_as_they_are(suite, its_runs) for suite, its_runs in unscaled.items() if _tasks(its_runs) > 1
    )
    return Normalised(tuple(scaled), {suite: "; ".join(sorted(texts)) for suite, texts in scales.items()}, findings)


def _scaled(run: ScoredRun, rules: dict[str, ScoreRange], human: dict[str, ScoreRange]) -> tuple[ScoredRun | None, str]:
    if run.metric == "success":
        return run, "success rate"
    rule = human.get(run.task_id) or human.get(run.task)
    if rule is not None:
        return _in_range(run, rule), "human-normalised (random 0, human 1)"
    rule = rules.get(run.task_id) or rules.get(run.suite)
    if rule is None:
        return None, f"{run.metric}, not normalised"
    text = f"{run.metric} / {rule.high:g}" if rule.low == 0 else f"{run.metric}, [{rule.low:g}, {rule.high:g}] → [0, 1]"
    return _in_range(run, rule), text


def _in_range(run: ScoredRun, rule: ScoreRange) -> ScoredRun:
    return replace(run, scores=(run.scores - rule.low) / (rule.high - rule.low))


def _tasks(runs: Sequence[ScoredRun]) -> int:
    return len({run.task_id for run in runs})


def _pooled_as_they_are(suite: str, runs: Sequence[ScoredRun]) -> Finding:
    return warning(
        "not_normalised",
        f"{suite or 'runs without a suite'}: the scores of {_tasks(runs)} tasks are pooled as they are, so that the "
        "tasks with large scores decide",
        "give ranges or a file of human scores in the report's config (normalise: ...)",
        sorted({run.task_id for run in runs}),
    )


def read_human_scores(path: Path) -> dict[str, ScoreRange]:
    """Task → range from a random policy's to a person's return.

    Raises:
        InputError: unreadable, a missing column, or a value that is not a number.
        ConfigError: human is not above random.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a CSV with task, random, human") from None
    columns = list(rows[0]) if rows else []
    if not {"task", "random", "human"} <= set(columns):
        raise InputError(
            f"{path} has the columns {', '.join(map(str, columns)) or '(none)'}", expected="task, random, human"
        )
    found = {}
    for number, row in enumerate(rows, start=1):
        try:
            low, high = float(row["random"]), float(row["human"])
        except (TypeError, ValueError):
            raise InputError(
                f"{path} row {number}: random {row['random']!r}, human {row['human']!r}", expected="two numbers"
            ) from None
        if high <= low:
            raise ConfigError(f"{path}: {row['task']}: human {high:g} is not above random {low:g}")
        found[row["task"]] = ScoreRange(low=low, high=high)
    return found
