"""Ground truth of a sample release: who moves where, in front of what; a JSON file that lies in the release.

Sample releases that draw their own scenes know what no real release tells: the place of every object in every frame,
which object it is, and which background stands behind it. `pipelines` writes this file; what measures a model against
it reads it. Positions are shares of the picture, so that they hold at any size to which the videos are stretched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ipv_bench.atomic_file import write_bytes
from ipv_bench.bounded_json import as_model, read_json
from ipv_bench.errors import InputError
from ipv_bench.file_names import shown

TRUTH_FILE = "sample_truth.json"
"""Its name in the folder of the release."""

_Point = tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(allow_inf_nan=False)]]


class VideoTruth(BaseModel):
    """One video.

    Attributes:
        template: the motion, as in the release's own lists.
        background: number of the background, 0 … `GroundTruth.backgrounds` - 1.
        objects: what is seen, the moving object first.
        positions: for each object, x and y of its centre in every frame of the video as encoded: shares of the
            picture's width and height, from the left upper corner.
    """

    model_config = ConfigDict(extra="forbid")

    template: str
    background: int = Field(ge=0)
    objects: list[str] = Field(min_length=1)
    positions: list[list[_Point]] = Field(min_length=1)

    def path(self) -> np.ndarray:
        """(T, 2) x and y of the moving object."""
        return np.array(self.positions[0], np.float64).reshape(-1, 2)


class GroundTruth(BaseModel):
    """The whole file.

    Attributes:
        data_set: whose layout the release has.
        backgrounds: number of backgrounds that the release draws from.
        objects: names of the objects that it draws from.
        videos: source id → truth.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    data_set: str
    backgrounds: int = Field(ge=1)
    objects: list[str]
    videos: dict[str, VideoTruth]

    def write(self, folder: Path) -> None:
        """Write it into the folder of a release."""
        write_bytes(folder / TRUTH_FILE, (self.model_dump_json(indent=None) + "\n").encode())


def read_truth(path: str | Path) -> GroundTruth:
    """Read the file, or the one in the folder of a release.

    Raises:
        InputError: it is absent, damaged, or of another format.
    """
    path = Path(path)
    if path.is_dir():
        path = path / TRUTH_FILE
    fix = f"name the {TRUTH_FILE} that `ipv-bench sample --dataset ssv2` wrote into its release"
    truth = as_model(GroundTruth, read_json(path, expect=dict, fix=fix), str(path), fix=fix)
    for source_id, video in truth.videos.items():
        _check(truth, video, f"{path}: video {shown(source_id, 40)}", fix)
    return truth


def _check(truth: GroundTruth, video: VideoTruth, where: str, fix: str) -> None:
    if video.background >= truth.backgrounds:
        expected = f"0 … {truth.backgrounds - 1}"
        raise InputError(f"{where} has background {video.background}", expected=expected, fix=fix)
    lengths = {len(positions) for positions in video.positions}
    if len(video.positions) != len(video.objects) or len(lengths) != 1:
        found = f"{where} has {len(video.objects)} objects and positions of {[len(p) for p in video.positions]} frames"
        raise InputError(found, expected="one place for each object in each frame", fix=fix)
