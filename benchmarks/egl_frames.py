"""Frames per second of the simulators' renderers here, and how far the pictures are from another machine's.

    python benchmarks/egl_frames.py --out here.npz                        one thread; `MUJOCO_GL=egl` if nothing is said
    python benchmarks/egl_frames.py --out here.npz --compare there.npz    and the pixels beside those of another machine

Per task and render profile: agent steps with their picture per second (64×64, action repeat 2, physics included), CPU
milliseconds of one, and the first eight pictures of seed 1 under the same actions. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np

from models.envs import make_env
from models.envs.registry import suite_of

TASKS = ("dmc/cheetah_run", "dmc/walker_walk", "dmcr/cheetah_run", "dmcr/walker_run")
PROFILES = ("fast", "faithful", "default")
WARM_UP, KEPT = 20, 8


def main() -> None:
    """Measure, and compare if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the pictures, for a comparison elsewhere")
    parser.add_argument("--compare", type=Path, help="another machine's --out")
    parser.add_argument("--steps", type=int, default=150, help="timed steps of each task and profile")
    options = parser.parse_args()
    speeds: dict[str, Any] = {}
    pictures: dict[str, np.ndarray] = {}
    for task in TASKS:
        for profile in PROFILES:
            name = f"{task.replace('/', '_')}_{profile}"
            speeds[name], pictures[name] = measure(task, profile, options.steps)
    if options.out:
        np.savez_compressed(options.out, **pictures)
    differences = {}
    if options.compare:
        with np.load(options.compare) as there:
            differences = {name: difference(pictures[name], there[name]) for name in pictures}
    print(json.dumps({"benchmark": "egl_frames", "speeds": speeds, "differences": differences}))


def measure(task: str, profile: str, steps: int) -> tuple[dict[str, float], np.ndarray]:
    """Speed, and the first pictures (KEPT, 64, 64, 3)."""
    env = make_env(task, suite_of(task).config(render_profile=profile, action_repeat=2))
    actions = np.random.default_rng(0)
    env.reset(1)
    kept = []
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            wall, cpu = time.perf_counter(), time.process_time()
        observation = env.step(actions.uniform(-1, 1, env.action_dim).astype(np.float32))[0]
        if step < KEPT:
            kept.append(observation["image"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    env.close()
    return {"fps": round(steps / wall, 1), "cpu_ms": round(1000 * cpu / steps, 3)}, np.stack(kept)


def difference(here: np.ndarray, there: np.ndarray) -> dict[str, float]:
    """Grey levels of 255 between two sets of pictures."""
    off = np.abs(here.astype(int) - there)
    return {
        "mean": round(float(off.mean()), 3),
        "max": int(off.max()),
        "share_above_2": round(float((off > 2).mean()), 4),
    }


if __name__ == "__main__":
    main()
