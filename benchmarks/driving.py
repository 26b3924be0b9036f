"""Does a small agent learn to drive? `dreamerv2`, preset `tiny`, on `highway/highway_fast`, three seeds, on a CPU.

    python benchmarks/driving.py              the three runs, resumable: run it again to go on
    python benchmarks/driving.py --summary    only read the runs that are kept
    python benchmarks/driving.py --by-hand 10 returns of policies written by hand instead, over so many episodes

A run's score is the mean of the episodes of its late evaluations (see benchmarks/learning.py); beside it the random
policy's returns in the very same settings, 30 episodes a run. Record and evaluations of a finished run are copied to
benchmarks/results/highway/runs/, to be committed; a run that is there is not made again. Seeds and settings are those
of the script and the preset; all runs are shown. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from kept_record import is_kept
from learning import KEPT_FILES, keep_run, run_path, summary
from numpy.typing import NDArray
from one_command import command
from ordered_work import as_far_as_it_goes, side_by_side

from models.envs import EnvConfig, make_env

TASK, METHOD, PRESET, SEEDS = "highway/highway_fast", "dreamerv2", "tiny", (0, 1, 2)
KEPT = Path(__file__).parent / "results" / "highway"
ACTION_REPEAT = 2
"""The preset's."""
FIRST_SEED = 1000
"""Of the episodes that are driven by hand."""


def main() -> None:
    """Run what is missing and print scores with intervals, or drive by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-driving"), help="workspace of the experiment")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--summary", action="store_true", help="only read what is kept")
    parser.add_argument("--by-hand", type=int, metavar="N", help="episodes for each policy written by hand")
    options = parser.parse_args()
    if options.by_hand:
        print(json.dumps({"benchmark": "driving", "by_hand": by_hand(options.by_hand)}))
        return
    status = 0
    if not options.summary:
        options.out.mkdir(parents=True, exist_ok=True)
        paths = {seed: run_path(TASK, METHOD, seed) for seed in SEEDS}
        missing = {str(path): partial(one_run, options.out, seed) for seed, path in paths.items()
                   if not is_kept(KEPT / path, KEPT_FILES)}  # fmt: skip
        status = as_far_as_it_goes(partial(side_by_side, options.jobs, missing))
    print(json.dumps({"benchmark": "driving", **summary(KEPT)}))
    sys.exit(status)


def one_run(out: Path, seed: int) -> None:
    """Make, or go on with, one run, and keep it when it is finished."""
    path = run_path(TASK, METHOD, seed)
    command(out, "finetune", "--preset", PRESET, "--task", TASK, "--seed", str(seed), "--set", f"method={METHOD}",
            "--run", str(path))  # fmt: skip
    keep_run(out, path, KEPT)


def by_hand(episodes: int) -> dict[str, dict[str, float]]:
    """How much there is to learn: mean return and control steps of simple policies, in the preset's settings."""
    found = {}
    with closing(make_env(TASK, EnvConfig(action_repeat=ACTION_REPEAT))) as env:
        simulator: Any = env._simulator  # type: ignore[attr-defined]
        for name, policy in _policies(simulator).items():
            played = [_drive(env, policy, FIRST_SEED + number) for number in range(episodes)]
            returns, steps = np.array(played, np.float64).T
            found[name] = {"return": round(returns.mean(), 1), "sd": round(returns.std(), 1), "steps": steps.mean()}
            print(
                f"{name:24} return {returns.mean():6.1f} ± {returns.std():5.1f}  steps {steps.mean():6.1f}", flush=True
            )
    return found


Policy = Callable[[np.random.Generator], NDArray[np.float64]]


def _policies(simulator: Any) -> dict[str, Policy]:
    return {
        "random": lambda draw: draw.uniform(-1, 1, 2),
        "random, a fifth of it": lambda draw: draw.uniform(-0.2, 0.2, 2),
        "straight on": lambda draw: np.zeros(2),
        "straight on, braking": lambda draw: np.array([0.0, -1.0]),
        "straight on, full speed": lambda draw: np.array([0.0, 1.0]),
        "keep a distance": lambda draw: np.array([0.0, _throttle(simulator)]),
    }


def _throttle(simulator: Any) -> float:
    """Towards 25 m/s, with a second's distance to the car ahead."""
    car = simulator.vehicle
    ahead, _ = simulator.road.neighbour_vehicles(car)
    wanted = (25.0 - car.speed) / 5
    if ahead is not None:
        gap = ahead.position[0] - car.position[0] - car.LENGTH
        wanted = min(wanted, 0.1 * (gap - car.speed) + 0.3 * (ahead.speed - car.speed))
    return float(np.clip(wanted, -1, 1))


def _drive(env: Any, policy: Policy, seed: int) -> tuple[float, int]:
    draw, total, steps, ended = np.random.default_rng(seed), 0.0, 0, False
    env.begin(seed)
    while not ended:
        reward, terminated, truncated, info = env.simulate(policy(draw))
        total, steps, ended = total + reward, steps + info["env_steps"], terminated or truncated
    return total, steps


if __name__ == "__main__":
    main()
