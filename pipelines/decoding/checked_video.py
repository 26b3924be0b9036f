"""The frames of a video file with their times, and the verdict on whether the file is whole.

Facts come first: flags of packets and frames, what the container's structure says, pictures announced and read. Then
the messages of the decoder, by the table in `damage_words`. Every decoder of this project reads its verdict here, so
all of them refuse the same files.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.error

from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.clock import BROADCAST, Clock, StatedTimes
from pipelines.decoding.containers.inspect_container import inspect_container
from pipelines.decoding.containers.structure import Structure
from pipelines.decoding.damage_words import meaning_of
from pipelines.decoding.decoder_log import DecoderLog, listening
from pipelines.decoding.frames import SourceInfo, Time, check_file, describe, system_errors
from pipelines.decoding.packet_fault import CHECKED_CODECS, check_packet, unit_length_bytes
from pipelines.decoding.picture_fault import check_jpeg_data
from pipelines.decoding.picture_tiff import tiff_kind
from pipelines.decoding.video_stream import NOT_WHITELISTED, choose_stream, open_container

_ONE_FRAME_EACH = frozenset({"vp9", "libdav1d", "av1"})
"""Decoders of codecs whose every packet holds exactly one picture to be shown."""
_PER_FIELD = 1.5
"""Broadcasts may state a time for each of a picture's two fields: then there are about twice as many."""


class TimedFrame(NamedTuple):
    """A decoded frame.

    Attributes:
        position: 0-based, in decoded order.
        time: in seconds; never decreases from frame to frame.
        frame: as decoded.
    """

    position: int
    time: Time
    frame: av.VideoFrame


class CheckedVideo:
    """Frames of the film in a video file through PyAV, with one codec thread.

    Iterating gives a `TimedFrame` for each frame and None now and then while the container is checked; it ends with
    `SourceFailure` when the file is damaged.

    Args:
        path: of the file.
        info: filled while reading.
        exact_times: give times as fractions.
        start_seconds: begin with the key frame before this time; None begins with the first frame. What comes before is
            not judged, nor what comes after the last frame that was asked for.
    """

    def __init__(self, path: Path, info: SourceInfo, exact_times: bool, start_seconds: Fraction | None = None) -> None:
        self._path, self._info, self._exact = path, info, exact_times
        self._start = start_seconds
        self.stream: Any = None
        """The stream, once the first frame was given."""
        self._num_packets = self._num_discarded = 0
        self._num_indexed = 0
        self._id = -1
        self._place = 0
        self._starts_inside = False
        self._reader_said: SourceFailure | None = None

    def __iter__(self) -> Iterator[TimedFrame | None]:
        check_file(self._path)
        with listening() as log:
            failure = None
            try:
                with open_container(self._path) as container:
                    yield from self._frames(container, log)
            except av.error.FFmpegError as error:
                failure = self._failure(error, log)
            except SourceFailure as found:
                failure = found
            if failure is not None and failure.reason not in ("corrupt", "truncated", "no_video_stream"):
                raise failure
            structure = yield from self._structure()
            self._judge(structure, failure)
        if not self._info.num_frames_decoded:
            raise SourceFailure("zero_frames", "the video stream holds no frame")

    def _frames(self, container: Any, log: DecoderLog) -> Iterator[TimedFrame]:
        index, num_streams = choose_stream(self._path, container)
        stream = self.stream = container.streams[index]
        self._id = stream.id
        self._place = [one.index for one in container.streams.video].index(index)
        if num_streams > 1:
            self._info.notes["video_stream"] = f"{index}, one of {num_streams}"
        context = stream.codec_context
        if context is None:
            raise SourceFailure("corrupt", "there is no decoder for its video stream")
        context.thread_count, context.thread_type = 1, "NONE"
        describe(stream, self._info)
        if container.format.name.startswith("mov"):
            self._num_indexed = sum(1 for entry in stream.index_entries if entry.size)
        codec = context.name
        self._check(log, codec, opening=True)
        is_checked = codec in ("mjpeg", "tiff") or codec in CHECKED_CODECS
        length_bytes = unit_length_bytes(codec, context.extradata)
        clock, stated = Clock(stream, exact=self._exact), StatedTimes(stream)
        if self._start is not None:
            if stated.by_packets:
                raise SourceFailure(
                    "bad_annotation", "AVI states no times of reordered pictures: no range can be found"
                )
            container.seek(int(self._start / stream.time_base), stream=stream)
        for packet in container.demux(stream):
            is_end = not packet.size
            if is_end and (packet.dts is not None or packet.pts is not None):
                continue  # AVI: the picture before is shown once more
            if is_checked and not is_end:
                self._check_data(bytes(packet), codec, length_bytes)
            for frame in self._decode(packet, is_end, log):
                position = self._info.num_frames_decoded
                if frame.is_corrupt:
                    self._check(log, codec)
                    raise SourceFailure("corrupt", f"frame {position} is damaged" + _said(log))
                self._info.num_frames_decoded = position + 1
                yield TimedFrame(position, clock.time(stated(frame)), frame)
            if log.lines:
                self._check(log, codec)
            if is_end:
                break  # PyAV would look for streams that turned up on the way, beyond the end of its list
        self._info.notes |= clock.notes

    def _check_data(self, data: bytes, codec: str, length_bytes: int) -> None:
        try:
            if codec == "mjpeg":
                check_jpeg_data(data)
            elif codec == "tiff":
                tiff_kind(data).check_in_video()
            else:
                check_packet(data, codec, length_bytes)
        except SourceFailure as failure:
            raise SourceFailure(failure.reason, f"coded picture {self._num_packets}: {failure.message}") from failure

    def _decode(self, packet: Any, is_end: bool, log: DecoderLog) -> list[Any]:
        if not is_end:
            if not self._num_packets and not packet.is_keyframe:
                self._starts_inside = True
                self._info.notes["starts_between_key_frames"] = 1
            self._num_packets += 1
            self._num_discarded += packet.is_discard
            if packet.is_corrupt and packet.stream.container.format.name not in BROADCAST:
                raise SourceFailure("corrupt", f"packet {self._num_packets - 1} is damaged" + _said(log))
        try:
            frames: list[Any] = packet.decode()
        except av.error.FFmpegError:
            if self._info.num_frames_decoded or not self._starts_inside:
                raise
            return []  # between key frames: ffmpeg goes on as well
        return frames

    def _check(self, log: DecoderLog, decoder: str, opening: bool = False) -> None:
        """Raise when a message means damage. While a file is opened its decoders only guess: they say it again."""
        for message in log.take():
            if opening and message.component == decoder:
                continue
            meaning = meaning_of(message, decoder, self._info.num_frames_decoded > 0)
            if meaning not in ("truncated", "corrupt"):
                continue
            failure = SourceFailure(meaning, message.text)
            if message.component == decoder:
                raise failure
            self._reader_said = self._reader_said or failure

    def _failure(self, error: av.error.FFmpegError, log: DecoderLog) -> SourceFailure:
        if isinstance(error, OSError):  # the disk's fault, or a decoder's way to say "damaged": read it all to know
            with system_errors(), open(self._path, "rb") as file:
                while file.read(1 << 20):
                    pass
        decoder = self.stream.codec_context.name if self.stream is not None else ""
        with suppress(SourceFailure):
            self._check(log, decoder, opening=not decoder)
        if self._reader_said is not None and self._reader_said.reason == "truncated":
            return self._reader_said
        if log.last.startswith(NOT_WHITELISTED):
            return SourceFailure("corrupt", "a text or a playlist, no video")
        words = [error.strerror or type(error).__name__, log.last]
        return SourceFailure("corrupt", ": ".join(filter(None, words)))

    def _structure(self) -> Generator[None, None, Structure]:
        with system_errors(), open(self._path, "rb") as file:
            return (yield from inspect_container(file))

    def _judge(self, structure: Structure, failure: SourceFailure | None) -> None:
        """The container's own word goes before the decoder's: it says how much is missing."""
        if structure.fault is not None:
            raise SourceFailure(*structure.fault) from failure
        if failure is None and not structure.is_complete:
            failure = self._reader_said
        if failure is not None:
            raise failure
        crop = structure.crops[self._place] if self._place < len(structure.crops) else ""
        if crop:
            self._info.notes["crop_of_the_container"] = f"{crop}; the whole picture is stored"
        if self._start is not None:
            return  # the counts are of the whole file
        announced = structure.num_packets[self._place] if self._place < len(structure.num_packets) else -1
        if announced < 0:
            announced = self._num_indexed
        begun = structure.num_pictures.get(self._id, 0)
        if begun < _PER_FIELD * self._num_packets:
            announced = max(announced, begun)
        if self._num_packets < announced:
            raise SourceFailure("corrupt", f"{self._num_packets} of {announced} coded pictures could be read")
        shown, frames = self._num_packets - self._num_discarded, self._info.num_frames_decoded
        if self._info.codec in _ONE_FRAME_EACH and frames < shown:
            raise SourceFailure("corrupt", f"{shown} coded pictures gave {frames} frames")


def _said(log: DecoderLog) -> str:
    log.take()
    return f": {log.last}" if log.last else ""
