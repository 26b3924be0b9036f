"""What can mislead a reader of the numbers: every check of the runs, as findings; and the runs that may be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ipv_bench.config import differences
from ipv_bench.errors import InputError
from ipv_bench.run_record import renderers_of
from reports.scores.align import GridConfig
from reports.scores.cleaning import clean_all
from reports.scores.findings import Finding, note, warning
from reports.scores.health import without_odd_runs
from reports.scores.identity import identity_findings
from reports.scores.pooling import (
    SAMPLED,
    Pool,
    config_differences,
    contents_of,
    methods_own,
    pool_name,
    pools,
    same_environment,
    scored_under,
    without_duplicates,
)
from reports.scores.score_table import Collection, LeftOut, ScoredRun
from reports.scores.training_scores import training_findings
from reports.statistics.intervals import Interval

ENOUGH_SEEDS = 5
"""Runs per task below which bootstrap intervals are much too narrow."""


def check(
    collection: Collection, *, allow_mixed: bool = False, grid: GridConfig | None = None, needs_scores: bool = True
) -> Collection:
    """The runs that may be used, those that were left out, and all findings about them.

    Args:
        collection: what the readers found.
        allow_mixed: pool runs of different environments; they are marked as mixed.
        grid: how long a run must be.
        needs_scores: refuse runs that have no scores yet.

    Raises:
        InputError: scores are needed, there are runs, none of them has an evaluation with a finite score, and there is
            no pre-training run to show either.
    """
    runs, findings = clean_all(collection.runs)
    findings += _without_evaluations(runs)
    single, found = without_duplicates(runs)
    left_out = _left_out(runs, single, "another copy of this run was used")
    findings += found
    runs, found = same_environment(single, allow_mixed=allow_mixed)
    left_out += _left_out(single, runs, "another environment than its method's other runs")
    findings += found
    runs, odd, found = without_odd_runs(runs, grid or GridConfig())
    left_out += odd
    findings += found
    scored = [run for run in runs if run.num_points]
    if needs_scores and runs and not scored and not collection.pretraining:
        raise InputError(
            f"none of the {len(runs)} runs has an evaluation with a finite score",
            expected="runs with evaluations",
            fix="wait until the first evaluation of a run is done, or look at why its scores are not finite",
        )
    for pool, its_runs in pools(scored).items():
        findings += _pool_findings(pool, its_runs)
    findings += identity_findings(scored)
    findings += training_findings(scored, (grid or GridConfig()).fill)
    findings += _few_seeds(scored)
    findings += _between_pools(scored)
    findings += _mixed_renderers(scored)
    findings += _unfinished(runs)
    return replace(collection, runs=tuple(runs), findings=(*collection.findings, *findings), left_out=tuple(left_out))


def _left_out(before: Sequence[ScoredRun], after: Sequence[ScoredRun], reason: str) -> list[LeftOut]:
    # Runs that are pooled knowingly are copies with a mark, so runs are told apart by what they were read from.
    kept = {(run.source, run.task_id, run.method, run.variant, run.seed) for run in after}
    return [
        LeftOut(run, reason)
        for run in before
        if (run.source, run.task_id, run.method, run.variant, run.seed) not in kept
    ]


def _without_evaluations(runs: Iterable[ScoredRun]) -> Iterator[Finding]:
    names = [run.name for run in runs if not run.num_points]
    if names:
        yield warning(
            "no_evaluations",
            f"{len(names)} runs have no evaluation with a finite score: {_some(names)}",
            "wait for their first evaluation, or leave them out",
            names,
        )


def _pool_findings(pool: Pool, runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    of_task = _by_task(runs)
    yield from _one_task(pool, of_task)
    yield from _unequal_seeds(pool, of_task)
    yield from _unequal_lengths(pool, of_task)
    yield from _mixed_configs(pool, of_task)
    yield from _mixed_presets(pool, runs)
    yield from _mixed_packages(pool, runs)
    yield from _mixed_data(pool, runs)


def _by_task(runs: Iterable[ScoredRun]) -> dict[str, list[ScoredRun]]:
    found: dict[str, list[ScoredRun]] = {}
    for run in runs:
        found.setdefault(run.task_id, []).append(run)
    return found


def _one_task(pool: Pool, of_task: dict[str, list[ScoredRun]]) -> Iterator[Finding]:
    if len(of_task) == 1:
        task, runs = next(iter(of_task.items()))
        yield warning(
            "one_task",
            f"{pool_name(pool)}: {task} is the only task, so the IQM leaves out half of its {len(runs)} runs and "
            "says nothing about other tasks",
            "add tasks, or read the mean",
            [task],
        )


def _unequal_seeds(pool: Pool, of_task: dict[str, list[ScoredRun]]) -> Iterator[Finding]:
    counts = {task: len(runs) for task, runs in of_task.items()}
    few, many = min(counts.values()), max(counts.values())
    if few < many:
        fewest = [task for task, count in counts.items() if count == few]
        yield warning(
            "unequal_seeds",
            f"{pool_name(pool)}: tasks have {few} to {many} runs (fewest: {_some(fewest)}); every task still weighs "
            f"1/{len(counts)} in aggregates",
            "run the missing seeds",
            fewest,
        )


def _unequal_lengths(pool: Pool, of_task: dict[str, list[ScoredRun]]) -> Iterator[Finding]:
    uneven = {}
    for task, runs in of_task.items():
        ends = [float(run.env_steps[-1]) for run in runs]
        spacing = max((float(np.median(np.diff(run.env_steps))) for run in runs if run.num_points > 1), default=0.0)
        if max(ends) - min(ends) > spacing:  # one evaluation more or less is no matter
            uneven[task] = (min(ends), max(ends))
    if uneven:
        worst = min(uneven, key=lambda task: uneven[task][0] / uneven[task][1])
        short, long = uneven[worst]
        yield warning(
            "unequal_lengths",
            f"{pool_name(pool)}: runs of {len(uneven)} of {len(of_task)} tasks end at different env steps; the most "
            f"uneven, {worst}, at {short:g} to {long:g}. Curves and final scores end with the shortest of them",
            "finish the short runs, or leave them out with grid.min_length or grid.stop in the report's config",
            list(uneven),
        )


def _mixed_configs(pool: Pool, of_task: dict[str, list[ScoredRun]]) -> Iterator[Finding]:
    for task, runs in of_task.items():
        changed = config_differences(runs)
        if changed:
            yield warning(
                "mixed_configs",
                f"{pool_name(pool)}: runs of {task} are pooled although their configs differ: {'; '.join(changed[:5])}"
                + (f"; and {len(changed) - 5} more" if len(changed) > 5 else ""),
                "give the runs different variants, or choose by `where` in the report's config",
                [run.name for run in runs],
            )
            return


def _preset(run: ScoredRun) -> str:
    """The preset that a run says it was made with; empty where it says none."""
    found = run.record.get("preset")
    return found if isinstance(found, str) else ""


def _mixed_presets(pool: Pool, runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    """Tasks that were run with different presets: sizes and budgets of one task are another's in the same aggregate."""
    tasks: dict[str, dict[str, None]] = {}
    for run in runs:
        if _preset(run):
            tasks.setdefault(_preset(run), {})[run.task_id] = None
    if len(tasks) > 1:
        shown = "; ".join(f"{preset}: {_some(list(its_tasks))}" for preset, its_tasks in tasks.items())
        yield warning(
            "mixed_presets",
            f"{pool_name(pool)}: runs of several presets are pooled ({shown})",
            "choose one by `where: {preset: ...}` in the report's config",
            [run.name for run in runs],
        )


def _compared_presets(of_pool: Mapping[Pool, Sequence[ScoredRun]]) -> Iterator[Finding]:
    """Methods that are compared on a suite although they were made with different presets."""
    presets = {pool_name(pool): sorted({_preset(run) for run in runs} - {""}) for pool, runs in of_pool.items()}
    said = {name: "+".join(found) for name, found in presets.items() if found}
    if len(set(said.values())) > 1:
        shown = "; ".join(f"{name}: {preset}" for name, preset in said.items())
        yield warning(
            "compared_presets",
            f"methods of different presets are compared ({shown}): sizes and budgets differ beside the method",
            "choose one preset by `where: {preset: ...}` in the report's config",
            list(said),
        )


def _mixed_packages(pool: Pool, runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    versions = [run.record.get("packages") or {} for run in runs]
    lines = dict.fromkeys(line for other in versions[1:] for line in differences(versions[0], other))
    if lines:
        yield warning(
            "mixed_versions",
            f"{pool_name(pool)}: runs were made with different package versions: {'; '.join(list(lines)[:5])}",
            "check that these versions compute the same",
            [run.name for run in runs],
        )


def _mixed_data(pool: Pool, runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    """Models that saw sets of one name and other contents: of another task's episodes, or made from another release."""
    contents: dict[str, list[str]] = {}
    for run in runs:
        contents.setdefault(contents_of(run), []).append(run.name)
    contents.pop("", None)
    if len(contents) > 1:
        shown = ", ".join(f"{hashes[:12]}… ({len(names)} runs)" for hashes, names in contents.items())
        yield warning(
            "mixed_data",
            f"{pool_name(pool)}: runs start from models of sets with one name and other contents (hash of the "
            f"inventory: {shown}); they are pooled",
            "choose one model's runs by `where: {parent.run: …}` in the report's config",
            [name for names in contents.values() for name in names],
        )


def _mixed_renderers(runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    """Frames of a graphics card and of a processor are close, not equal: shown together, but not in silence.

    Within a task: tasks of one suite may be drawn by different packages, as those of `gym/` are.
    """
    names: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for renderer in sorted(set(renderers_of(run.record.get("hardware")))):
            names.setdefault(run.task_id, {}).setdefault(renderer, []).append(run.name)
    alike: dict[tuple[str, ...], list[str]] = {}
    for task, groups in sorted(names.items()):
        if len(groups) > 1:
            alike.setdefault(tuple(sorted(groups)), []).append(task)
    for renderers, tasks in alike.items():  # one warning for all tasks that were drawn by the same
        of = {renderer: [name for task in tasks for name in names[task][renderer]] for renderer in renderers}
        shown = "; ".join(f"{renderer} ({len(its_runs)} runs)" for renderer, its_runs in of.items())
        yield warning(
            "mixed_renderers",
            f"frames of {_some(tasks)} were drawn by different renderers: {shown}",
            "frames of two renderers are close, not equal: repeat a run on the other one to see what that changes",
            list(dict.fromkeys(name for its_runs in of.values() for name in its_runs)),
        )


def _few_seeds(runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    few = {}
    for pool, its_runs in pools(runs).items():
        count = min(map(len, _by_task(its_runs).values()))
        if count < ENOUGH_SEEDS:
            few[pool_name(pool)] = count
    if few:
        yield warning(
            "few_seeds",
            f"fewer than {ENOUGH_SEEDS} seeds: {', '.join(f'{name} {count}' for name, count in few.items())}; "
            "intervals from so few runs are too narrow",
            f"run at least {ENOUGH_SEEDS} seeds",
            list(few),
        )


def _between_pools(runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    """What methods that are compared do not have in common."""
    for suite in sorted({run.suite for run in runs}):
        of_pool = pools(run for run in runs if run.suite == suite)
        firsts = {pool: its_runs[0] for pool, its_runs in of_pool.items()}
        metrics = {pool_name(pool): run.metric for pool, run in firsts.items()}
        if len(set(metrics.values())) > 1:
            shown = ", ".join(f"{name}: {metric}" for name, metric in metrics.items())
            yield warning("mixed_metrics", f"different scores are compared: {shown}", "choose one", list(metrics))
        known = {pool: its_runs for pool, its_runs in of_pool.items() if its_runs[0].env_fingerprint}
        unknown = [pool_name(pool) for pool in firsts if pool not in known]
        yield from _compared_environments(known)
        yield from _compared_presets(of_pool)
        if unknown:
            yield note(
                "unknown_environment",
                f"nothing says in which environment these runs were made: {_some(unknown)}; "
                "whether they are comparable was not checked",
                subjects=unknown,
            )
        repeats = {str(run.action_repeat or "not stated") for run in runs if run.suite == suite}
        yield note(
            "x_axis",
            f"{suite or 'runs without a suite'}: the x-axis is env steps (simulator control steps); "
            f"action repeat {', '.join(sorted(repeats))}",
        )


def _compared_environments(known: dict[Pool, list[ScoredRun]]) -> Iterator[Finding]:
    """Whether methods were scored alike: on a task of both where there is one, for environments differ between tasks.

    Where there is none, which actions were scored is compared: that is one for all tasks of a method.
    """
    pools_and_runs = list(known.items())
    for pool, runs in pools_and_runs[1:]:
        here, there = _of_one_task(runs, pools_and_runs[0][1])
        found = [scored_under(there), scored_under(here)]
        if here.task != there.task:
            found = [{name: value for name, value in one.items() if name == SAMPLED} for one in found]
        lines = differences(*found)
        if lines and {line.split(": ", 1)[0] for line in lines} <= methods_own(there, here):
            yield note(
                "compared_observations",
                f"{pool_name(pool)} is compared with {there.label}, and each sees and is scored in its own way: "
                f"{'; '.join(lines)}",
                subjects=[here.name, there.name],
            )
        elif lines:
            yield warning(
                "compared_environments",
                f"{pool_name(pool)} is compared with {there.label} of another environment, or way of scoring: "
                f"{'; '.join(lines)}",
                "run both in one environment, and score them in one way",
                [here.name, there.name],
            )


def _of_one_task(runs: Sequence[ScoredRun], others: Sequence[ScoredRun]) -> tuple[ScoredRun, ScoredRun]:
    """A run of each that have a task in common; the first ones where they have none."""
    of_task = {run.task: run for run in reversed(others)}
    return next(((run, of_task[run.task]) for run in runs if run.task in of_task), (runs[0], others[0]))


def _unfinished(runs: Iterable[ScoredRun]) -> Iterator[Finding]:
    names = {run.name: run.status for run in runs if run.status not in ("finished", "unknown")}
    if names:
        shown = _some([f"{name} ({status})" for name, status in names.items()])
        yield warning("unfinished_runs", f"{len(names)} runs are not finished: {shown}", "finish them", list(names))


def zero_width(name: str, interval: Interval) -> Finding | None:
    """A warning when an interval has no width although there are several runs: the scores are probably not runs.

    Args:
        name: what the interval is of, for the text.
        interval: of several runs or of one.
    """
    points = np.atleast_1d(interval.width == 0)
    if not points.any():
        return None
    runs = interval.num_runs[0]
    if runs == 1:
        text = f"{name}: one run per task, so its interval has no width: it is no measure of uncertainty"
    else:
        where = "" if points.size == 1 else f" at {int(points.sum())} of {points.size} steps"
        text = f"{name}: the interval of {runs} runs has no width{where}: their scores are equal"
    return warning("zero_width", text, "run more seeds; check that runs are not copies of one another", [name])


def _some(names: Sequence[str], number: int = 5) -> str:
    shown = ", ".join(names[:number])
    return f"{shown} and {len(names) - number} more" if len(names) > number else shown
