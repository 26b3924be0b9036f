"""Scores to a scale on which tasks can be pooled, per suite and stated on the page; scales are never mixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import SECTION, RefusedValueError
from ipv_bench.errors import nearest_name
from reports.scores.findings import Finding, note, warning
from reports.scores.human_scores import ScoreRange, read_human_scores
from reports.scores.score_table import Scale, ScoredRun


class NormaliseConfig(Config):
    """Own rules for normalising, before the built-in ones."""

    ranges: dict[str, ScoreRange] = {}
    """Suite, or `suite/task`, → range of its returns (or of its success, for logs in percent: `high: 100`)."""
    human: str | None = None
    """CSV with the columns task (or suite/task), random, human: returns of a random policy and of people. A relative
    path is looked for beside the report's config, then in the working folder."""
    factors: dict[str, float] = {}
    """Method → number that all of its scores are multiplied by first, such as 0.01 where its logs are in percent."""

    @model_validator(mode="after")
    def _factors_are_positive(self) -> NormaliseConfig:
        wrong = [name for name, factor in self.factors.items() if not 0 < factor < float("inf")]
        if wrong:
            raise RefusedValueError(
                f"{SECTION}factors of {', '.join(wrong)} are not positive numbers",
                expected="positive, finite numbers, such as 0.01 for logs in percent",
                fix=f"give {SECTION}factors such numbers, or leave those methods out",
            )
        return self


_DMC = ScoreRange(high=1000)
BUILT_IN: dict[str, ScoreRange] = {
    "dmc": _DMC,
    "dmcr": _DMC,
    "dmc_vision": _DMC,
    "dmc_proprio": _DMC,
    **dict.fromkeys(("carla/clear_noon", "carla/ClearNoon"), ScoreRange(low=-400, high=1200)),
    **dict.fromkeys(("carla/wet_sunset", "carla/WetSunset"), ScoreRange(low=-400, high=800)),
    **dict.fromkeys(("carla/dynamic_weather", "carla/Changing", "carla/dynamic"), ScoreRange(low=-400, high=600)),
}
"""Ranges of returns. DMControl's episodes give at most 1000; CARLA's ranges are those of the ContextWM paper
(arXiv:2305.18499), by our names of the tasks and by those of the released code."""

KINDS = ("human", "range", "share", "percent", "raw")
"""Kinds of scales; where a suite's tasks are split evenly between two of them, the earlier one is kept."""


@dataclass(frozen=True)
class Normalised:
    """Runs on a scale that tasks share.

    Attributes:
        runs: the runs in their order, each with its scale; those without a rule keep their scores.
        scales: suite → what its pooled scores are, for the page ("return / 1000", "return, not normalised").
        left_out: ids (of `runs`) that are on another scale than their suite's and may not be pooled with it.
        findings: what was left out, what has no rule, entries that nothing uses.
    """

    runs: tuple[ScoredRun, ...]
    scales: dict[str, str]
    left_out: frozenset[int]
    findings: tuple[Finding, ...]

    @property
    def poolable(self) -> tuple[ScoredRun, ...]:
        """The runs that may be pooled with others of their suite."""
        return tuple(run for run in self.runs if id(run) not in self.left_out)


def normalise(runs: Iterable[ScoredRun], config: NormaliseConfig | None = None) -> Normalised:
    """Bring returns into [0, 1] where a rule is known; shares of success are left as they are.

    Raises:
        InputError: `config.human` cannot be read.
        ConfigError: a person's score equals the random one.
    """
    config = config or NormaliseConfig()
    human = read_human_scores(Path(config.human)) if config.human else {}
    scaled = tuple(_scaled(run, config.ranges, human) for run in runs)
    findings = _unused_ranges(config, scaled)
    scales: dict[str, str] = {}
    left_out: set[int] = set()
    for suite in sorted({run.suite for run in scaled}):
        its_runs = [run for run in scaled if run.suite == suite]
        kept, others = one_scale(its_runs)
        scales[suite] = "; ".join(sorted({scale_of(run).text for run in kept}))
        left_out |= {id(run) for run in others}
        if others:
            findings.append(_other_scale(suite, kept, others, human, config.human or ""))
        if scale_of(kept[0]).kind == "raw" and len({run.task_id for run in kept}) > 1:
            findings.append(_pooled_as_they_are(suite, kept))
    findings += _unused_entries(human, scaled, config.human or "")
    return Normalised(scaled, scales, frozenset(left_out), tuple(findings))


def scale_of(run: ScoredRun) -> Scale:
    """A run's scale; one that nobody normalised is as it was logged."""
    return run.scale or Scale("raw", f"{run.metric}, not normalised")


def one_scale(runs: Sequence[ScoredRun]) -> tuple[list[ScoredRun], list[ScoredRun]]:
    """Split runs into those of one kind of scale, the one of most tasks, and the others; raw scores go last.

    A run without any success is zero in shares and in percent, so it goes with either.
    """
    tasks: dict[str, set[str]] = {}
    for run in runs:
        if scale_of(run).kind != "zero":
            tasks.setdefault(scale_of(run).kind, set()).add(run.task_id)
    if not tasks:
        return list(runs), []
    main = min(tasks, key=lambda kind: (kind == "raw", -len(tasks[kind]), KINDS.index(kind)))
    fits = {main, "zero"} if main in ("share", "percent") else {main}
    return [run for run in runs if scale_of(run).kind in fits], [run for run in runs if scale_of(run).kind not in fits]


def _scaled(run: ScoredRun, own: Mapping[str, ScoreRange], human: Mapping[str, ScoreRange]) -> ScoredRun:
    rule = human.get(run.task_id) or human.get(run.task) if run.metric != "success" else None
    if rule is not None:
        return _in_range(run, rule, Scale("human", "human-normalised (random 0, human 1)"))
    rule = own.get(run.task_id) or own.get(run.suite)
    if rule is None and run.metric == "success":
        return replace(run, scale=_success_scale(run))
    rule = rule or BUILT_IN.get(run.task_id) or BUILT_IN.get(run.suite)
    if rule is None:
        return replace(run, scale=Scale("raw", f"{run.metric}, not normalised"))
    text = f"{run.metric} / {rule.high:g}" if rule.low == 0 else f"{run.metric}, [{rule.low:g}, {rule.high:g}] → [0, 1]"
    return _in_range(run, rule, Scale("range", text))


def _success_scale(run: ScoredRun) -> Scale:
    """Shares lie in [0, 1]. A task solved in less than one episode of a hundred would be read as a share."""
    largest = float(run.scores.max()) if run.num_points else 0.0
    if largest > 1:
        what = ("percent", "success in percent") if largest <= 100 else ("raw", "success above 100")
        return Scale(what[0], f"{what[1]}, not normalised")
    return Scale("share" if largest > 0 else "zero", "success rate")


def _in_range(run: ScoredRun, rule: ScoreRange, scale: Scale) -> ScoredRun:
    return replace(run, scores=(run.scores - rule.low) / (rule.high - rule.low), scale=scale)


def _pooled_as_they_are(suite: str, runs: Sequence[ScoredRun]) -> Finding:
    tasks = sorted({run.task_id for run in runs})
    return warning(
        "not_normalised",
        f"{suite or 'runs without a suite'}: the scores of {len(tasks)} tasks are pooled as they are, so that the "
        "tasks with large scores decide",
        "give ranges or a file of human scores in the report's config (normalise: ...)",
        tasks,
    )


def _other_scale(
    suite: str, kept: Sequence[ScoredRun], others: Sequence[ScoredRun], human: Mapping[str, ScoreRange], file: str
) -> Finding:
    scales = sorted({scale_of(run).text for run in others})
    names = sorted({run.task_id for run in others})
    kinds = {scale_of(run).kind for run in others}
    text = (
        f"{suite or 'runs without a suite'}: {len(others)} runs of {', '.join(names[:5])}"
        f"{f' and {len(names) - 5} more tasks' if len(names) > 5 else ''} are in another scale ({'; '.join(scales)}) "
        f"than the rest ({scale_of(kept[0]).text}); aggregates leave them out"
    )
    lacking = [run.task for run in others if scale_of(run).kind != "human"]
    if human and scale_of(kept[0]).kind == "human":
        text += f". {file} has no entry for {_with_nearest(lacking, human)}"
        return warning("other_scale", text, f"add the entries to {file}, spelled as the runs' tasks", names)
    if "percent" in kinds | {scale_of(kept[0]).kind} and kinds & {"percent", "share"}:
        labels = sorted({run.label for run in others})
        factor = "0.01" if "percent" in kinds else "100"
        text += f". Percent beside shares: a factor of 100 would explain it ({', '.join(labels)})"
        fix = f"normalise: {{factors: {{{labels[0]}: {factor}}}}} in the report's config multiplies a method's scores"
        return warning("other_scale", text, fix, names)
    return warning(
        "other_scale", text, "give all tasks one kind of rule in the report's config (normalise: ...)", names
    )


def _with_nearest(tasks: Iterable[str], known: Mapping[str, ScoreRange]) -> str:
    shown = []
    for task in dict.fromkeys(tasks):
        near = nearest_entry(task, known)
        shown.append(f"{task} (nearest: {near})" if near else task)
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")


def nearest_entry(task: str, known: Iterable[str]) -> str | None:
    """The entry that a task's name was probably meant to match, letters' case and `suite/` aside."""
    plain = {name.rpartition("/")[2].casefold(): name for name in sorted(known, reverse=True)}
    near = nearest_name(task.casefold(), list(plain))
    return plain[near] if near else None


def _unused_entries(human: Mapping[str, ScoreRange], runs: Sequence[ScoredRun], file: str) -> list[Finding]:
    names = {name for run in runs for name in (run.task, run.task_id)}
    unused = [entry for entry in human if entry not in names]
    if not unused:
        return []
    text = f"{file}: no run has the task of {len(unused)} entries: {', '.join(unused[:20])}" + (
        f" and {len(unused) - 20} more" if len(unused) > 20 else ""
    )
    return [note("unused_entries", text, "check their spelling", unused)]


def _unused_ranges(config: NormaliseConfig, runs: Sequence[ScoredRun]) -> list[Finding]:
    known = {
        "ranges": {name for run in runs for name in (run.suite, run.task_id)},
        "factors": {name for run in runs for name in (run.method, run.label)},
    }
    findings = []
    for field, given in (("ranges", config.ranges), ("factors", config.factors)):
        unused = [name for name in given if name not in known[field]]
        if unused:
            shown = ", ".join(
                f"{name} (nearest: {near})" if (near := nearest_name(name, sorted(known[field]))) else name
                for name in unused
            )
            findings.append(warning("unused_rules", f"normalise.{field}: no run is called {shown}", "", unused))
    return findings


def multiplied(runs: Iterable[ScoredRun], factors: Mapping[str, float]) -> tuple[tuple[ScoredRun, ...], list[Finding]]:
    """The runs with `NormaliseConfig.factors` applied, and a note for each method that has one."""
    changed: dict[str, int] = {}

    def apply(run: ScoredRun) -> ScoredRun:
        name = run.label if run.label in factors else run.method
        if name not in factors:
            return run
        changed[name] = changed.get(name, 0) + 1
        return replace(run, scores=run.scores * factors[name])

    found = tuple(apply(run) for run in runs)
    notes = [
        note("multiplied", f"{name}: the scores of {count} runs were multiplied by {factors[name]:g}, as configured")
        for name, count in changed.items()
    ]
    return found, notes
