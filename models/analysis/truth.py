"""Ground truth of an analysis's clips, where a sample release's side file gives it (`--set truth=FILE`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ipv_bench.bounded_file import reading_errors
from ipv_bench.errors import InputError
from ipv_bench.ground_truth import TRUTH_FILE, read_truth
from ipv_bench.shard_set import file_sha256
from models.analysis.clips import ClipSet

UNKNOWN = -1


@dataclass(frozen=True)
class ClipTruth:
    """What is known of the clips.

    Attributes:
        positions: (N, T, 2) x and y of the moving object's centre, shares of the picture; NaN where not known.
        backgrounds: (N,) number of the background; -1 where not known.
    """

    positions: np.ndarray
    backgrounds: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(N,) clips whose positions are known in every frame."""
        return np.asarray(~np.isnan(self.positions).any((1, 2)))

    def velocities(self) -> np.ndarray:
        """(N, 2) mean step of the object from frame to frame, shares of the picture; NaN where not known."""
        return np.asarray((self.positions[:, -1] - self.positions[:, 0]) / (self.positions.shape[1] - 1))


def truth_facts(path: str | None) -> dict[str, str]:
    """What stands for the side file among the facts that decide a result; nothing where there is none."""
    if path is None:
        return {}
    with reading_errors(path):
        place = Path(path) / TRUTH_FILE if Path(path).is_dir() else Path(path)
        return {"truth": file_sha256(place)} if place.is_file() else {}


def clip_truth(clips: ClipSet, path: str | None, notes: list[str]) -> ClipTruth:
    """The truth of clips; nothing is known without a file.

    Args:
        clips: of the analysis.
        path: the side file, or the folder of the sample release that holds it; None: none.
        notes: gets a line on what is known.

    Raises:
        InputError: the file is absent or damaged, knows none of the videos, or has fewer frames than one of them.
    """
    positions = np.full((len(clips), clips.length, 2), np.nan)
    backgrounds = np.full(len(clips), UNKNOWN)
    if path is None:
        notes.append(f"no ground truth is given; samples of ssv2 have one: --set truth=RELEASE/{TRUTH_FILE}")
        return ClipTruth(positions, backgrounds)
    truth = read_truth(path)
    for number, clip in enumerate(clips.clips):
        video = truth.videos.get(clip.video_id)
        frames = clips.source_frames(number)
        if video is None or frames is None:
            continue
        way = video.path()
        if frames.max() >= len(way):
            raise _other_release(
                path, f"has {len(way)} frames of video {clip.video_id}, of which {frames.max()} is asked"
            )
        positions[number], backgrounds[number] = way[frames], video.background
    known = int((backgrounds != UNKNOWN).sum())
    if not known:
        raise _other_release(path, f"knows none of the {len(clips)} clips' videos")
    notes.append(f"ground truth of {known} of {len(clips)} clips, from {path}")
    return ClipTruth(positions, backgrounds)


def _other_release(path: str, what: str) -> InputError:
    return InputError(
        f"{path} {what}",
        expected="the truth of the release that the shard set was made from",
        fix=f"name its {TRUTH_FILE}",
    )
