"""A LeRobot-style source for `segments_throughput.py`: one mp4 with 100 episodes, and random windows decoded from it.

640x480 pixels (and once 64x64), a key frame every second frame, H.264 and AV1. Few distinct episodes are encoded and
their packets are written again and again: decoding costs the same, making the file does not.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ipv_bench.seeding import numpy_generator

FPS, EPISODES, DISTINCT, FRAMES = 30, 100, 4, 30
HEIGHT, WIDTH, SIDE = 480, 640, 64
ENCODERS = {
    "h264": ("libx264", {"preset": "medium", "crf": "23", "g": "2", "bf": "0", "threads": "1"}),
    "av1": ("libsvtav1", {"preset": "10", "crf": "30", "g": "2", "svtav1-params": "lp=1"}),
}
"""Codec → encoder and options; AV1's rate factor and key frames are those that lerobot writes."""


def pictures(episode: int, size: tuple[int, int]) -> list[np.ndarray]:
    """A camera that moves over a textured table, with a little sensor noise: uint8 (H, W, 3) each."""
    generator = np.random.default_rng(episode)
    coarse = generator.integers(40, 216, (size[0] // 8 + 16, size[1] // 8 + 16, 3), np.uint8)
    texture = np.kron(coarse, np.ones((8, 8, 1), np.uint8)).astype(np.int16)
    frames = []
    for number in range(FRAMES):
        view = texture[number : number + size[0], 2 * number : 2 * number + size[1]]
        noise = generator.integers(-1, 2, view.shape, np.int16)
        frames.append(np.clip(view + noise, 0, 255).astype(np.uint8))
    return frames


def encode(episode: int, codec: str, size: tuple[int, int], path: Path) -> None:
    """One episode as an mp4."""
    encoder, options = ENCODERS[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for number, picture in enumerate(pictures(episode, size)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def joined(parts: list[Path], path: Path) -> None:
    """One mp4 with `EPISODES` episodes, those of `parts` over and over."""
    with av.open(str(path), "w") as out:
        stream = None
        for episode in range(EPISODES):
            with av.open(str(parts[episode % len(parts)])) as container:
                source = container.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(source, opaque=True)  # no encoder is needed
                shift = int(Fraction(episode * FRAMES, FPS) / source.time_base)
                for packet in container.demux(source):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    out.mux(packet)


class SeekReader:
    """Random windows of an open mp4: seek to the key frame before, decode, scale to 64x64; one thread.

    Args:
        path: of a file of `joined`.
        length: frames per window.
    """

    def __init__(self, path: Path, length: int) -> None:
        self._container = av.open(str(path))
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count, self._stream.codec_context.thread_type = 1, "NONE"
        self._length = length

    def __call__(self, seed: int) -> np.ndarray:
        """A window, uint8 (T, 64, 64, 3)."""
        generator = numpy_generator(seed, 0, "mp4 segment")
        first = int(generator.integers(EPISODES)) * FRAMES + int(generator.integers(FRAMES - self._length + 1))
        time = Fraction(first, FPS)
        self._container.seek(int(time / self._stream.time_base), stream=self._stream)
        frames: list[np.ndarray] = []
        for frame in self._container.decode(self._stream):
            if frame.pts * self._stream.time_base < time - Fraction(1, 4 * FPS):
                continue
            frames.append(frame.to_ndarray(format="rgb24", width=SIDE, height=SIDE))
            if len(frames) == self._length:
                break
        return np.stack(frames)


def write_sources(folder: Path) -> dict[str, Path]:
    """Reader's name → joined mp4; `folder/clips` holds the same episodes as files, for `prepare folder`."""
    os.environ.setdefault("SVT_LOG", "1")  # else AV1's encoder tells of itself
    sources = {}
    for name, codec, size in (
        ("mp4_seek_h264", "h264", (HEIGHT, WIDTH)), ("mp4_seek_av1", "av1", (HEIGHT, WIDTH)),
        ("mp4_seek_64px", "h264", (SIDE, SIDE)),
    ):  # fmt: skip
        parts = [folder / f"{name}-{episode}.mp4" for episode in range(DISTINCT)]
        for episode, part in enumerate(parts):
            encode(episode, codec, size, part)
        sources[name] = folder / f"{name}.mp4"
        joined(parts, sources[name])
    (folder / "clips").mkdir()
    for episode in range(EPISODES):
        part = folder / f"mp4_seek_h264-{episode % DISTINCT}.mp4"
        (folder / "clips" / f"episode_{episode:03d}.mp4").hardlink_to(part)
    return sources
