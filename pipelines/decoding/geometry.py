"""From decoded pictures to stored frames: crop, antialiased scaling, colour conversion and rotation.

Scaling and colour conversion are one step of the decoder's own scaler, from the coded planes to the final small RGB
frame: area averaging with accurate rounding and bit-exact code paths, with the colour matrix and range that the stream
states. A full-size RGB picture is made only where a box may begin at any pixel (`crop_and_scale`).
"""

from __future__ import annotations

from typing import cast

import av
import av.filter
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from pipelines.datasets.base import Box
from pipelines.datasets.prepare_config import Crop, Scaling

_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT
AREA = Interpolation.AREA | _EXACT
_COPY = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | _EXACT


def target_size(size: str, height: int, width: int) -> tuple[int, int]:
    """Stored height and width.

    Args:
        size: `HxW`, `short:N` or `native`.
        height, width: of the picture after rotation and crop, in square pixels.
    """
    if size == "native":
        return height, width
    if size.startswith("short:"):
        short = int(size.removeprefix("short:"))
        scale = short / min(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))
    wanted_height, _, wanted_width = size.partition("x")
    return int(wanted_height), int(wanted_width)


def centre_square(height: int, width: int) -> Box:
    """The largest centred square; left and top are even, so that subsampled colour planes are cut between pixels."""
    side = min(height, width)
    left, top = (width - side) // 2 & ~1, (height - side) // 2 & ~1
    return left, top, left + side, top + side


class FrameScaler:
    """Turns decoded frames of one source item into stored frames.

    Args:
        size: `HxW`, `short:N` or `native`.
        crop: cut before scaling.
        scaling: how to scale.
    """

    def __init__(self, size: str, crop: Crop, scaling: Scaling) -> None:
        self._size, self._crop, self._scaling = size, crop, scaling
        self._reformatter = VideoReformatter()
        self._cropper: _Cropper | None = None

    def __call__(self, frame: av.VideoFrame, aspect: float = 1.0) -> np.ndarray:
        """The stored frame, uint8 (H, W, 3).

        Args:
            frame: as decoded; its rotation (display matrix) is applied.
            aspect: width of a pixel over its height; 1 for square pixels.
        """
        turns = round((frame.rotation or 0) / 90) % 4  # counter-clockwise quarter turns
        if self._crop == "centre-square":
            frame = self._cut(frame)
        height, width = frame.height, frame.width
        if aspect != 1.0:
            width = max(1, round(width * aspect))
        if turns % 2:
            height, width = width, height
        out_height, out_width = target_size(self._size, height, width)
        if turns % 2:
            out_height, out_width = out_width, out_height
        if self._scaling == "bilinear-plain":
            full = self.rgb(frame)
            picture = bilinear_plain(full, out_height, out_width)
        else:
            picture = _rgb_array(
                self._reformatter.reformat(
                    frame, width=out_width, height=out_height, format="rgb24", interpolation=AREA, threads=1
                )
            )
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """The whole picture, uint8 (H, W, 3)."""
        return self._reformatter.reformat(frame, format="rgb24", interpolation=_COPY, threads=1).to_ndarray()

    def crop_and_scale(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """A box of a full-size RGB picture, scaled: uint8 (H, W, 3).

        Args:
            picture: uint8 (H, W, 3).
            box: inside the picture.
        """
        left, top, right, bottom = box
        part = np.ascontiguousarray(picture[top:bottom, left:right])
        return self.scale_rgb(part)

    def scale_rgb(self, picture: np.ndarray, aspect: float = 1.0) -> np.ndarray:
        """An RGB picture without crop, scaled: uint8 (H, W, 3)."""
        height, width = target_size(self._size, picture.shape[0], max(1, round(picture.shape[1] * aspect)))
        if picture.shape[:2] == (height, width):
            return np.ascontiguousarray(picture)
        if self._scaling == "bilinear-plain":
            return bilinear_plain(picture, height, width)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        return self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=AREA, threads=1
        ).to_ndarray()

    def cut_rgb(self, picture: np.ndarray) -> np.ndarray:
        """The config's crop of an RGB picture."""
        if self._crop == "none":
            return picture
        left, top, right, bottom = centre_square(picture.shape[0], picture.shape[1])
        return picture[top:bottom, left:right]

    def _cut(self, frame: av.VideoFrame) -> av.VideoFrame:
        if frame.height == frame.width:
            return frame
        if self._cropper is None or not self._cropper.fits(frame):
            self._cropper = _Cropper(frame)
        return self._cropper(frame)


def _rgb_array(frame: av.VideoFrame) -> np.ndarray:
    """The pixels of an rgb24 frame without the copy that `to_ndarray` makes, where rows have no padding."""
    plane = frame.planes[0]
    if plane.line_size != 3 * frame.width:
        return frame.to_ndarray()
    size = 3 * frame.width * frame.height
    pixels: np.ndarray = np.frombuffer(memoryview(plane)[:size], np.uint8)
    return pixels.reshape(frame.height, frame.width, 3)


class _Cropper:
    """Cuts the centre square out of the coded planes by libavfilter: only pointers move."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._key = (frame.height, frame.width, frame.format.name)
        left, top, right, bottom = centre_square(frame.height, frame.width)
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        crop = self._graph.add("crop", f"{right - left}:{bottom - top}:{left}:{top}")
        source.link_to(crop)
        crop.link_to(self._graph.add("buffersink"))
        self._graph.configure()

    def fits(self, frame: av.VideoFrame) -> bool:
        return self._key == (frame.height, frame.width, frame.format.name)

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        self._graph.push(frame)
        return cast(av.VideoFrame, self._graph.pull())


def bilinear_plain(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear sampling of four neighbours without antialiasing: pixel centres at half-integers, edges repeated.

    Args:
        picture: uint8 (H, W, 3).
        height, width: of the result.

    Returns:
        uint8 (height, width, 3), rounded to nearest.
    """
    rows, row_weight = _neighbours(picture.shape[0], height)
    columns, column_weight = _neighbours(picture.shape[1], width)
    top, bottom = picture[rows[0]].astype(np.float32), picture[rows[1]].astype(np.float32)
    lines = top + (bottom - top) * row_weight[:, None, None]  # (height, W, 3)
    left, right = lines[:, columns[0]], lines[:, columns[1]]
    out: np.ndarray = left + (right - left) * column_weight[None, :, None]  # (height, width, 3)
    return np.ascontiguousarray(out + 0.5, np.uint8)  # the JPEG encoder needs rows in order


def _neighbours(size: int, wanted: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    position = np.clip((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0, size - 1)
    low = np.floor(position).astype(np.int64)
    return (low, np.minimum(low + 1, size - 1)), (position - low).astype(np.float32)
