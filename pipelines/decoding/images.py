"""Frames in picture files, each decoded by the codec that its contents tell, without opening a container for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
import simplejpeg

from pipelines.datasets.base import Box, ImageFiles, SourceItem
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.damage_words import meaning_of
from pipelines.decoding.decoder_log import listening
from pipelines.decoding.frames import SourceInfo, StoredFrame, check_file, system_errors
from pipelines.decoding.geometry import FrameScaler
from pipelines.decoding.picture_fault import check_jpeg_data, check_picture, means_damage
from pipelines.decoding.picture_file import codec_of, is_for_pillow, orientation_of, rgb_by_pillow
from pipelines.decoding.picture_tiff import tiff_kind
from pipelines.decoding.selection import FrameSelector, places_in_time, selection_of


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
        decoder = PictureDecoder(self.info, scaler)
        selector = FrameSelector(selection_of(item, config))
        self.info.kept_fps = selector.kept_fps(item.fps)
        boxes = iter(item.boxes) if item.boxes is not None else None
        places = places_in_time(self._files.numbers)
        for position, (name, number) in enumerate(zip(self._files.names, self._files.numbers, strict=True)):
            time = Fraction(places[position]) / Fraction(item.fps) if item.fps else Fraction(position)
            if not selector.keeps(position, time):
                yield None
                continue
            with named(name):
                data = self._read(name)
                if boxes is None:
                    picture = decoder.small(data)
                else:
                    full, box = decoder.full(data), next(boxes)
                    self._check_size(full, box)
                    picture = scaler.crop_and_scale(full, box)
            self.info.num_frames_decoded += 1
            yield StoredFrame(number, float(time), picture)

    def _read(self, name: str) -> bytes:
        check_file(self._folder / name)
        with system_errors():
            return (self._folder / name).read_bytes()

    def _check_size(self, picture: np.ndarray, box: Box) -> None:
        height, width = picture.shape[:2]
        if self._files.width and width != self._files.width:
            raise SourceFailure("bad_annotation", f"{width}x{height} pixels, expected {self._files.width} wide")
        if box[2] > width or box[3] > height:
            raise SourceFailure("bad_annotation", f"box {box} in {width}x{height} pixels")


class PictureDecoder:
    """Decodes the contents of picture files of one source item.

    Args:
        info: codec and size are filled by the first picture.
        scaler: of the item.
    """

    def __init__(self, info: SourceInfo, scaler: FrameScaler) -> None:
        self._info, self._scaler = info, scaler

    def small(self, data: bytes) -> np.ndarray:
        """The stored frame, uint8 (H, W, 3).

        Raises:
            SourceFailure: `corrupt`.
        """
        codec = _codec(data)
        orientation = orientation_of(data)
        if is_for_pillow(data, codec):
            picture = rgb_by_pillow(data)
            self._describe(codec, *picture.shape[:2])
            return self._scaler.scale_rgb(orientation.apply(picture))
        return self._scaler(self._decode(data, codec), 1.0, orientation)

    def full(self, data: bytes) -> np.ndarray:
        """The whole picture as shown, uint8 (H, W, 3); JPEGs five times as fast as through the decoder's scaler.

        Raises:
            SourceFailure: `corrupt`.
        """
        codec = _codec(data)
        if is_for_pillow(data, codec):
            picture = rgb_by_pillow(data)
        elif codec != "mjpeg":
            picture = self._scaler.rgb(self._decode(data, codec))
        else:
            picture = _jpeg_rgb(data)
        self._describe(codec, *picture.shape[:2])
        return orientation_of(data).apply(picture)

    def _describe(self, codec: str, height: int, width: int) -> None:
        if not self._info.codec:
            self._info.codec, self._info.height, self._info.width = codec, height, width

    def _decode(self, data: bytes, codec: str) -> av.VideoFrame:
        if codec == "mjpeg":
            check_jpeg_data(data)
        context = cast(av.VideoCodecContext, av.CodecContext.create(codec, "r"))
        with listening() as log:
            try:
                frames = [*context.decode(av.Packet(data)), *context.decode(None)]
            except av.error.FFmpegError as error:
                log.take()
                raise SourceFailure("corrupt", log.last or error.strerror or type(error).__name__) from error
            damage = [message.text for message in log.take() if meaning_of(message, codec, True) != "harmless"]
        if not frames or damage or frames[0].is_corrupt:
            raise SourceFailure("corrupt", (damage or [log.last or "no picture in it"])[-1])
        frame = frames[0]
        assert isinstance(frame, av.VideoFrame)
        self._describe(codec, frame.height, frame.width)
        return frame


def _codec(data: bytes) -> str:
    check_picture(data)
    codec = codec_of(data)
    if codec == "tiff":
        tiff_kind(data).check()
    return codec


@contextmanager
def named(name: str) -> Iterator[None]:
    """Put a picture's name before what is wrong with it."""
    try:
        yield
    except SourceFailure as failure:
        raise SourceFailure(failure.reason, f"{name}: {failure.message}") from failure


def _jpeg_rgb(data: bytes) -> np.ndarray:
    """uint8 (H, W, 3). A warning that means no damage is passed over.

    Raises:
        SourceFailure: it is damaged, or no JPEG that libjpeg knows.
    """
    try:
        picture: np.ndarray = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        if means_damage(str(error)):
            raise SourceFailure("corrupt", str(error).strip()) from error
        try:
            picture = simplejpeg.decode_jpeg(data, "RGB", strict=False)
        except ValueError as worse:
            raise SourceFailure("corrupt", str(worse).strip()) from worse
    return picture
