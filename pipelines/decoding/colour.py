"""Colours of decoded frames as RGB, by the decoder's own scaler, and by ours where it refuses or errs.

The flags are those under which ffmpeg's program averages areas with full chroma. The scaler writes planes (`gbrp`):
bit for bit what it packs into `rgb24`, in two thirds of the time.
"""

from __future__ import annotations

from typing import Any

import av
import av.error
import numpy as np
from av.video.format import VideoFormat
from av.video.reformatter import Interpolation, VideoReformatter

from pipelines.datasets.quarantine import SourceFailure

_GBRP, _RGB24, _YUV16 = map(VideoFormat, ("gbrp", "rgb24", "yuv444p16le"))
"""By name they would be looked up for each frame, which PyAV's type hints expect; so would be the numbers of flags."""
_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_FULL_CHROMA = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
AREA = int(Interpolation.AREA | _FULL_CHROMA | _EXACT)
_COPY = int(Interpolation.BICUBIC | _FULL_CHROMA | _EXACT)

_UNSPECIFIED, _BT2020, _YCGCO, _FULL_RANGE = 2, 9, 8, 2
_KNOWN_MATRICES = frozenset({1, 2, 4, 5, 6, 7, 9})
"""Values of H.273 that the scaler converts by."""
_AS_ANOTHER = {0: _UNSPECIFIED, 3: _UNSPECIFIED, 10: _BT2020}
"""What ffmpeg's program does with the tags RGB and reserved on YUV planes, and with constant luminance, for which no
exact conversion exists without the transfer curve."""
_OF_PRIMARIES = {1: 1, 5: 5, 6: 7, 7: 7, 9: 9, 2: _UNSPECIFIED}
"""Primaries → the matrix that is derived from them (H.273's value 12)."""
_NAMES = {11: "SMPTE 2085", 12: "derived from its primaries", 13: "derived, constant luminance", 14: "ICtCp"}

_SPOILED = frozenset(
    {f"{order}{bits}{end}" for order in ("rgb", "bgr") for bits in (555, 565) for end in ("le", "be")}
    | {"monow", "monob", "gray9le", "gray9be"}
)
"""Pixel formats that the scaler only converts well at full size: scaled, 15- and 16-bit RGB comes out with a white of
248 (its big-endian kinds as noise), and black and white up to 15 levels too bright."""


class Colours:
    """Converts the frames of one source item; one set-up of the scaler each for what happens to every frame."""

    def __init__(self) -> None:
        self._small, self._full, self._packer = VideoReformatter(), VideoReformatter(), VideoReformatter()

    def small(self, frame: av.VideoFrame, height: int, width: int) -> av.VideoFrame | np.ndarray:
        """A frame averaged over areas: planes for `packed`, or what needs no packing, uint8 (height, width, 3).

        Args:
            frame: progressive.

        Raises:
            SourceFailure: no conversion of its colours is known.
        """
        if frame.colorspace not in _KNOWN_MATRICES:
            frame = _with_known_matrix(frame)
            if frame.colorspace == _YCGCO:
                return _ycgco(frame, height, width, self._small, AREA)
        if frame.format.name in _SPOILED:
            frame = _reformat(self._full, frame, frame.height, frame.width, _RGB24, _COPY)
        return _reformat(self._small, frame, height, width, _GBRP, AREA)

    def full(self, frame: av.VideoFrame) -> np.ndarray:
        """A frame at its own size, uint8 (H, W, 3); arguments and errors as of `small`."""
        if frame.colorspace not in _KNOWN_MATRICES:
            frame = _with_known_matrix(frame)
            if frame.colorspace == _YCGCO:
                return _ycgco(frame, frame.height, frame.width, self._full, _COPY)
        return _pixels(_reformat(self._full, frame, frame.height, frame.width, _RGB24, _COPY))

    def average(self, picture: np.ndarray, height: int, width: int) -> np.ndarray:
        """A full-size RGB picture, uint8 (H, W, 3), averaged over areas: uint8 (height, width, 3)."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        return self.packed(_reformat(self._small, frame, height, width, _GBRP, AREA))

    def packed(self, planes: av.VideoFrame) -> np.ndarray:
        """Pixels of planes that `small` made, uint8 (H, W, 3)."""
        return _pixels(_reformat(self._packer, planes, planes.height, planes.width, _RGB24, _COPY))


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    """The pixels of an rgb24 frame without the copy that `to_ndarray` makes, where rows have no padding."""
    plane = frame.planes[0]
    if plane.line_size != 3 * frame.width:
        return frame.to_ndarray()
    return np.ndarray((frame.height, frame.width, 3), np.uint8, memoryview(plane))


def _reformat(
    reformatter: VideoReformatter, frame: av.VideoFrame, height: int, width: int, form: Any, how: int
) -> av.VideoFrame:
    try:
        return reformatter.reformat(frame, width, height, form, None, None, how, threads=1)
    except (av.error.FFmpegError, ValueError, OverflowError) as error:  # an OSError would look like a full disk
        words = getattr(error, "strerror", None) or str(error)
        pixels = f"{frame.width}x{frame.height} pixels of {frame.format.name}"
        raise SourceFailure("corrupt", f"{pixels} cannot be turned into {width}x{height} of RGB: {words}") from error


def _with_known_matrix(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame with a matrix that is known here; its own tag may be one that the scaler refuses."""
    matrix = int(frame.colorspace)
    if matrix == 12:
        known = _OF_PRIMARIES.get(int(frame.color_primaries))
    elif matrix == _YCGCO:
        known = _YCGCO
    else:
        known = _AS_ANOTHER.get(matrix)
    if frame.format.is_rgb or len(frame.format.components) < 3:  # without a matrix to apply
        known = _UNSPECIFIED
    if known is None:
        name = _NAMES.get(matrix, f"matrix {matrix} of H.273")
        raise SourceFailure("corrupt", f"its colours are coded as {name}, and no way from there to RGB is known here")
    frame.colorspace = known
    return frame


def _ycgco(frame: av.VideoFrame, height: int, width: int, scaler: VideoReformatter, how: int) -> np.ndarray:
    """YCgCo by hand: the scaler has no such matrix. R = Y - Cg + Co, G = Y + Cg, B = Y - Cg - Co (H.273, 8.3)."""
    frame.colorspace = _UNSPECIFIED  # the same on both sides: the planes are only scaled
    if frame.format.name.startswith("yuvj"):
        frame.color_range = _FULL_RANGE
    full = frame.color_range == _FULL_RANGE
    wide = _reformat(scaler, frame, height, width, _YUV16, how)
    frame.colorspace = _YCGCO
    luma, green, orange = (_plane16(wide, number) for number in range(3))  # each (H, W)
    if full:
        luma, green, orange = luma / 65280, (green - 32768) / 65280, (orange - 32768) / 65280
    else:
        luma, green, orange = (luma - 4096) / 56064, (green - 32768) / 57344, (orange - 32768) / 57344
    rgb = np.stack([luma - green + orange, luma + green, luma - green - orange], -1)
    pixels: np.ndarray = (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels


def _plane16(frame: av.VideoFrame, number: int) -> np.ndarray:
    plane = frame.planes[number]
    rows: np.ndarray = np.frombuffer(memoryview(plane), "<u2", frame.height * plane.line_size // 2).reshape(
        frame.height, -1
    )
    return rows[:, : frame.width].astype(np.float64)
