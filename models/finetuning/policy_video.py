"""Episodes as small videos: GIF (plays in any browser and README) or MP4."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ipv_bench.atomic_file import TEMPORARY_SUFFIX, disk_errors, write_bytes
from ipv_bench.errors import UsageError

FRAMES_PER_SECOND = 20
SCALE = 3
"""64 pixels are too small to look at; each becomes a square of this side."""

Frames = Sequence[NDArray[np.uint8]]


def write_policy_video(path: str | Path, episodes: Sequence[Frames]) -> None:
    """Write episodes one after the other, complete or not at all.

    Args:
        path: ends in .gif or .mp4.
        episodes: per episode its frames (H, W, 3) uint8.

    Raises:
        UsageError: another ending.
        OutputError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    check_video_path(path)
    frames = [frame.repeat(SCALE, 0).repeat(SCALE, 1) for episode in episodes for frame in episode]
    write_bytes(path, _gif(frames) if path.suffix == ".gif" else _mp4(frames))


def check_video_path(path: Path) -> None:
    """Refuse a place where no video can be written, before anything is played; nothing stays there.

    Raises:
        UsageError: the name ends neither in .gif nor in .mp4, or is a folder's.
        OutputError: the folder cannot be written.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise UsageError(
            f"{path} does not say which kind of video",
            expected="a name that ends in .gif or .mp4",
            fix=f"call it {path.stem or 'episodes'}.mp4",
        )
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder", expected="a file's name for the video", fix=f"name {path / 'episodes.mp4'}"
        )
    there = next(folder for folder in path.absolute().parents if folder.exists())
    with disk_errors(path), tempfile.TemporaryFile(dir=there, suffix=TEMPORARY_SUFFIX):
        pass


def _gif(frames: Frames) -> bytes:
    from PIL import Image

    # One palette for all frames keeps colours from flickering, and the file small.
    palette = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 8)][:8])).quantize(128)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    output = io.BytesIO()
    pictures[0].save(
        output, "GIF", save_all=True, append_images=pictures[1:], duration=1000 // FRAMES_PER_SECOND, loop=0
    )
    return output.getvalue()


def _mp4(frames: Frames) -> bytes:
    import av

    output = io.BytesIO()
    with av.open(output, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_SECOND), options={"crf": "18"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return output.getvalue()
