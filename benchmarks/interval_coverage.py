"""How often a 95 % bootstrap interval of few runs holds the true mean, or sees a difference where there is none.

    python benchmarks/interval_coverage.py            of 2, 3, 5, 8, 10, 20 runs of normal and of skewed scores
    python benchmarks/interval_coverage.py --quick    fewer draws; nothing is written

The intervals are those of tables and reports (`reports.statistics.intervals.interval`, the mean), over scores whose
true mean is known: normal ones, and exponential ones, as returns are that can only be positive. And those of the
probability of improvement, over two tasks and two methods without any difference: how often one leaves a half out. The
result goes to benchmarks/results/interval_coverage.json; draws are seeded, so that it comes again. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ipv_bench.atomic_file import write_json
from reports.statistics.intervals import interval
from reports.statistics.profiles import probability_of_improvement

RESULT = Path(__file__).parent / "results" / "interval_coverage.json"
RUNS = (2, 3, 5, 8, 10, 20)
PAIRS = ((3, 3), (5, 5), (8, 8), (8, 5), (10, 10))
"""Runs on each of two tasks of the one method and of the other; 8 and 5: as benchmarks/miniature.py has them."""
Draw = Callable[[np.random.Generator, int], np.ndarray]
SCORES: dict[str, Draw] = {
    "normal": lambda generator, runs: generator.normal(1.0, 1.0, runs),
    "exponential": lambda generator, runs: generator.exponential(1.0, runs),
}
"""Name → scores whose true mean is 1."""


def main() -> None:
    """Print the coverage by number of runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer draws")
    options = parser.parse_args()
    trials, resamples = (200, 200) if options.quick else (4000, 2000)
    found = {name: {runs: coverage(draw, runs, trials, resamples) for runs in RUNS} for name, draw in SCORES.items()}
    for name, shares in found.items():
        print(f"{name:12} " + "  ".join(f"n={runs}: {share:.0%}" for runs, share in shares.items()), file=sys.stderr)
    chance = {f"{ours} and {theirs}": differences(ours, theirs, trials, resamples) for ours, theirs in PAIRS}
    told = "  ".join(f"{pair}: {share:.1%}" for pair, share in chance.items())
    print(f"a difference seen where there is none: {told}", file=sys.stderr)
    result = {
        "benchmark": "interval_coverage", "trials": trials, "resamples": resamples, "coverage": found,
        "improvement_by_chance": chance,
    }  # fmt: skip
    if not options.quick:
        write_json(RESULT, result)
    print(json.dumps(result))


def coverage(draw: Draw, runs: int, trials: int, resamples: int) -> float:
    """Share of `trials` intervals of so many runs that hold the true mean."""
    generator = np.random.default_rng(runs)
    hits = 0
    for _ in range(trials):
        found = interval(draw(generator, runs)[:, None], "mean", resamples, generator)
        hits += bool(found.low <= 1.0 <= found.high)
    return hits / trials


def differences(ours: int, theirs: int, trials: int, resamples: int) -> float:
    """Share of `trials` intervals of P(X > Y) over two tasks that leave a half out, of scores drawn alike (from any
    distribution: only which one is larger counts)."""
    generator = np.random.default_rng([ours, theirs])
    hits = 0
    for _ in range(trials):
        one, other = (generator.normal(size=(runs, 2)) for runs in (ours, theirs))
        found = probability_of_improvement(one, other, resamples, generator)
        hits += not float(found.low) <= 0.5 <= float(found.high)
    return hits / trials


if __name__ == "__main__":
    main()
