"""Frames in picture files, each decoded by the codec that its name tells, without opening a container per picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
import numpy as np
import simplejpeg

from pipelines.datasets.base import ImageFiles, SourceItem
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.damage_words import meaning_of
from pipelines.decoding.decoder_log import listening
from pipelines.decoding.frames import SourceInfo, StoredFrame, check_file, system_errors
from pipelines.decoding.geometry import FrameScaler
from pipelines.decoding.picture_fault import check_jpeg_data, check_picture, means_damage
from pipelines.decoding.selection import FrameSelector, selection_of

CODECS = {".jpg": "mjpeg", ".jpeg": "mjpeg", ".png": "png", ".bmp": "bmp", ".webp": "webp", ".ppm": "ppm"}
"""File name ending (lower case) → codec."""


class ImageFrames:
    """Frames of an `ImageFiles` item."""

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        assert isinstance(item.frames, ImageFiles)
        self._files, self._item, self._config = item.frames, item, config
        self._folder = source / item.frames.folder
        self.info = SourceInfo(num_frames_header=len(item.frames.names), fps=item.fps)

    def __iter__(self) -> Iterator[StoredFrame | None]:
        item, config = self._item, self._config
        scaler = FrameScaler(config.size, item.crop or config.crop, config.scaling)
        selector = FrameSelector(selection_of(item, config))
        self.info.kept_fps = selector.kept_fps(item.fps)
        boxes = iter(item.boxes) if item.boxes is not None else None
        for position, (name, number) in enumerate(zip(self._files.names, self._files.numbers, strict=True)):
            time = Fraction(position) / Fraction(item.fps) if item.fps else Fraction(position)
            if not selector.keeps(position, time):
                yield None
                continue
            if boxes is None:
                picture = scaler(self._decode(name))
                self.info.num_frames_decoded += 1
            else:
                full = self._decode_rgb(name, scaler)
                self.info.num_frames_decoded += 1
                box, height, width = next(boxes), *full.shape[:2]
                if box[2] > width or box[3] > height:
                    raise SourceFailure("bad_annotation", f"{name}: box {box} in {width}x{height} pixels")
                picture = scaler.crop_and_scale(full, box)
            yield StoredFrame(number, float(time), picture)

    def _read(self, name: str) -> tuple[bytes, str]:
        """Contents and codec of a picture file."""
        self._named(name, check_file, self._folder / name)
        with system_errors():
            data = (self._folder / name).read_bytes()
        self._named(name, check_picture, data)
        codec = CODECS.get(Path(name).suffix.lower())
        if codec is None:
            raise SourceFailure("corrupt", f"{name}: not a picture file")
        return data, codec

    @staticmethod
    def _named(name: str, check: Callable[[Any], None], subject: Any) -> None:
        try:
            check(subject)
        except SourceFailure as failure:
            raise SourceFailure(failure.reason, f"{name}: {failure.message}") from failure

    def _decode_rgb(self, name: str, scaler: FrameScaler) -> np.ndarray:
        """A whole picture, uint8 (H, W, 3); JPEGs five times as fast as through the decoder's scaler."""
        data, codec = self._read(name)
        if codec != "mjpeg":
            return scaler.rgb(self._decode(name))
        try:
            picture: np.ndarray = _jpeg_rgb(data)
        except ValueError as error:
            raise SourceFailure("corrupt", f"{name}: {error}") from error
        self._describe(codec, picture.shape[0], picture.shape[1])
        return picture

    def _describe(self, codec: str, height: int, width: int) -> None:
        if not self.info.codec:
            self.info.codec, self.info.height, self.info.width = codec, height, width

    def _decode(self, name: str) -> av.VideoFrame:
        data, codec = self._read(name)
        if codec == "mjpeg":
            self._named(name, check_jpeg_data, data)
        context = cast(av.VideoCodecContext, av.CodecContext.create(codec, "r"))
        with listening() as log:
            try:
                frames = [*context.decode(av.Packet(data)), *context.decode(None)]
            except av.error.FFmpegError as error:
                log.take()
                words = log.last or error.strerror or type(error).__name__
                raise SourceFailure("corrupt", f"{name}: {words}") from error
            damage = [message.text for message in log.take() if meaning_of(message, codec, True) != "harmless"]
        if not frames or damage or frames[0].is_corrupt:
            raise SourceFailure("corrupt", f"{name}: {(damage or [log.last or 'no picture in it'])[-1]}")
        frame = frames[0]
        assert isinstance(frame, av.VideoFrame)
        self._describe(codec, frame.height, frame.width)
        return frame


def _jpeg_rgb(data: bytes) -> np.ndarray:
    """uint8 (H, W, 3). A warning that means no damage is passed over.

    Raises:
        ValueError: it is damaged, or no JPEG that libjpeg knows.
    """
    try:
        picture: np.ndarray = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        if means_damage(str(error)):
            raise
        picture = simplejpeg.decode_jpeg(data, "RGB", strict=False)
    return picture


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture file, by decoding it.

    Raises:
        SourceFailure: it cannot be decoded.
    """
    files = ImageFiles(str(path.parent), (path.name,), (0,))
    item = SourceItem(path.name, path.name, 0, files)
    frame = ImageFrames(item, Path(), PrepareConfig())._decode(path.name)
    return frame.height, frame.width
