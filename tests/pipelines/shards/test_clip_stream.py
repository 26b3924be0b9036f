"""The stream of a sample: every frame in its place, whether it waited in memory or on disk."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import StoredFrame
from pipelines.shards import clip_stream
from pipelines.shards.clip_stream import ClipStream


def frame(number: int, side: int = 8) -> StoredFrame:
    """A grey picture as bright as its number."""
    return StoredFrame(number, number / 10, np.full((side, side, 3), number, np.uint8))


@pytest.mark.parametrize("spool_bytes", [1 << 20, 500])
@pytest.mark.parametrize("encoding", ["raw", "mjpeg"])
def test_frames_come_back_in_order_from_memory_and_from_disk(
    encoding: str, spool_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_stream, "SPOOL_BYTES", spool_bytes)
    monkeypatch.setattr(clip_stream, "_WAITING_BYTES", 400)  # three pictures at a time, and one is left over
    with ClipStream(tmp_path, PrepareConfig.model_validate({"encoding": encoding})) as clip:
        for numbers in (range(1, 41), range(100, 107)):  # the second sample is shorter: nothing of the first may remain
            clip.clear()
            for number in numbers:
                clip.add(frame(number))
            size_bytes, pieces = clip.finish()
            data = b"".join(pieces)
            assert len(data) == size_bytes
            assert clip.positions == list(numbers)
            if encoding == "raw":
                shown = np.frombuffer(data[-len(numbers) * 192 :], np.uint8).reshape(-1, 8, 8, 3)
            else:
                bounds = [*clip.offsets, size_bytes]
                shown = np.stack([simplejpeg.decode_jpeg(data[a:b], "RGB") for a, b in pairwise(bounds)])
            assert shown.shape[0] == len(numbers)
            assert np.array_equal(shown[:, 4, 4, 1], np.array(numbers))


def test_a_picture_of_another_size_is_refused_where_it_comes(tmp_path: Path) -> None:
    with ClipStream(tmp_path, PrepareConfig()) as clip:
        clip.add(frame(0))
        with pytest.raises(SourceFailure, match="at frame 1"):
            clip.add(frame(1, side=16))
