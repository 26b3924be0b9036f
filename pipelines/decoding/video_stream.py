"""Opening a video file, and which of its streams is the film."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from pipelines.datasets.quarantine import SourceFailure

_LISTS = frozenset(
    {"concat", "dash", "hls", "imf", "webm_dash_manifest", "sdp", "rtp", "rtsp", "sap", "lavfi", "image2", "ffmetadata"}
)
"""Readers of texts that name other files or addresses."""
_TEXTS = frozenset({"tty", "bin", "adf", "idf", "xbin", "tedcaptions", "svg_pipe"})
"""Readers that draw texts as pictures."""
OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(sorted(av.format.formats_available - _LISTS - _TEXTS)),
}
"""A playlist that is named like a video must not make the decoder open addresses or other files."""
NOT_WHITELISTED = "Format not on whitelist"

_DEFAULT_BONUS = 5_000_000
_PROBE_BYTES = 5_000_000
"""ffmpeg's own numbers: what the default flag weighs in pixels, and how far a stream's first packet is looked for."""


@contextmanager
def open_container(path: Path) -> Iterator[Any]:
    """A video file, opened for reading by its contents, whatever its name says.

    Raises:
        FFmpegError: it cannot be opened.
    """
    with av.open(str(path), metadata_errors="replace", options=OPTIONS) as container:
        yield container


def choose_stream(path: Path, container: Any) -> tuple[int, int]:
    """Which stream is the film, as ffmpeg's program chooses.

    The largest picture wins; the default flag counts as five million pixels; a stream without a packet at the
    beginning of the file, a cover picture and a single picture beside a film lose.

    Returns:
        Index of the stream in the container, and the number of streams it was chosen from.

    Raises:
        SourceFailure: `no_video_stream`.
    """
    films = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not films:
        kinds = sorted({"cover art" if stream.type == "video" else stream.type for stream in container.streams})
        raise SourceFailure("no_video_stream", f"it holds {', '.join(kinds) or 'no stream'}")
    if len(films) == 1:
        return films[0].index, 1
    filled = _with_packets(path, {stream.index for stream in films})
    best = max(films, key=lambda stream: (stream.index in filled, stream.frames != 1, _score(stream), -stream.index))
    return best.index, len(films)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _score(stream: Any) -> int:
    context = stream.codec_context
    pixels = context.width * context.height if context is not None else 0
    return int(pixels) + _DEFAULT_BONUS * bool(stream.disposition & Disposition.default)


def _with_packets(path: Path, wanted: set[int]) -> set[int]:
    """Those of the streams that have a packet near the beginning; the file is opened once more for it."""
    found: set[int] = set()
    size_bytes = 0
    with open_container(path) as container:
        for packet in container.demux([container.streams[index] for index in sorted(wanted)]):
            if packet.size:
                found.add(packet.stream_index)
                size_bytes += packet.size
            if found == wanted or size_bytes > _PROBE_BYTES:
                break
    return found or wanted
