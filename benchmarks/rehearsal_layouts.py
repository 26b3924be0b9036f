"""Layouts of the full releases at full count, for benchmarks/rehearsal.py: every name that they have, drawn contents.

Files are hard links to a few real ones (a file system that keeps 65,000 links of a file is enough), and the split
archive is a real gzip stream in pieces, put together from parts that were compressed once.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import simplejpeg

from pipelines.datasets.published_table import published_table
from pipelines.samples.drawing import texture
from pipelines.samples.encode_video import write_h264
from pipelines.samples.ssv2 import encode_vp9, templates

SPLITS = {"train": 168_913, "validation": 24_777, "test": 27_157}
"""Names in the lists of Something-Something-v2: 220,847 in all."""
NUM_PIECES = 20
NUM_DRIVES = 134
ARCHIVE = "20bn-something-something-v2"
FULL_FLUSH = zlib.Z_FULL_FLUSH
BLOCK = 512  # of a tar


@dataclass(frozen=True)
class Release:
    """A release that is rehearsed.

    Attributes:
        data_set: name for `prepare`.
        build: writes the layout into a folder, a share of it; returns how many names there are, and notes.
        limit: items of the job that is killed and resumed.
    """

    data_set: str
    build: Callable[[Path, float], dict[str, Any]]
    limit: int


def pictures(count: int, height: int, width: int, seed: int) -> Iterator[np.ndarray]:
    """A texture that slides by, uint8 (height, width, 3)."""
    wide = texture(np.random.default_rng(seed), height, width + count, 9)
    return (np.ascontiguousarray(wide[:, number : number + width]) for number in range(count))


def clips(folder: Path, count: int) -> list[Path]:
    """Real webm files of 26 and more frames."""
    made = [folder / f"clip{number}.webm" for number in range(count)]
    for number, path in enumerate(made):
        encode_vp9(path, pictures(26 + number, 120, 160, number), 12)
    return made


def lists(folder: Path, share: float) -> list[str]:
    """The lists of Something-Something-v2 with invented entries; returns all ids."""
    (folder / "labels").mkdir(parents=True)
    known, ids, number = templates(), [], 0
    for split, full in SPLITS.items():
        entries: list[dict[str, Any]] = []
        for _ in range(max(6, round(full * share))):
            number += 1
            words = known[number % len(known)].replace("something", "[something]")
            named = {"label": words.replace("[something]", "a cup"), "template": words, "placeholders": ["a cup"]}
            entries.append({"id": str(number)} | (named if split != "test" else {}))
        ids += [entry["id"] for entry in entries]
        (folder / "labels" / f"{split}.json").write_text(json.dumps(entries))
    numbered = {words: str(place) for place, words in enumerate(known)}
    (folder / "labels" / "labels.json").write_text(json.dumps(numbered))
    return ids


def ssv2_folder(folder: Path, share: float) -> dict[str, Any]:
    """220,847 webm files."""
    ids = lists(folder, share)
    (folder / ARCHIVE).mkdir()
    (folder.parent / "clips").mkdir()
    contents = clips(folder.parent / "clips", 8)
    for place, name in enumerate(ids):
        os.link(contents[place % len(contents)], folder / ARCHIVE / f"{name}.webm")
    return {"names": len(ids), "contents": f"hard links to {len(contents)} drawn clips"}


def ssv2_archive(folder: Path, share: float) -> dict[str, Any]:
    """The same as one gzipped tar in twenty pieces."""
    ids = lists(folder, share)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        contents = [path.read_bytes() for path in clips(Path(scratch), 8)]
    padded = [data + bytes(-len(data) % BLOCK) for data in contents]
    packed = [deflated(data) for data in padded]
    size = sum(len(packed[place % len(packed)]) + 60 for place in range(len(ids)))
    writer = _Pieces(folder, -(-size // NUM_PIECES))
    writer.raw(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    for place, name in enumerate(ids):
        number = place % len(contents)
        writer.part(header(f"{ARCHIVE}/{name}.webm", len(contents[number])))
        writer.part(padded[number], packed[number])
    writer.part(bytes(2 * BLOCK))
    writer.raw(b"\x03\x00" + writer.crc.to_bytes(4, "little") + (writer.size % 2**32).to_bytes(4, "little"))
    writer.close()
    return {"names": len(ids), "pieces": writer.number, "archive_bytes": writer.written, "tar_bytes": writer.size}


def header(name: str, size: int) -> bytes:
    """A ustar header of a regular file."""
    fields = name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0"
    rest = b"0".ljust(101, b"\0") + b"ustar\x0000"
    total = sum(fields) + sum(rest) + 8 * ord(" ")
    return (fields + b"%06o\0 " % total + rest).ljust(BLOCK, b"\0")


def deflated(data: bytes) -> bytes:
    """Compressed so that it may stand anywhere in a deflate stream: it looks back at nothing."""
    compressor = zlib.compressobj(1, wbits=-15)
    return compressor.compress(data) + compressor.flush(FULL_FLUSH)


class _Pieces:
    """Writes one gzip stream into files of equal size, as `split` cuts it."""

    def __init__(self, folder: Path, piece_bytes: int) -> None:
        self._folder, self._room, self._piece = folder, 0, piece_bytes
        self._file: Any = None
        self.number = self.crc = self.size = self.written = 0

    def part(self, data: bytes, packed: bytes = b"") -> None:
        """More of the tar, with its compressed form where that is known."""
        self.crc, self.size = zlib.crc32(data, self.crc), self.size + len(data)
        self.raw(packed or deflated(data))

    def raw(self, data: bytes) -> None:
        """Bytes of the stream."""
        self.written += len(data)
        while data:
            if not self._room:
                self.close()
                self._file = open(self._folder / f"{ARCHIVE}-{self.number:02d}", "wb")  # noqa: SIM115  (see close)
                self.number, self._room = self.number + 1, self._piece
            now, data = data[: self._room], data[self._room :]
            self._room -= self._file.write(now)

    def close(self) -> None:
        """Close the last piece."""
        if self._file is not None:
            self._file.close()


def human36m(folder: Path, share: float) -> dict[str, Any]:
    """The published list's 839 scenarios and cameras with their 422,055 pictures, and the joints' tables."""
    rows = published_table("human36m")[:: max(1, round(1 / share / 100))]
    (folder.parent / "pictures").mkdir()
    contents = []
    for number, picture in enumerate(pictures(16, 1000, 1000, 0)):
        contents.append(folder.parent / "pictures" / f"{number}.jpg")
        contents[-1].write_bytes(simplejpeg.encode_jpeg(picture, quality=60, colorsubsampling="420", fastdct=False))
    names: dict[str, list[str]] = {"train": [], "valid": []}
    (folder / "images").mkdir(parents=True)
    for row in rows:
        split = "valid" if row["sequence"].startswith(("S9", "S11")) else "train"
        count = int(row["num_frames"]) if share == 1 else 30
        names[split] += [f"{row['sequence']}_{1 + 5 * frame:06d}.jpg" for frame in range(count)]
    places = iter(range(sum(map(len, names.values()))))
    generator = np.random.default_rng(0)
    for split, listed in names.items():
        for name in listed:
            os.link(contents[next(places) % len(contents)], folder / "images" / name)
        (folder / f"{split}_images.txt").write_text("".join(f"{name}\n" for name in listed))
        with h5py.File(folder / f"{split}.h5", "w") as file:
            file.create_dataset("part", data=generator.uniform(300, 700, (len(listed), 17, 2)))
    return {"names": sum(map(len, names.values())), "contents": "hard links to 16 drawn pictures of 1000 x 1000"}


def driving(folder: Path, share: float) -> dict[str, Any]:
    """134 videos."""
    (folder.parent / "drives").mkdir()
    folder.mkdir()
    contents = [folder.parent / "drives" / f"{number}.mp4" for number in range(2)]
    length = 1800 if share == 1 else 200
    for number, path in enumerate(contents):
        write_h264(path, pictures(length, 180, 320, number), 30)
    for number in range(NUM_DRIVES):
        os.link(contents[number % 2], folder / f"dir-{number}.mp4")
    return {"names": NUM_DRIVES, "contents": f"hard links to 2 drawn videos of {length} pictures"}


def driving_frames(folder: Path, share: float) -> dict[str, Any]:
    """The published list's 88 folders with as many numbered pictures as it counts, 1,720,325 in all."""
    folder.mkdir()
    (folder.parent / "pictures").mkdir()
    contents, total = [], 0
    for number, picture in enumerate(pictures(40, 180, 320, 0)):
        contents.append(folder.parent / "pictures" / f"{number}.jpg")
        contents[-1].write_bytes(simplejpeg.encode_jpeg(picture, quality=80, colorsubsampling="420", fastdct=False))
    for row in published_table("youtube_driving"):
        inside = folder / row["segment"].rpartition("_")[0]
        inside.mkdir()
        for frame in range(max(120, round(int(row["num_frames"]) * share))):
            os.link(contents[total % len(contents)], inside / f"{frame + 1}.jpg")
            total += 1
    return {"names": total, "contents": "hard links to 40 drawn pictures"}


RELEASES = {
    "ssv2-folder": Release("ssv2", ssv2_folder, 96),
    "ssv2-archive": Release("ssv2", ssv2_archive, 96),
    "human36m": Release("human36m", human36m, 12),
    "driving": Release("youtube-driving", driving, 12),
    "driving-frames": Release("youtube-driving", driving_frames, 4),
}
