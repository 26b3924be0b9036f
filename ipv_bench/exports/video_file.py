"""Writes mp4 files of many episodes, and says where in the file each of them lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from ipv_bench.atomic_file import disk_errors
from ipv_bench.errors import OutputError
from ipv_bench.exports.config import LeRobotExportConfig

_ENCODERS: Mapping[str, tuple[str, int, Mapping[str, str]]] = {
    # ultrafast: the slower presets of x264 give varying bytes for equal frames, even with one thread
    "h264": ("libx264", 12, {"preset": "ultrafast", "threads": "1"}),
    "av1": ("libsvtav1", 18, {"preset": "8", "svtav1-params": "lp=1"}),
}
"""Codec → encoder, constant rate factor, options."""
_EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


class EpisodeVideo:
    """One mp4 with a key frame at the beginning of each episode and every few frames.

    Args:
        path: of the file; its folder is made.
        size: height and width of the frames.
        fps: frames per second.
        config: codec, quality, key frames.

    Attributes:
        pixel_format: of the stream: with colours at half resolution where both sides are even.
        num_frames: so far.

    Raises:
        OutputError: this build of PyAV has no such encoder, or the disk is full.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: Fraction, config: LeRobotExportConfig) -> None:
        self.path, self.num_frames = path, 0
        encoder, quality, options = _ENCODERS[config.codec]
        self.pixel_format = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        if config.codec == "av1" and (self.pixel_format == "yuv444p" or min(size) < 64):
            raise OutputError(
                f"frames of {size[0]}x{size[1]} pixels with codec=av1",
                expected="even sides of 64 pixels or more, which its encoder needs",
                fix="leave codec=h264",
            )
        if config.codec == "av1":
            os.environ.setdefault("SVT_LOG", "1")  # else its encoder tells of itself on stderr, errors or not
        self._scaler = VideoReformatter()
        self._time_base = 1 / fps
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(path), "w", format="mp4", container_options={"fflags": "+bitexact"})
            try:
                values = {**options, "crf": str(config.quality or quality), "g": str(config.key_frame_every)}
                stream = cast(VideoStream, self._container.add_stream(encoder, rate=fps, options=values))
            except (ValueError, av.error.FFmpegError) as error:
                raise OutputError(
                    f"PyAV cannot write {config.codec}: {error}",
                    expected=f"an encoder named {encoder} in PyAV's ffmpeg",
                    fix="set another codec: " + " or ".join(f"codec={one}" for one in _ENCODERS if one != config.codec),
                ) from error
            stream.height, stream.width = size
            stream.pix_fmt = self.pixel_format
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            self._stream: Any = stream

    def add(self, picture: np.ndarray, begins: bool) -> None:
        """Append a frame, uint8 (H, W, 3); `begins` when it is the first of its episode."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = self._scaler.reformat(frame, format=self.pixel_format, interpolation=_EXACT, threads=1)
        frame.pts, frame.time_base = self.num_frames, self._time_base
        if begins:
            frame.pict_type = av.video.frame.PictureType.I
        with disk_errors(self.path):
            self._container.mux(self._stream.encode(frame))
        self.num_frames += 1

    def close(self) -> None:
        """Write what is left, and the index."""
        with disk_errors(self.path):
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def abandon(self) -> None:
        """Close the file as it is; it is not to be used."""
        self._container.close()
