"""Sheets of example frames, the layouts of Figures 1 and 4 of ContextWM, from shard sets and from our environments.

    python docs/example_frames.py data/shards/ssv2 data/shards/human36m data/shards/youtube-driving --out report/figures

writes `fig1.png` (videos, a row for each shard set; then tasks, a row for each suite) and `fig4.png` (observations of
the suites). `report` runs no environment, so these two figures are made here. A suite that cannot be run on this
machine (CARLA without its server) is left out and named.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ipv_bench.errors import IpvBenchError
from ipv_bench.segments import open_segments
from models.envs import make_env

Frame = NDArray[np.uint8]
Row = tuple[str, list[Frame]]

COLUMNS, SIDE, GAP, LEFT = 6, 96, 4, 150
"""Frames in a row, and pixels of a frame on the sheet, between frames, and of the names on the left."""

SUITES = {
    "Meta-world": (
        "metaworld",
        ("lever_pull", "drawer_open", "door_lock", "button_press_topdown_wall", "reach", "dial_turn"),
    ),
    "DMC Remastered": ("dmcr", ("cheetah_run", "hopper_stand", "walker_run")),
    "CARLA": ("carla", ("clear_noon", "wet_sunset", "dynamic_weather")),
}
TITLES = {"ssv2": "Something-Something v2", "human36m": "Human3.6M", "youtube-driving": "YouTube Driving"}


def main() -> None:
    """Draw both sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", type=Path, help="shard sets")
    parser.add_argument("--out", type=Path, default=Path("report/figures"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tasks = list(task_rows())
    write(options.out / "fig1.png", [*video_rows(options.sets), *tasks])
    write(options.out / "fig4.png", tasks)


def video_rows(sets: Sequence[Path]) -> Iterator[Row]:
    """A row for each shard set: single frames of different draws."""
    for place in sets:
        segments = open_segments(place, 1, 0)
        yield TITLES.get(place.name, place.name), [square(segments[index][0]) for index in range(COLUMNS)]


def task_rows() -> Iterator[Row]:
    """A row for each suite that can be run here: first observations of its tasks' episodes, as agents see them."""
    for title, (suite, tasks) in SUITES.items():
        try:
            yield title, [observation(f"{suite}/{tasks[index % len(tasks)]}", index) for index in range(COLUMNS)]
        except IpvBenchError as error:
            print(f"{title} is left out: {error.found}")


def observation(task: str, seed: int) -> Frame:
    """First frame of an episode."""
    with closing(make_env(task)) as env:
        frame: Frame = env.reset(seed)["image"]
        return frame


def square(frame: Frame) -> Frame:
    """The middle square of a frame."""
    side = min(frame.shape[:2])
    top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
    return frame[top : top + side, left : left + side]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Lay the rows out, names on the left, and write a PNG."""
    if not rows:
        print(f"{path} is not written: there is nothing to show")
        return
    pitch = SIDE + GAP
    sheet = Image.new("RGB", (LEFT + COLUMNS * pitch, len(rows) * pitch + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for line, (name, frames) in enumerate(rows):
        top = GAP + line * pitch
        draw.text((LEFT - 10, top + SIDE / 2), name, fill="black", font=font, anchor="rm")
        for column, frame in enumerate(frames):
            picture = Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(picture, (LEFT + column * pitch, top))
    sheet.save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
