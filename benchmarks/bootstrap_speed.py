"""How much faster the intervals of curves are than rliable's, and that they agree.

    python benchmarks/bootstrap_speed.py [--quick]

Four methods × 8 seeds × 6 tasks × 51 points, IQM, 2,000 resamples. rliable is called as its README shows (a function
that applies the IQM to each step), with fewer resamples, and its time is scaled up linearly: its cost is a loop over
resamples. Both are timed as processor time in one process, in turns. Agreement is measured twice: on the same matrix
with equal draws (final scores), and as the largest difference of interval bounds of all curves with different draws.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402  (after the thread counts, which numpy reads once)
from rliable import library, metrics  # noqa: E402

from reports.statistics.intervals import interval  # noqa: E402

METHODS, SEEDS, TASKS, STEPS, RESAMPLES = 4, 8, 6, 51, 2000


def learning_curves() -> dict[str, np.ndarray]:
    """Method → (8, 6, 51) scores that rise to a level of their own, with noise from run to run and step to step."""
    source = np.random.default_rng(0)
    rise = 1 - np.exp(-3 * np.linspace(0, 1, STEPS))
    curves = {}
    for index in range(METHODS):
        level = 0.4 + 0.1 * index + 0.1 * source.standard_normal((SEEDS, TASKS, 1))
        curves[f"method{index}"] = level * rise + 0.05 * source.standard_normal((SEEDS, TASKS, STEPS))
    return curves


def iqm_of_steps(scores: np.ndarray) -> np.ndarray:
    """(S,) IQM at each step, as in rliable's README."""
    return np.array([metrics.aggregate_iqm(scores[..., step]) for step in range(scores.shape[-1])])


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of a call, and its result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def largest_difference(curves: dict[str, np.ndarray], bounds: dict[str, np.ndarray], resamples: int) -> float:
    """Largest difference of a bound of any curve at any step from rliable's, over as many (other) draws.

    rliable draws runs anew at each step, we take whole runs; the intervals at a step have one distribution.
    """
    found = 0.0
    for name, scores in curves.items():
        ours = interval(scores, "iqm", resamples, np.random.default_rng(1))
        found = max(found, float(np.abs(np.stack([ours.low, ours.high]) - bounds[name]).max()))
    return found


class _Replayed(np.random.Generator):
    """Repeats the draws that rliable makes after `np.random.seed(seed)`."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._legacy = np.random.RandomState(seed)

    def integers(self, low: int, high: int, size: tuple[int, int, int], dtype: type) -> np.ndarray:  # type: ignore[override]
        runs, tasks, draws = size
        drawn = [self._legacy.choice(high, (runs, tasks), replace=True) for _ in range(draws)]
        return np.ascontiguousarray(np.array(drawn, dtype).transpose(1, 2, 0))


def difference_with_equal_draws(curves: dict[str, np.ndarray]) -> float:
    """Largest difference of point and bounds of the final scores when both see the same 2,000 draws."""
    found = 0.0
    for scores in curves.values():
        final = scores[:, :, -1]
        np.random.seed(5)
        points, bounds = library.get_interval_estimates(
            {"x": final}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=RESAMPLES
        )
        ours = interval(final, "iqm", RESAMPLES, _Replayed(5))
        theirs = np.array([points["x"][0], *bounds["x"][:, 0]])
        found = max(found, float(np.abs(np.array([ours.point, ours.low, ours.high]) - theirs).max()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="rliable with 25 resamples in place of 500")
    quick = parser.parse_args().quick
    repeats, reps = (3, 25) if quick else (3, 500)
    curves = learning_curves()
    print(f"{METHODS} methods x {SEEDS} seeds x {TASKS} tasks x {STEPS} points, IQM, {RESAMPLES} resamples")
    np.random.seed(1)
    ours, theirs = [], []
    for _ in range(repeats):
        seconds, _ = timed(
            lambda: [interval(scores, "iqm", RESAMPLES, np.random.default_rng(0)) for scores in curves.values()]
        )
        ours.append(seconds)
        seconds, (_, bounds) = timed(lambda: library.get_interval_estimates(curves, iqm_of_steps, reps=reps))
        theirs.append(seconds * RESAMPLES / reps)
    our_seconds, their_seconds = statistics.median(ours), statistics.median(theirs)
    print(f"ours     {our_seconds:8.3f} s of processor time (median of {repeats}; {min(ours):.3f} to {max(ours):.3f})")
    print(f"rliable  {their_seconds:8.1f} s, scaled from {reps} resamples (median of {repeats})")
    equal = difference_with_equal_draws(curves)
    other = largest_difference(curves, bounds, reps)
    print(f"largest difference with equal draws {equal:.1e}; of curves with {reps} other draws {other:.4f}")
    result = {
        "benchmark": "bootstrap_speed",
        "vs_rliable": round(their_seconds / our_seconds, 1),
        "max_interval_difference": equal,
        "max_interval_difference_other_draws": round(other, 5),
        "seconds": round(our_seconds, 4),
        "rliable_seconds": round(their_seconds, 2),
        "rliable_resamples_timed": reps,
        "resamples": RESAMPLES,
        "quick": quick,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
