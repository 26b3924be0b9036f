"""Scores that are no evaluations: training episodes, with their noise and exploration, and means of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reports.scores.align import FILL_WORDS, Fill, mean_window
from reports.scores.findings import Finding, note, warning
from reports.scores.pooling import Pool, pool_name, pools
from reports.scores.score_table import ScoredRun

_WORDS = {
    "evaluation": "evaluations",
    "training_mean": "means of the last training episodes",
    "training_episode": "single training episodes",
}

_FEW_EPISODES = 5


def training_findings(runs: Iterable[ScoredRun], fill: Fill) -> Iterator[Finding]:
    """A warning for each method whose scores are training episodes, and where such are compared with evaluations.

    Args:
        runs: those that are used.
        fill: how they are read off.
    """
    of_pool = pools(runs)
    for pool, its_runs in of_pool.items():
        episodes = [run.name for run in its_runs if run.origin == "training_episode"]
        means = [run.name for run in its_runs if run.origin == "training_mean"]
        if episodes:
            yield warning(
                "training_episodes",
                f"{pool_name(pool)}: the scores of {len(episodes)} of {len(its_runs)} runs are single training "
                f"episodes, of a policy that explores; {_treatment(fill)}{_few_behind(its_runs)}",
                "log evaluations, or read the numbers as training performance; final_window averages over more steps",
                episodes,
            )
        if means:
            text = f"{pool_name(pool)}: the scores of {len(means)} runs are means over their last training episodes"
            yield note("training_means", text, subjects=means)
    for suite in sorted({pool[0] for pool in of_pool}):
        yield from _compared({pool: its_runs for pool, its_runs in of_pool.items() if pool[0] == suite})


def _treatment(fill: Fill) -> str:
    if fill in ("auto", "mean"):
        return "curves and final scores are means over the last 5 % of env steps (grid.fill: mean)"
    return f"curves and final scores take {FILL_WORDS[fill]}, as grid.fill asks, and so single episodes"


def _few_behind(runs: Iterable[ScoredRun]) -> str:
    """What to say when hardly any episode lies in the window of a final score."""
    counts = []
    for run in runs:
        if run.origin == "training_episode" and run.num_points:
            first, behind = mean_window(run, run.env_steps[-1:])
            counts.append(int(behind[0] - first[0]))
    fewest = min(counts, default=_FEW_EPISODES)
    return f", which are {fewest} episodes of some runs" if fewest < _FEW_EPISODES else ""


def _compared(of_pool: dict[Pool, list[ScoredRun]]) -> Iterator[Finding]:
    kinds = {
        pool_name(pool): sorted({run.origin for run in runs if run.origin != "unknown"})
        for pool, runs in of_pool.items()
    }
    known = {name: " and ".join(_WORDS[one] for one in kinds[name]) for name in sorted(kinds) if kinds[name]}
    if len(set(known.values())) > 1:
        yield warning(
            "mixed_origins",
            f"scores of different kinds are compared: {'; '.join(f'{name}: {words}' for name, words in known.items())}",
            "evaluate all methods alike",
            list(known),
        )
