"""Writes small videos for the sample releases: one thread and fixed options, so that equal frames give equal bytes."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

# ultrafast: the slower presets of x264 give varying bytes for equal frames, even with one thread
H264_OPTIONS = {"preset": "ultrafast", "crf": "16", "threads": "1"}

EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def write_h264(path: Path, pictures: Iterable[np.ndarray], fps: int) -> None:
    """Write an MP4 file.

    Args:
        path: of the file; its folder is made.
        pictures: uint8 (H, W, 3), of equal and even size.
        fps: frames per second.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    container_options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", container_options=container_options) as container:
        stream: VideoStream | None = None
        scaler = VideoReformatter()
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream("libx264", rate=fps, options=H264_OPTIONS)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
                stream.codec_context.flags |= av.codec.context.Flags.bitexact
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            # without these flags the scaler's result depends on where in memory the picture lies
            frame = scaler.reformat(frame, format="yuv420p", interpolation=EXACT, threads=1)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
