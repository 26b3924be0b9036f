"""Draws the pictures of docs/suites: `python docs/suites/contact_sheets.py` writes them to docs/images/."""

from __future__ import annotations

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
    """Draw all sheets; a few minutes on a CPU."""
    IMAGES.mkdir(exist_ok=True)
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
