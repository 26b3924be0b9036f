"""Tables that compare methods: final scores, aggregates, ranks, differences, sample efficiency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from reports.computation import Computation
from reports.grouping import Groups
from reports.scores.checks import zero_width
from reports.scores.findings import Finding, warning
from reports.scores.protocols import PROTOCOLS
from reports.statistics.comparisons import difference, ranks
from reports.statistics.intervals import STATISTICS, Interval, interval, label_of
from reports.statistics.profiles import probability_of_improvement
from reports.suite_scores import Ends, SuiteScores
from reports.tables.tables import Cell, Estimate, Table
from reports.text import file_name, short_number

STATISTIC_NAMES = {name: label_of(name, 4) for name in STATISTICS}
MAX_PAIRED_METHODS = 6
"""With more methods than this, each is compared with the best one instead of each with each."""
ONE_RUN = "n = 1"
"""In place of an interval: one run per task says nothing about how much another would differ."""


class Comparison:
    """Builds the tables, and remembers intervals that have no width.

    Args:
        computation: how numbers are computed.
    """

    def __init__(self, computation: Computation) -> None:
        self.computation = computation
        self._widthless: list[str] = []
        self._short: dict[str, float] = {}

    def findings(self) -> list[Finding]:
        """One warning about all intervals without a width, and one about tasks that end before the protocol's steps."""
        found = []
        if self._widthless:
            names = list(dict.fromkeys(self._widthless))
            shown = "; ".join(names[:3]) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")
            text = f"{len(names)} intervals of final scores have no width: {shown}"
            found.append(
                warning("zero_width", text, "run more seeds; check that runs are not copies of one another", names)
            )
        if self._short:
            protocol = self.computation.config.protocol
            shown = ", ".join(f"{task} at {steps:g}" for task, steps in list(self._short.items())[:5])
            text = (
                f"protocol {protocol} reads final scores at {PROTOCOLS[protocol].stop:g} env steps, and those of "
                f"{len(self._short)} tasks are read before, where their runs end: {shown}"
            )
            found.append(warning("protocol_not_met", text, "run longer, or leave `protocol` out", list(self._short)))
        return found

    def final_scores(self, suite: str, groups: Groups, ends: Ends) -> Table | None:
        """Final scores per task, as they were logged: rows tasks, columns methods."""
        config, labels = self.computation.config, list(groups)
        rows: list[list[Cell]] = []
        places: list[tuple[int, int, str]] = []
        columns: list[np.ndarray] = []
        for task, its_ends in ends.tasks.items():
            rows.append([task, steps_by_method(its_ends.read_at), *(None for _ in labels)])
            for number, label in enumerate(labels):
                found = ends.scores(groups[label], task, label)
                if found:
                    places.append((len(rows) - 1, 2 + number, f"{label} on {task}"))
                    columns.append(np.array([one.score for one in found]))
        intervals = self.computation.columns(columns, config.statistic, "final")
        for (row, place, name), several in zip(places, intervals, strict=True):
            rows[row][place] = self._checked(_at(several, 0), config.statistic, name)
        if not rows:
            return None
        window = config.final_window
        what = f"the mean of the evaluations in the last {window:g} env steps before" if window else "the score at"
        short = self._before_the_protocols_steps(ends)
        rule = f" {PROTOCOLS[config.protocol].words}." if config.protocol else ""
        if short:
            rule += f" NOT MET: {', '.join(short)} end before."
        note = (
            f"{STATISTIC_NAMES[config.statistic]} over runs, {self._intervals()}; scores as logged. A final score is "
            f"{what} the env steps shown: {END_RULES[config.final_at]}.{rule} The table of runs names the evaluations."
        )
        name = file_name(f"final_scores_{suite}") if suite else "final_scores"
        title = f"{suite}: final scores per task" if suite else "Final scores per task"
        return Table(name, title, ["task", "env steps", *labels], rows, note)

    def _before_the_protocols_steps(self, ends: Ends) -> dict[str, float]:
        """Tasks whose final scores are read before the protocol says, by more than a twentieth → where."""
        name = self.computation.config.protocol
        first = {task: min(its.read_at.values()) for task, its in ends.tasks.items() if its.read_at}
        found = {task: steps for task, steps in first.items() if name and steps < 0.95 * PROTOCOLS[name].stop}
        self._short |= found
        return found

    def aggregates(self, suites: Mapping[str, SuiteScores], scales: Mapping[str, str]) -> Table | None:
        """Aggregates of normalised final scores: one row per suite and method."""
        rows: list[list[Cell]] = []
        for suite, scores in suites.items():
            for label, final in scores.final.items():
                cells: list[Cell] = [suite or "–", label, k_of_n(scores), _count(final)]
                cells += [steps_text(*scores.read_at(label)), scales[suite]]
                found = self.computation.intervals(final, f"aggregate:{suite}:{label}")
                for statistic in STATISTICS:
                    if statistic == "optimality_gap" and not is_normalised(scales[suite]):
                        cells.append(None)
                        continue
                    cells.append(self._checked(found[statistic], statistic, f"{label} on {suite or 'all tasks'}"))
                rows.append(cells)
        columns = ["suite", "method", "tasks", "runs", "env steps", "scale"]
        columns += [STATISTIC_NAMES[name] for name in STATISTICS]
        tasks = ", tasks resampled as well" if self.computation.config.resample_tasks else ""
        note = (
            f"Final scores over the tasks that every method was run on, {self._intervals()}{tasks}. Env steps at which "
            f"they are read: {END_RULES[self.computation.config.final_at]}. {ONE_RUN}: one run per task, no interval. "
            "Optimality gap: lower is better; the others: higher is better."
        )
        return Table("aggregates", "Aggregates of final scores", columns, rows, note) if rows else None

    def ranking(self, suites: Mapping[str, SuiteScores]) -> Table | None:
        """Methods of each suite by their statistic, and how sure their places are."""
        statistic = self.computation.config.statistic
        rows: list[list[Cell]] = []
        for suite, scores in suites.items():
            if len(scores.final) < 2:
                continue
            found = ranks(
                scores.final,
                statistic,
                self.computation.curve_resamples,
                self.computation.generator(f"ranking:{suite}"),
                confidence=self.computation.config.confidence,
            )
            single = all(_runs_per_task(final) == 1 for final in scores.final.values())
            for label, rank in found.items():
                bounds = (np.nan, np.nan, ONE_RUN) if single else (rank.low, rank.high, "")
                share = None if single else rank.share_first
                rows.append([suite or "–", label, Estimate(rank.rank, *bounds, digits=1), share, k_of_n(scores)])
        note = (
            f"Rank by the {STATISTIC_NAMES[statistic]} of final scores (1: best), "
            f"{self._intervals(self.computation.curve_resamples)}. Share first: of the resamples, those in which the "
            "method is the best."
        )
        columns = ["suite", "method", "rank", "share first", "tasks"]
        return Table("ranking", "Ranking", columns, rows, note) if rows else None

    def differences(self, suites: Mapping[str, SuiteScores]) -> Table | None:
        """Every method against the baseline: differences of the statistics, and probability of improvement."""
        baseline = self.computation.config.baseline
        rows: list[list[Cell]] = []
        for suite, scores in suites.items():
            if not baseline or baseline not in scores.final:
                continue
            for label in scores.final:
                if label != baseline:
                    rows.append([suite or "–", label, baseline, *self._against(suite, scores, label, baseline)])
        note = (
            f"Method minus baseline, final scores, {self._intervals()}; runs of both resampled on their own. "
            "P(improvement): probability that a run of the method ends with a better score than one of the baseline "
            "on a task drawn at random. 0.5: no difference."
        )
        columns = ["suite", "method", "baseline", "tasks", "env steps", "IQM difference", "mean difference"]
        title = f"Differences from {baseline}"
        return Table("differences", title, [*columns, "P(improvement)"], rows, note) if rows else None

    def _against(self, suite: str, scores: SuiteScores, label: str, baseline: str) -> list[Cell]:
        ours, theirs = scores.final[label], scores.final[baseline]
        steps = {name: steps_text(*scores.read_at(name)) for name in (label, baseline)}
        same = len(set(steps.values())) == 1
        shown = steps[label] if same else "; ".join(f"{name}: {text}" for name, text in steps.items())
        cells: list[Cell] = [k_of_n(scores), shown]
        for statistic in ("iqm", "mean"):
            found = difference(
                ours,
                theirs,
                statistic,
                self.computation.table_resamples,
                self.computation.generator(f"difference:{suite}:{label}:{baseline}:{statistic}"),
                confidence=self.computation.config.confidence,
            )
            cells.append(_without_width(found, ours, theirs))
        return [*cells, self._improvement(suite, scores, label, baseline)]

    def sample_efficiency(self, suites: Mapping[str, SuiteScores], scales: Mapping[str, str]) -> Table | None:
        """Area under the curve, and env steps until scores are reached: per suite, then per task."""
        levels = self.computation.config.reach
        rows: list[list[Cell]] = []
        for suite, scores in suites.items():
            kept = levels if is_normalised(scales[suite]) else []
            empty: list[Cell] = [None] * (2 * (len(levels) - len(kept)))

            def part(label: str, column: slice) -> tuple[np.ndarray, list[np.ndarray]]:
                return scores.area[label][:, column], [scores.steps[level][label][:, column] for level in kept]  # noqa: B023

            for label in scores.area:
                found = self._efficiency(*part(label, slice(None)), f"efficiency:{suite}:all:{label}")
                rows.append([suite or "–", "all", label, _range_text(scores.ranges), *found, *empty])
            single = [(i, task, label) for i, task in enumerate(scores.curve_tasks) for label in scores.area]
            parts = [part(label, slice(i, i + 1)) for i, _, label in single]
            each = self._efficiency_of_tasks(parts, f"efficiency:{suite}")
            for (i, task, label), cells in zip(single, each, strict=True):
                rows.append([suite or "–", task, label, _range_text(scores.ranges[i : i + 1]), *cells, *empty])
        columns = ["suite", "task", "method", "env steps", "area under curve"]
        for level in levels:
            columns += [f"env steps to {level:g}", f"share reaching {level:g}"]
        note = (
            f"Normalised scores, {self._intervals()}, over the env steps that the runs of all methods cover. Area: "
            "mean score over these. Env steps: IQM of the first evaluation at or above the level; runs that do not "
            "reach it there count as ∞."
        )
        return Table("sample_efficiency", "Sample efficiency", columns, rows, note) if rows else None

    def _efficiency(self, area: np.ndarray, steps: Sequence[np.ndarray], purpose: str) -> list[Cell]:
        """The area, then per level the IQM of the env steps and the share of runs that reach it; (R, M) each."""
        confidence, resamples = self.computation.config.confidence, self.computation.table_resamples
        generator = self.computation.generator(purpose)
        means = interval(_area_and_shares(area, steps), "mean", resamples, generator, confidence=confidence)
        if not steps:
            return _efficiency_cells(means, None)
        generator = self.computation.generator(f"{purpose}:steps")
        stacked = np.stack(list(steps), axis=2)
        until = interval(stacked, "iqm", resamples, generator, confidence=confidence, allow_infinite=True)
        return _efficiency_cells(means, until)

    def _efficiency_of_tasks(
        self, parts: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]], purpose: str
    ) -> list[list[Cell]]:
        """`_efficiency` of many single tasks: (area, steps of each level), (R, 1) each, NaN where there is no run."""
        present = [~np.isnan(area[:, 0]) for area, _ in parts]
        shares = [_area_and_shares(area, steps)[kept, 0] for (area, steps), kept in zip(parts, present, strict=True)]
        means = self.computation.columns(shares, "mean", purpose)
        if not parts or not parts[0][1]:
            return [_efficiency_cells(one, None) for one in means]
        waits = [np.concatenate(list(steps), axis=1)[kept] for (_, steps), kept in zip(parts, present, strict=True)]
        until = self.computation.columns(waits, "iqm", f"{purpose}:steps", allow_infinite=True)
        return [_efficiency_cells(one, other) for one, other in zip(means, until, strict=True)]

    def improvement(self, suites: Mapping[str, SuiteScores]) -> Table | None:
        """Probability that a run of one method is better than a run of another, per suite."""
        rows: list[list[Cell]] = []
        for suite, scores in suites.items():
            for one, other in self._pairs(scores):
                rows.append([suite or "–", one, other, self._improvement(suite, scores, one, other)])
        note = (
            f"Probability that a run of X ends with a better score than one of Y on a task drawn at random, "
            f"{self._intervals()}. 0.5: no difference."
        )
        columns = ["suite", "X", "Y", "P(X > Y)"]
        return Table("improvement", "Probability of improvement", columns, rows, note) if rows else None

    def _improvement(self, suite: str, scores: SuiteScores, one: str, other: str) -> Estimate:
        found = probability_of_improvement(
            scores.final[one],
            scores.final[other],
            self.computation.table_resamples,
            self.computation.generator(f"improvement:{suite}:{one}:{other}"),
            confidence=self.computation.config.confidence,
        )
        return _without_width(found, scores.final[one], scores.final[other])

    def _pairs(self, scores: SuiteScores) -> list[tuple[str, str]]:
        labels = list(scores.final)
        baseline = self.computation.config.baseline
        if baseline in labels:
            return [(label, baseline) for label in labels if label != baseline]
        if len(labels) <= MAX_PAIRED_METHODS:
            return [(one, other) for index, one in enumerate(labels) for other in labels[index + 1 :]]
        best = max(labels, key=lambda label: float(np.nanmean(scores.final[label])))
        return [(best, label) for label in labels if label != best]

    def _checked(self, found: Interval, statistic: str, checked: str) -> Estimate:
        if checked and found.num_runs[1] > 1 and zero_width(checked, found) is not None:
            self._widthless.append(checked)
        return to_estimate(found, statistic)

    def _intervals(self, resamples: int | None = None) -> str:
        percent = f"{100 * self.computation.config.confidence:g} %"
        return (
            f"{percent} stratified bootstrap intervals "
            f"({resamples or self.computation.table_resamples:,} resamples, seed {self.computation.seed})"
        )


END_RULES = {
    "auto": (
        "the last that all methods' runs reached on the task, where they end within a fifth of each other; else each "
        "method's own end"
    ),
    "common": "the last that all methods' runs reached on the task",
    "own": "each method's own end on the task",
}
"""`final_at` in words."""


def to_estimate(found: Interval, column_statistic: str = "") -> Estimate:
    """A cell; its statistic is named where it is not what the column says; one run per task has no interval."""
    if found.num_runs[1] == 1 and float(found.width) == 0:
        return Estimate(float(found.point), np.nan, np.nan, ONE_RUN)
    label = "" if found.label == STATISTIC_NAMES.get(column_statistic, column_statistic) else found.label
    return Estimate(float(found.point), float(found.low), float(found.high), label)


def _without_width(found: Interval, ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """A comparison's cell: no interval where either method has one run per task."""
    if 1 in (_runs_per_task(ours), _runs_per_task(theirs)):
        return Estimate(float(found.point), np.nan, np.nan, ONE_RUN)
    return Estimate(float(found.point), float(found.low), float(found.high))


def _runs_per_task(scores: np.ndarray) -> int:
    return int((~np.isnan(scores)).sum(axis=0).max())


def _area_and_shares(area: np.ndarray, steps: Sequence[np.ndarray]) -> np.ndarray:
    """(R, M, 1 + levels): the area, and whether each level was reached; one set of draws for all of them."""
    return np.stack([area, *(np.where(np.isnan(one), np.nan, np.isfinite(one)) for one in steps)], axis=2)


def _efficiency_cells(means: Interval, until: Interval | None) -> list[Cell]:
    cells: list[Cell] = [_estimate_at(means, 0)]
    for index in range(0 if until is None else len(until.point)):
        assert until is not None
        cells += [_estimate_at(until, index), _estimate_at(means, 1 + index)]
    return cells


def _at(found: Interval, index: int) -> Interval:
    return replace(found, point=found.point[index], low=found.low[index], high=found.high[index])


def _estimate_at(found: Interval, index: int) -> Estimate:
    if found.num_runs[1] == 1:
        return Estimate(float(found.point[index]), np.nan, np.nan, ONE_RUN)
    label = found.label if found.label.endswith(")") else ""  # "mean (n=3)" in place of the IQM
    return Estimate(float(found.point[index]), float(found.low[index]), float(found.high[index]), label)


def is_normalised(scale: str) -> bool:
    """Whether a suite's scores are on a scale that tasks share."""
    return "not normalised" not in scale


def k_of_n(scores: SuiteScores) -> str:
    """How many of a suite's tasks an aggregate is over."""
    return f"{len(scores.tasks)} of {len(scores.every)}"


def steps_text(first: float, last: float) -> str:
    """Env steps of a read-off, or the range of them over tasks."""
    return short_number(first) if first == last else f"{short_number(first)} to {short_number(last)}"


def steps_by_method(read_at: Mapping[str, float]) -> str:
    """The env step of a task's final scores, or each method's where they differ."""
    if len(set(read_at.values())) == 1:
        return short_number(next(iter(read_at.values())))
    return ", ".join(f"{label} {short_number(step)}" for label, step in read_at.items())


def _range_text(ranges: Sequence[tuple[float, float]]) -> str:
    if len(ranges) == 1:
        return f"{short_number(ranges[0][0])} to {short_number(ranges[0][1])}"
    return f"to {steps_text(min(end for _, end in ranges), max(end for _, end in ranges))}"


def _count(scores: np.ndarray) -> int:
    return int(np.isfinite(scores).sum())
