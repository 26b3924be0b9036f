"""From decoded pictures to stored frames: crop, antialiased scaling, colour conversion and orientation.

Scaling and colour conversion are one step of the decoder's own scaler, from the coded planes to the final small RGB
frame: area averaging with accurate rounding, full chroma and bit-exact code paths, with the colour matrix and range
that the stream states. A full-size RGB picture is made only where a box may begin at any pixel (`crop_and_scale`), and
for the few pixel formats that the scaler spoils (`pipelines.decoding.colour`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import av
import av.error
import numpy as np

from pipelines.datasets.base import Box
from pipelines.datasets.prepare_config import Crop, Scaling
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.colour import Colours
from pipelines.decoding.frame_filter import FrameFilter
from pipelines.decoding.late_picture import LatePicture
from pipelines.decoding.orientation import UPRIGHT, Orientation, of_display_matrix

_DELETE_UNKNOWN = tuple(("sidedata", f"mode=delete:type={number}") for number in range(28, 32))
"""LCEVC, view numbers, 3D displays and EXIF: kinds of side data that PyAV 18.1 does not know."""


@lru_cache(maxsize=64)
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


def centre_square(height: int, width: int, aspect: float = 1.0) -> Box:
    """The largest centred square; left and top are even, so that subsampled colour planes are cut between pixels.

    Args:
        height, width: of the picture, in its own pixels.
        aspect: width of a pixel over its height; the box is square when it is shown, not when its pixels are counted.
    """
    side = min(height, width * aspect)
    box_height, box_width = max(1, round(side)), max(1, min(width, round(side / aspect)))
    left, top = (width - box_width) // 2 & ~1, (height - box_height) // 2 & ~1
    return left, top, left + box_width, top + box_height


class _Layout(NamedTuple):
    """How frames of one size are cut and scaled; sizes are of the stored picture before it is turned upright."""

    box: Box | None
    height: int
    width: int


class FrameScaler:
    """Turns decoded frames of one source item into stored frames.

    Args:
        size: `HxW`, `short:N` or `native`.
        crop: cut before scaling.
        scaling: how to scale.
    """

    def __init__(self, size: str, crop: Crop, scaling: Scaling) -> None:
        self._size, self._crop, self._scaling = size, crop, scaling
        self._colours = Colours()
        self._cutter: FrameFilter | None = None
        self._orientation_of = OrientationReader()
        self._orientation: Orientation | None = None
        self._layouts: dict[tuple[int, int, float, Orientation], _Layout] = {}

    def __call__(self, frame: av.VideoFrame, aspect: float = 1.0, orientation: Orientation | None = None) -> np.ndarray:
        """The stored frame, uint8 (H, W, 3); arguments and errors as of `late`."""
        return np.asarray(self.late(frame, aspect, orientation))

    def late(self, frame: av.VideoFrame, aspect: float = 1.0, orientation: Orientation | None = None) -> LatePicture:
        """The stored frame, scaled; its pixels are made when they are asked for.

        Args:
            frame: as decoded.
            aspect: width of a pixel over its height, before it is turned upright; 1 for square pixels.
            orientation: how the frame is shown; None takes the display matrix of the last key frame.

        Raises:
            SourceFailure: its colours cannot be turned into RGB.
        """
        if orientation is None:
            if frame.key_frame or self._orientation is None:  # looking costs as much as half of the scaling
                self._orientation = self._orientation_of(frame)
            orientation = self._orientation
        key = frame.height, frame.width, aspect, orientation
        layout = self._layouts.get(key) or self._layout(*key)
        if layout.box or frame.interlaced_frame:
            frame = self._cut(frame, layout.box)
        colours = self._colours
        if self._scaling == "bilinear-plain":
            pixels = bilinear_plain(colours.full(frame), layout.height, layout.width)
            return LatePicture(pixels, colours.packed, orientation)
        return LatePicture(colours.small(frame, layout.height, layout.width), colours.packed, orientation)

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """The whole picture as it is stored, uint8 (H, W, 3)."""
        if frame.interlaced_frame:
            frame = self._cut(frame, None)
        return self._colours.full(frame)

    def crop_and_scale(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """A box of a full-size RGB picture, scaled: uint8 (H, W, 3).

        Args:
            picture: uint8 (H, W, 3).
            box: inside the picture.
        """
        left, top, right, bottom = box
        part = np.ascontiguousarray(picture[top:bottom, left:right])
        return self._scaled(part, *target_size(self._size, bottom - top, right - left))

    def scale_rgb(self, picture: np.ndarray, aspect: float = 1.0) -> np.ndarray:
        """A full-size RGB picture that is upright, with the config's crop, scaled: uint8 (H, W, 3).

        Args:
            picture: uint8 (H, W, 3).
            aspect: width of a pixel over its height.
        """
        layout = self._layout(picture.shape[0], picture.shape[1], aspect, UPRIGHT)
        if layout.box:
            left, top, right, bottom = layout.box
            picture = picture[top:bottom, left:right]
        return self._scaled(picture, layout.height, layout.width)

    def _scaled(self, picture: np.ndarray, height: int, width: int) -> np.ndarray:
        picture = np.ascontiguousarray(picture)
        if picture.shape[:2] == (height, width):
            return picture
        if self._scaling == "bilinear-plain":
            return bilinear_plain(picture, height, width)
        return self._colours.average(picture, height, width)

    def _layout(self, height: int, width: int, aspect: float, orientation: Orientation) -> _Layout:
        """Where a stored picture of this size is cut, and what it is scaled to."""
        key = (height, width, aspect, orientation)
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) > 100:  # a stream that changes its size with every frame
                self._layouts.clear()
            layout = self._layouts[key] = self._new_layout(*key)
        return layout

    def _new_layout(self, height: int, width: int, aspect: float, orientation: Orientation) -> _Layout:
        if orientation.transposed:  # now as displayed
            height, width, aspect = width, height, 1 / aspect
        box = None
        if self._crop == "centre-square":
            box = centre_square(height, width, aspect)
            stored = orientation.stored_box(box, height, width)
            box, height, width = stored, box[3] - box[1], box[2] - box[0]
        if self._size != "native":  # `native` keeps the pixels that there are
            width = max(1, round(width * aspect)) if aspect >= 1 else width
            height = max(1, round(height / aspect)) if aspect < 1 else height
        height, width = target_size(self._size, height, width)
        return _Layout(box, width, height) if orientation.transposed else _Layout(box, height, width)

    def _cut(self, frame: av.VideoFrame, box: Box | None) -> av.VideoFrame:
        try:
            filters = _cutting(frame, box)
            if self._cutter is None or not self._cutter.fits(frame, *filters):
                self._cutter = FrameFilter(frame, *filters)
            return self._cutter(frame)
        except av.error.FFmpegError as error:  # an OSError would look like a full disk
            words = error.strerror or type(error).__name__
            raise SourceFailure(
                "corrupt", f"{frame.format.name} cannot be cut or its fields joined: {words}"
            ) from error


class OrientationReader:
    """What the display matrices of one video's frames tell."""

    def __init__(self) -> None:
        self._filter: FrameFilter | None = None

    def __call__(self, frame: av.VideoFrame) -> Orientation:
        """How a frame is shown.

        Raises:
            SourceFailure: what else the frame carries hides it, and cannot be taken away.
        """
        try:
            matrix = _display_matrix(frame)
        except ValueError:  # PyAV gives up all side data for one of a kind that it does not know, as EXIF
            matrix = _display_matrix(self._without_unknown(frame))
        return UPRIGHT if matrix is None else of_display_matrix(bytes(matrix))

    def _without_unknown(self, frame: av.VideoFrame) -> av.VideoFrame:
        try:
            if self._filter is None or not self._filter.fits(frame, *_DELETE_UNKNOWN):
                self._filter = FrameFilter(frame, *_DELETE_UNKNOWN)
            return self._filter(frame)
        except av.error.FFmpegError as error:  # an OSError would look like a full disk
            words = error.strerror or type(error).__name__
            raise SourceFailure("corrupt", f"side data of {frame.format.name} cannot be taken away: {words}") from error


def _display_matrix(frame: av.VideoFrame) -> Any:
    return frame.side_data.get("DISPLAYMATRIX")


def _cutting(frame: av.VideoFrame, box: Box | None) -> tuple[tuple[str, str], ...]:
    """Cuts a box out of the coded planes: only pointers move.

    Frames come out as progressive ones: the scaler would take the fields of interlaced ones apart, scale each, and
    weave them into a comb. The fields of a moving picture are averaged together, as for any other frame.
    """
    left, top, right, bottom = box or (0, 0, frame.width, frame.height)
    return ("crop", f"{right - left}:{bottom - top}:{left}:{top}"), ("setfield", "mode=prog")


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
