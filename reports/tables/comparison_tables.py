"""Tables that compare methods: final scores, aggregates, sample efficiency, probability of improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ipv_bench.errors import InputError, UnknownNameError
from reports.analysis import Computation, Groups, SuiteScores, joint_alignment
from reports.scores.checks import zero_width
from reports.scores.findings import Finding, warning
from reports.statistics.intervals import STATISTICS, Interval, interval, label_of
from reports.statistics.profiles import probability_of_improvement
from reports.tables.tables import Cell, Estimate, Table
from reports.text import file_name, short_number

STATISTIC_NAMES = {name: label_of(name, 4) for name in STATISTICS}
MAX_PAIRED_METHODS = 6
"""With more methods than this, each is compared with the best one instead of each with each."""


class Comparison:
    """Builds the tables, and remembers intervals that have no width.

    Args:
        computation: how numbers are computed.
    """

    def __init__(self, computation: Computation) -> None:
        self.computation = computation
        self._widthless: list[str] = []

    def findings(self) -> list[Finding]:
        """One warning about all intervals without a width, if there are any."""
        if not self._widthless:
            return []
        names = list(dict.fromkeys(self._widthless))
        shown = "; ".join(names[:3]) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")
        text = f"{len(names)} intervals of final scores have no width: {shown}"
        fix = "run more seeds; check that runs are not copies of one another"
        return [warning("zero_width", text, fix, names)]

    def final_scores(self, suite: str, groups: Groups, tasks: Sequence[str]) -> Table | None:
        """Final scores per task, as they were logged: rows tasks, columns methods."""
        config, labels = self.computation.config, list(groups)
        rows: list[list[Cell]] = []
        for task in tasks:
            try:
                aligned = joint_alignment(groups, [task], config.grid)
            except InputError:
                continue  # the curves' panel and the warnings say why
            cells: list[Cell] = [task, short_number(float(next(iter(aligned.values())).env_steps[-1]))]
            for label in labels:
                if label in aligned:
                    scores = aligned[label].final(config.final_window)
                    cells.append(
                        self._estimate(scores, config.statistic, f"final:{task}:{label}", f"{label} on {task}")
                    )
                else:
                    cells.append(None)
            rows.append(cells)
        if not rows:
            return None
        window = config.final_window
        when = f"mean over the last {window:g} env steps" if window else "the last env step that all methods reached"
        note = f"{STATISTIC_NAMES[config.statistic]} over runs, {self._intervals()}; scores as logged, at {when}."
        name = file_name(f"final_scores_{suite}") if suite else "final_scores"
        title = f"{suite}: final scores per task" if suite else "Final scores per task"
        return Table(name, title, ["task", "env steps", *labels], rows, note)

    def aggregates(self, suites: Mapping[str, SuiteScores], scales: Mapping[str, str]) -> Table | None:
        """Aggregates of normalised final scores: one row per suite and method."""
        rows: list[list[Cell]] = []
        for suite, scores in suites.items():
            for label, final in scores.final.items():
                cells: list[Cell] = [suite or "–", label, len(scores.tasks), _count(final), scales[suite]]
                for statistic in STATISTICS:
                    if statistic == "optimality_gap" and not is_normalised(scales[suite]):
                        cells.append(None)
                        continue
                    purpose = f"aggregate:{suite}:{label}:{statistic}"
                    cells.append(self._estimate(final, statistic, purpose, f"{label} on {suite or 'all tasks'}"))
                rows.append(cells)
        columns = ["suite", "method", "tasks", "runs", "scale", *(STATISTIC_NAMES[name] for name in STATISTICS)]
        tasks = ", tasks resampled as well" if self.computation.config.resample_tasks else ""
        note = (
            f"Final scores over the tasks that every method was run on, {self._intervals()}{tasks}. "
            "Optimality gap: lower is better; the others: higher is better."
        )
        return Table("aggregates", "Aggregates of final scores", columns, rows, note) if rows else None

    def sample_efficiency(self, suites: Mapping[str, SuiteScores], scales: Mapping[str, str]) -> Table | None:
        """Area under the curve, and env steps until scores are reached: per suite, then per task."""
        levels = self.computation.config.reach
        rows: list[list[Cell]] = []
        for suite, scores in suites.items():
            kept = levels if is_normalised(scales[suite]) else []
            for task, column in [("all", slice(None)), *((t, slice(i, i + 1)) for i, t in enumerate(scores.tasks))]:
                for label in scores.final:
                    area = scores.area[label][:, column]
                    steps = [scores.steps[level][label][:, column] for level in kept]
                    found = self._efficiency(area, steps, f"efficiency:{suite}:{task}:{label}")
                    empty: list[Cell] = [None] * (2 * (len(levels) - len(kept)))
                    rows.append([suite or "–", task, label, *found, *empty])
        columns = ["suite", "task", "method", "area under curve"]
        for level in levels:
            columns += [f"env steps to {level:g}", f"share reaching {level:g}"]
        note = (
            f"Normalised scores, {self._intervals()}. Area: mean score over training. Env steps: IQM of the first "
            "evaluation at or above the level; runs that never reach it count as ∞."
        )
        return Table("sample_efficiency", "Sample efficiency", columns, rows, note) if rows else None

    def _efficiency(self, area: np.ndarray, steps: Sequence[np.ndarray], purpose: str) -> list[Cell]:
        """The area, then per level the IQM of the env steps and the share of runs that reach it; (R, M) each."""
        confidence, resamples = self.computation.config.confidence, self.computation.table_resamples
        reached = [np.where(np.isnan(one), np.nan, np.isfinite(one)) for one in steps]
        means = np.stack([area, *reached], axis=2)  # (R, M, 1 + levels): one set of draws for all of them
        generator = self.computation.generator(purpose)
        found = interval(means, "mean", resamples, generator, confidence=confidence)
        cells: list[Cell] = [_estimate_at(found, 0)]
        if steps:
            generator = self.computation.generator(f"{purpose}:steps")
            stacked = np.stack(list(steps), axis=2)
            until = interval(stacked, "iqm", resamples, generator, confidence=confidence, allow_infinite=True)
            for index in range(len(steps)):
                cells += [_estimate_at(until, index), _estimate_at(found, 1 + index)]
        return cells

    def improvement(self, suites: Mapping[str, SuiteScores]) -> Table | None:
        """Probability that a run of one method is better than a run of another, per suite.

        Raises:
            UnknownNameError: `compare_to` names no method.
        """
        rows: list[list[Cell]] = []
        for suite, scores in suites.items():
            for one, other in self._pairs(scores):
                found = probability_of_improvement(
                    scores.final[one],
                    scores.final[other],
                    self.computation.table_resamples,
                    self.computation.generator(f"improvement:{suite}:{one}:{other}"),
                    confidence=self.computation.config.confidence,
                )
                rows.append([suite or "–", one, other, to_estimate(found, "P(X > Y)")])
        note = (
            f"Probability that a run of X ends with a better score than one of Y on a task drawn at random, "
            f"{self._intervals()}. 0.5: no difference."
        )
        columns = ["suite", "X", "Y", "P(X > Y)"]
        return Table("improvement", "Probability of improvement", columns, rows, note) if rows else None

    def _pairs(self, scores: SuiteScores) -> list[tuple[str, str]]:
        labels = list(scores.final)
        chosen = self.computation.config.compare_to
        if chosen and chosen not in labels:
            raise UnknownNameError("method in compare_to:", chosen, labels)
        if not chosen and len(labels) <= MAX_PAIRED_METHODS:
            return [(one, other) for index, one in enumerate(labels) for other in labels[index + 1 :]]
        reference = chosen or max(labels, key=lambda label: float(np.nanmean(scores.final[label])))
        return [(reference, label) for label in labels if label != reference]

    def _estimate(self, scores: np.ndarray, statistic: str, purpose: str, checked: str = "") -> Estimate:
        found = self.computation.interval(scores, statistic, purpose)
        if checked and zero_width(checked, found) is not None:
            self._widthless.append(checked)
        return to_estimate(found, statistic)

    def _intervals(self) -> str:
        percent = f"{100 * self.computation.config.confidence:g} %"
        return (
            f"{percent} stratified bootstrap intervals "
            f"({self.computation.table_resamples:,} resamples, seed {self.computation.seed})"
        )


def to_estimate(found: Interval, column_statistic: str = "") -> Estimate:
    """A cell; its statistic is named where it is not what the column says."""
    label = "" if found.label == STATISTIC_NAMES.get(column_statistic, column_statistic) else found.label
    return Estimate(float(found.point), float(found.low), float(found.high), label)


def _estimate_at(found: Interval, index: int) -> Estimate:
    label = found.label if found.label.endswith(")") else ""  # "mean (n=3)" in place of the IQM
    return Estimate(float(found.point[index]), float(found.low[index]), float(found.high[index]), label)


def is_normalised(scale: str) -> bool:
    """Whether a suite's scores are on a scale that tasks share."""
    return "not normalised" not in scale


def _count(scores: np.ndarray) -> int:
    return int(np.isfinite(scores).sum())
