"""A scaled frame whose planes are packed to pixels later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
import numpy as np

from pipelines.decoding.orientation import Orientation


class LatePicture:
    """A small picture as the scaler wrote it; `np.asarray` makes the pixels of it.

    Packing many in a row takes a fraction of the time that each takes right after its frame was decoded, as the video
    decoder drives everything else out of the processor's caches.

    Args:
        planes: the three planes, or the pixels where there never were any; before they are turned upright.
        pack: makes uint8 (H, W, 3) of planes.
        orientation: what turns the pixels upright.
    """

    __slots__ = ("_orientation", "_pack", "_planes", "shape")

    def __init__(
        self, planes: av.VideoFrame | np.ndarray, pack: Callable[[av.VideoFrame], np.ndarray], orientation: Orientation
    ) -> None:
        if isinstance(planes, np.ndarray):
            height, width = planes.shape[:2]
        else:
            height, width = planes.height, planes.width
        self._planes, self._pack, self._orientation = planes, pack, orientation
        self.shape: tuple[int, int, int] = (width, height, 3) if orientation.transposed else (height, width, 3)

    @property
    def nbytes(self) -> int:
        """Of the pixels."""
        return 3 * self.shape[0] * self.shape[1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """uint8 (H, W, 3), upright, rows in order."""
        planes = self._planes
        pixels = self._orientation.apply(planes if isinstance(planes, np.ndarray) else self._pack(planes))
        return pixels if dtype is None and not copy else np.array(pixels, dtype)
