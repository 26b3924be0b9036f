"""Scores that their suite cannot give: percent where shares are expected, returns that were summed or divided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from reports.scores.findings import Finding, warning
from reports.scores.human_scores import ScoreRange
from reports.scores.normalise import BUILT_IN, NormaliseConfig
from reports.scores.score_table import ScoredRun

FACTORS = (2, 4, 5, 8, 10, 100, 1000)
"""What explains scores that are too large: an action repeat that was multiplied in, percent, a sum over episodes."""

SLACK = 1.001
"""Scores outside their range by less than this share of its width, less 1, are rounding."""


def outside_known_ranges(runs: Sequence[ScoredRun], config: NormaliseConfig) -> Iterator[Finding]:
    """One warning per method and suite whose scores, as they were logged, leave the range that its suite has.

    Args:
        runs: cleaned runs, not normalised.
        config: own ranges go before the built-in ones.
    """
    rules = BUILT_IN | dict(config.ranges)
    scored = [run for run in runs if run.num_points]
    for (suite, label), group in groupby(sorted(scored, key=_suite_and_label), key=_suite_and_label):
        its_runs = list(group)
        name = label + (f" on {suite}" if suite else "")
        yield from _too_large(name, its_runs, rules)
        yield from _too_small(name, its_runs, rules)
        yield from _divided(name, its_runs, [run for run in scored if run.suite == suite], rules)
    yield from _percent_beside_shares(scored, rules)


def _suite_and_label(run: ScoredRun) -> tuple[str, str]:
    return run.suite, run.label


def _rule(run: ScoredRun, rules: Mapping[str, ScoreRange]) -> ScoreRange | None:
    found = rules.get(run.task_id) or rules.get(run.suite)
    if run.metric == "success":
        return found if found is not None and run.suite not in BUILT_IN else ScoreRange(low=0, high=1)
    return found


def _too_large(name: str, runs: Sequence[ScoredRun], rules: Mapping[str, ScoreRange]) -> Iterator[Finding]:
    def excess(run: ScoredRun, rule: ScoreRange) -> float:
        return (float(run.scores.max()) - rule.high) / (rule.high - rule.low)

    over = [(run, rule) for run in runs if (rule := _rule(run, rules)) and excess(run, rule) > SLACK - 1]
    if not over:
        return
    worst, rule = max(over, key=lambda one: excess(*one))
    largest = float(worst.scores.max())
    why = (
        _explained(largest / rule.high, worst)
        if rule.high > 0
        else "No factor explains it: the range ends at or below 0"
    )
    text = (
        f"{name}: {len(over)} of {len(runs)} runs have a {worst.metric} above {rule.high:g}, which is the most that "
        f"{worst.task_id} can give (largest: {largest:g}). {why}"
    )
    yield warning(
        "outside_range",
        text,
        "correct the log, or set normalise: {factors: {METHOD: …}} or {ranges: {SUITE: {high: …}}} in the config",
        sorted({run.task_id for run, _ in over}),
    )


def _explained(ratio: float, run: ScoredRun) -> str:
    if run.metric == "success" and 1 < ratio <= 100:
        return "A factor of 100 would explain it: success in percent"
    repeat = run.action_repeat or 0
    if repeat > 1 and 1 < ratio <= repeat:
        return f"A factor of {repeat}, its action repeat, would explain it"
    factor = next((one for one in FACTORS if ratio <= one * SLACK), None)
    return f"A factor of {factor} would explain it" if factor else "No factor up to 1000 explains it"


def _too_small(name: str, runs: Sequence[ScoredRun], rules: Mapping[str, ScoreRange]) -> Iterator[Finding]:
    def below(run: ScoredRun, rule: ScoreRange) -> bool:
        return float(run.scores.min()) < rule.low - (SLACK - 1) * (rule.high - rule.low)

    under = [(run, rule) for run in runs if (rule := _rule(run, rules)) and below(run, rule)]
    if under:
        worst, rule = min(under, key=lambda one: float(one[0].scores.min()))
        yield warning(
            "outside_range",
            f"{name}: {len(under)} of {len(runs)} runs have a {worst.metric} below {rule.low:g}, which is the least "
            f"that {worst.task_id} can give (smallest: {float(worst.scores.min()):g}). No factor explains it: a cost, "
            "a penalty, or another reward",
            "check what was logged",
            sorted({run.task_id for run, _ in under}),
        )


def _divided(
    name: str, runs: Sequence[ScoredRun], suite: Sequence[ScoredRun], rules: Mapping[str, ScoreRange]
) -> Iterator[Finding]:
    """Returns that lie in [0, 1] where the range is much wider, while others of the same tasks use it."""
    found = [(run, rule) for run in runs if run.metric != "success" and (rule := _rule(run, rules)) is not None]
    wide = [(run, rule) for run, rule in found if rule.high >= 100]
    if not wide or any(run.scores.max() > 1 * SLACK or run.scores.min() < 0 for run, _ in wide):
        return
    tasks = {run.task_id for run, _ in wide}
    others = [run for run in suite if run.task_id in tasks and run.label != runs[0].label]
    high = wide[0][1].high
    several = len(tasks) > 1 and any(run.scores.max() > 0.1 for run, _ in wide)
    if several or any(run.scores.max() > 0.1 * high for run in others):
        largest = max(float(run.scores.max()) for run, _ in wide)
        yield warning(
            "outside_range",
            f"{name}: no {wide[0][0].metric} is above 1 (largest: {largest:g}), although {high:g} can be reached. "
            f"A factor of {high:g} would explain it: scores that were normalised already",
            f"normalise: {{factors: {{{runs[0].label}: {high:g}}}}} in the report's config, if that is so",
            sorted(tasks),
        )


def _percent_beside_shares(runs: Sequence[ScoredRun], rules: Mapping[str, ScoreRange]) -> Iterator[Finding]:
    """Scores without a known range: one method's within [0, 1], another's of the same task up to 100."""
    by_task: dict[str, list[ScoredRun]] = {}
    for run in runs:
        if run.metric == "score" and _rule(run, rules) is None:
            by_task.setdefault(run.task_id, []).append(run)
    found = []
    for task, its_runs in by_task.items():
        tops = _largest(its_runs)
        shares = [label for label, top in tops.items() if 0 < top <= 1]
        percent = [label for label, top in tops.items() if 2 < top <= 100]
        if shares and percent and min(tops[label] for label in percent) > 10 * max(tops[label] for label in shares):
            found.append((task, shares[0], percent[0]))
    if found:
        task, share, percentage = found[0]
        yield warning(
            "outside_range",
            f"{len(found)} tasks have methods within [0, 1] ({share}) beside methods up to 100 ({percentage}), such as "
            f"{task}. A factor of 100 would explain it: percent beside shares",
            f"normalise: {{factors: {{{percentage}: 0.01}}}} in the report's config, if that is so",
            [task for task, _, _ in found],
        )


def _largest(runs: Iterable[ScoredRun]) -> dict[str, float]:
    found: dict[str, float] = {}
    for run in runs:
        found[run.label] = max(found.get(run.label, float("-inf")), float(run.scores.max()))
    return found
