"""A PNG with frames of some videos of a shard set: one row per video, evenly spaced frames along it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ipv_bench.atomic_file import write_bytes
from ipv_bench.segment_source import SegmentSource

MAX_VIDEOS, FRAMES_PER_VIDEO = 12, 8
_CELL, _GAP, _CAPTION, _TITLE = 128, 4, 22, 30  # pixels
_DOTS_PER_INCH = 100


def write_contact_sheet(source: SegmentSource, path: str | Path) -> None:
    """Write the PNG; up to 12 videos, spread evenly over the set.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    videos = _spread(len(source.index.video_frames), MAX_VIDEOS)
    canvas, numbers = _paste(source, videos)
    height, width = canvas.shape[:2]
    figure = Figure(figsize=(width / _DOTS_PER_INCH, height / _DOTS_PER_INCH), dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    figure.figimage(canvas)  # one picture, pixel for pixel: an axis per frame takes seconds
    title = f"{source.manifest.name}: {len(source.index.video_frames)} videos"
    figure.text(_GAP / width, 1 - 18 / height, title, fontsize=9, weight="bold")
    for row, video in enumerate(videos):
        top = _TITLE + row * (_CAPTION + _CELL)
        figure.text(_GAP / width, 1 - (top + 16) / height, _caption(source, video), fontsize=8)
        for column, number in enumerate(numbers[row]):
            place = ((_GAP + column * (_CELL + _GAP) + 4) / width, 1 - (top + _CAPTION + _CELL - 5) / height)
            figure.text(
                *place, str(number), fontsize=6, color="white",
                bbox={"facecolor": "black", "alpha": 0.6, "pad": 1, "linewidth": 0},
            )  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def _paste(source: SegmentSource, videos: list[int]) -> tuple[np.ndarray, list[list[int]]]:
    """The white sheet with the frames on it, and the number of each frame per video."""
    height = _TITLE + max(len(videos), 1) * (_CAPTION + _CELL) + _GAP
    canvas = np.full((height, _GAP + FRAMES_PER_VIDEO * (_CELL + _GAP), 3), 255, np.uint8)
    numbers = []
    for row, video in enumerate(videos):
        numbers.append(_spread(int(source.index.video_frames[video]), FRAMES_PER_VIDEO))
        top = _TITLE + row * (_CAPTION + _CELL) + _CAPTION
        for column, number in enumerate(numbers[-1]):
            frame = _fit(source.frames(video, number, 1)[0])
            left = _GAP + column * (_CELL + _GAP)
            canvas[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return canvas, numbers


def _fit(frame: np.ndarray) -> np.ndarray:
    """The frame with its long side at the cell's size, by nearest neighbour: pixels stay visible as they are."""
    height, width = frame.shape[:2]
    scale = _CELL / max(height, width)
    rows = (np.arange(max(round(height * scale), 1)) / scale).astype(int).clip(0, height - 1)
    columns = (np.arange(max(round(width * scale), 1)) / scale).astype(int).clip(0, width - 1)
    cell: np.ndarray = frame[rows][:, columns]
    return cell


def _spread(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    numbers: list[int] = np.linspace(0, count - 1, most).round().astype(int).tolist()
    return numbers


def _caption(source: SegmentSource, video: int) -> str:
    label, split = source.index.label(video), source.index.split(video)
    parts = [source.index.video_id(video), f"{source.index.video_frames[video]} frames", split, label]
    text = ", ".join(part for part in parts if part)
    printable = "".join(letter if letter.isprintable() else "�" for letter in text)
    return (printable if len(printable) <= 130 else printable[:127] + "…").replace("$", r"\$")
