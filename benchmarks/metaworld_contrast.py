"""How well goal and object can be seen in Meta-world remastered.

    python benchmarks/metaworld_contrast.py [--tasks lever_pull drawer_open ...] [--draws 1000] [--first 0] [--quick]

For each draw of all factors (an episode's first frame, 64 pixels, profile `fast`) and each of three things (the goal's
marker, the part that is to be moved, the whole object): the mean difference in grey between the pixels that show it and
the same pixels of a picture without it, which is what lies behind. Which pixels show it is found by two pictures in
which it is white and black: those where they differ by half of the largest difference or more. What covers less than
some half of one pixel (behind the arm, or not in the task at all) is not in view, in plain Meta-world neither, and is
counted apart. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.envs.metaworld import PAPER_TASKS
from models.envs.metaworld_factors import LUMA
from models.envs.metaworld_remastered import MetaworldRemasteredConfig, MetaworldRemasteredEnv

ENOUGH = 20.0
"""Grey levels, of 255."""
SEEN = 90.0
"""Grey levels between white and black below which less than half a pixel of a thing is in view."""
THINGS = ("goal", "key", "object")


def main() -> None:
    """Measure, print a line per task and thing, and end with one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=PAPER_TASKS, choices=PAPER_TASKS)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--quick", action="store_true", help="20 draws, under 60 s")
    options = parser.parse_args()
    draws = 20 if options.quick else options.draws
    result: dict[str, Any] = {"benchmark": "metaworld_contrast", "draws": draws, "first": options.first}
    for task in options.tasks:
        found = contrasts(task, options.first, draws)
        result[task] = {thing: summary(values) for thing, values in found.items()}
        print(f"{task:28} {result[task]}", flush=True)
    print(json.dumps(result))


def summary(values: NDArray[np.float64]) -> dict[str, float]:
    """Share of the draws with enough contrast among those where the thing is in view, and low quantiles."""
    seen = values[np.isfinite(values)]
    if not seen.size:
        return {"seen": 0}
    low = {f"q{100 * part:g}": round(float(np.quantile(seen, part)), 1) for part in (0.01, 0.1)}
    return {
        "seen": seen.size,
        "share": round(float((seen >= ENOUGH).mean()), 4),
        "min": round(float(seen.min()), 1),
    } | low


def contrasts(task: str, first: int, draws: int) -> dict[str, NDArray[np.float64]]:
    """Thing → (draws,) contrast in grey levels; NaN where it is not in view."""
    config = MetaworldRemasteredConfig(render_profile="fast")
    with closing(MetaworldRemasteredEnv(task, config)) as env:
        rows = [_draw(env, seed) for seed in range(first, first + draws)]
    return {thing: np.array([row[thing] for row in rows]) for thing in THINGS}


def _draw(env: MetaworldRemasteredEnv, seed: int) -> dict[str, float]:
    shown = _grey(env.reset(seed)["image"])
    model, parts = env._model, env._painter._parts
    shapes = {"key": list(parts.key), "object": [*parts.body, *parts.key]}
    goals = [site for site in parts.goals if model.site(site).name.startswith("goal")]
    found = {"goal": _contrast(env, shown, model.site_rgba, goals)}
    return found | {thing: _contrast(env, shown, model.geom_rgba, numbers) for thing, numbers in shapes.items()}


def _contrast(env: MetaworldRemasteredEnv, shown: NDArray[np.float64], rgba: Any, numbers: list[int]) -> float:
    if not numbers:
        return float("nan")
    kept = rgba[numbers].copy()
    pictures = []
    for colour in ((0.0, 0.0, 0.0, 0.0), (0.001, 0.001, 0.001, 1.0), (1.0, 1.0, 1.0, 1.0)):
        rgba[numbers] = colour
        pictures.append(_grey(env.look()))
    rgba[numbers] = kept
    behind, black, white = pictures
    cover = white - black
    if cover.max() < SEEN:
        return float("nan")
    pixels = cover >= cover.max() / 2
    return float(np.abs(shown - behind)[pixels].mean())


def _grey(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(image @ LUMA)


if __name__ == "__main__":
    main()
