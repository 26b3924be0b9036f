"""Draws the pictures of docs/suites: `python docs/suites/contact_sheets.py` writes them to docs/images/.

`.venv-robosuite/bin/python docs/suites/contact_sheets.py robosuite` draws robosuite's, in its own environment.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.envs import EnvConfig, make_env
from models.envs.metaworld import PAPER_TASKS
from models.envs.registry import suite_of

IMAGES = Path(__file__).parents[1] / "images"
Frame = NDArray[np.uint8]


def main() -> None:
    """Draw all sheets but robosuite's, or that one; a few minutes on a CPU."""
    IMAGES.mkdir(exist_ok=True)
    if sys.argv[1:] == ["robosuite"]:
        write("robosuite_tasks.png", robosuite(), scale=1)
        return
    tasks = [frame(f"metaworld/{name}", 5, render_profile="faithful") for name in PAPER_TASKS]
    profiles = [frame("metaworld/drawer_open", 5, render_profile=name) for name in ("default", "faithful", "fast")]
    write("metaworld_tasks.png", [tasks], scale=3)
    write("metaworld_profiles.png", [profiles], scale=3)
    dmc = ("cartpole_balance", "cheetah_run", "walker_walk", "reacher_easy", "finger_spin", "hopper_hop")
    rows = [[frame(f"dmc/{name}", 1, render_profile=profile) for name in dmc] for profile in ("default", "fast")]
    write("dmc_tasks.png", rows, scale=3)
    sheet = []
    for name in PAPER_TASKS:
        with closing(make_env(f"metaworld-remastered/{name}", EnvConfig())) as env:
            sheet.append([env.reset(seed)["image"] for seed in range(10)])
    write("metaworld_remastered_episodes.png", sheet, scale=2)
    looks: tuple[Any, ...] = ("table", "floor", "wall", "object", "arm", "light", "camera")
    sheet = [
        [frame("metaworld-remastered/drawer_open", seed, vary=(factor,)) for seed in range(1, 7)] for factor in looks
    ]
    write("metaworld_remastered_factors.png", sheet, scale=2)
    sheet = [driving(name, seed) for name in ("highway", "highway_fast") for seed in (1, 2)]
    write("highway_tasks.png", sheet, scale=2)
    sheet = []
    for name in ("cheetah_run", "hopper_stand", "walker_run"):
        with closing(make_env(f"dmcr/{name}", EnvConfig())) as env:
            sheet += [[env.reset(seed)["image"] for seed in range(row, row + 8)] for row in (0, 8)]
    write("dmcr_episodes.png", sheet, scale=2)
    factors: tuple[Any, ...] = ("floor", "background", "body", "reflectance", "light", "camera")
    write(
        "dmcr_factors.png",
        [[frame("dmcr/cheetah_run", seed, vary=(factor,)) for seed in range(6)] for factor in factors],
        2,
    )


def robosuite(tasks_a_row: int = 5) -> list[list[Frame]]:
    """First and eleventh frame of each task, under one action."""
    row: list[Frame] = []
    for name in suite_of("robosuite/lift").tasks:
        with closing(make_env(f"robosuite/{name}", EnvConfig(image_size=160))) as env:
            row.append(env.reset(3)["image"])
            for _ in range(10):
                env.simulate(np.full(env.action_dim, 0.3))
            row.append(env.look())
    width = 2 * tasks_a_row
    row += [np.zeros_like(row[0])] * (-len(row) % width)
    return [row[start : start + width] for start in range(0, len(row), width)]


def driving(name: str, seed: int, frames: int = 8, apart: int = 4) -> list[Frame]:
    """Frames of a car that keeps its lane and its speed, `apart` control steps from one to the next."""
    with closing(make_env(f"highway/{name}", EnvConfig())) as env:
        shown = [env.reset(seed)["image"]]
        while len(shown) < frames:
            for _ in range(apart):
                env.simulate(np.zeros(2))
            shown.append(env.look())
    return shown


def frame(task: str, seed: int, **fields: Any) -> Frame:
    """First frame of an episode."""
    with closing(make_env(task, suite_of(task).config(**fields))) as env:
        return env.reset(seed)["image"]


def write(name: str, rows: list[list[Frame]], scale: int) -> None:
    """Lay frames out in rows and write them, each pixel `scale` pixels wide."""
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1)).save(IMAGES / name, optimize=True)
    print(IMAGES / name)


if __name__ == "__main__":
    main()
