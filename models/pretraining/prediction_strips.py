"""Pictures of predictions: strips (truth / prediction / error over time) as PNG, and the same as moving GIFs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ipv_bench.atomic_file import write_bytes

ROWS = ("truth", "prediction", "error")
GAP, MARGIN = 2, 64
ERROR_GAIN = 2.0
"""The error row shows |prediction - truth|, averaged over colours, times this; white is an error of a half or more."""
_SEEN, _PREDICTED = (40, 110, 60), (170, 60, 40)


def write_strips(path: Path, truth: np.ndarray, prediction: np.ndarray, warmup: int) -> None:
    """Write one PNG: per segment three rows, one column per time step.

    Frames up to `warmup` were seen by the model (green bar above them), later ones are predicted open loop (red bar).

    Args:
        path: the PNG.
        truth: (N, T, H, W, 3) uint8.
        prediction: (N, T, H, W, 3) uint8.
        warmup: number of frames that the model saw.
    """
    count, length, height, width = truth.shape[:4]
    block = 3 * (height + GAP) + 8
    sheet = Image.new("RGB", (MARGIN + length * (width + GAP), count * block), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for n in range(count):
        rows = (truth[n], prediction[n], error_frames(truth[n], prediction[n]))
        for t in range(length):
            left = MARGIN + t * (width + GAP)
            colour = _SEEN if t < warmup else _PREDICTED
            draw.rectangle((left, n * block, left + width - 1, n * block + 3), fill=colour)
            for row, frames in enumerate(rows):
                sheet.paste(Image.fromarray(frames[t]), (left, n * block + 6 + row * (height + GAP)))
        for row, name in enumerate(ROWS):
            draw.text((2, n * block + 6 + row * (height + GAP) + height // 2 - 6), name, fill=(0, 0, 0))
    write_bytes(path, _encoded(sheet, "PNG"))


def write_gif(
    path: Path, truth: np.ndarray, prediction: np.ndarray, warmup: int, fps: float = 8, zoom: int = 3
) -> None:
    """Write one segment as a GIF: truth, prediction and error side by side; bars as in `write_strips`.

    Args:
        path: the GIF.
        truth: (T, H, W, 3) uint8.
        prediction: (T, H, W, 3) uint8.
        warmup: number of frames that the model saw.
        fps: frames per second.
        zoom: pixels per pixel.
    """
    error = error_frames(truth, prediction)
    gap = np.full((truth.shape[1], GAP, 3), 255, np.uint8)
    images = []
    for t in range(len(truth)):
        row = np.concatenate([truth[t], gap, prediction[t], gap, error[t]], axis=1)  # (H, 3 W + 2 GAP, 3)
        bar = np.full((2, row.shape[1], 3), _SEEN if t < warmup else _PREDICTED, np.uint8)
        picture = Image.fromarray(np.concatenate([bar, row], axis=0))
        images.append(picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST))
    write_bytes(path, _encoded(images[0], "GIF", save_all=True, append_images=images[1:], duration=1000 / fps, loop=0))


def error_frames(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Grey pictures of the error: uint8 (..., H, W, 3)."""
    error = np.abs(truth.astype(np.float32) - prediction.astype(np.float32)).mean(-1, keepdims=True) * ERROR_GAIN
    return np.repeat(np.minimum(error, 255).astype(np.uint8), 3, axis=-1)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
