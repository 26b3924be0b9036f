"""The full releases' layouts at full count, rehearsed: what `prepare` does before and around the decoding.

    python benchmarks/rehearsal.py [--releases ssv2-archive human36m ...] [--work DIR] [--quick]

Nobody here has the releases, so their layouts are made: every name that they have, with drawn contents. Files are hard
links to a few real ones (a file system that keeps 65,000 links of a file is enough), and the split archive is a real
gzip stream in pieces, put together from parts that were compressed once. For each release it measures

* the inventory: seconds, CPU seconds, peak memory, counts;
* `prepare --dry-run`: the same, and what it prints;
* an inventory that is killed half-way (`kill -9`): what it leaves behind;
* a job over the first items (`--limit`) that is killed while it works and started again: whether its files are those of
  a job that nobody disturbed.

Layouts are made in `--work` (a temporary folder by default, 5 GB) and removed. `--quick` makes a thousandth of each.
The last line is JSON; a whole run of all releases is kept in benchmarks/results/rehearsal.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import simplejpeg

from ipv_bench.atomic_file import write_json
from ipv_bench.run_record import host_hardware, package_versions
from ipv_bench.shard_set import LOG_FILE, file_sha256
from pipelines.datasets.base import data_set
from pipelines.datasets.published_table import published_table
from pipelines.prepare import resolve_config
from pipelines.samples.drawing import texture
from pipelines.samples.encode_video import write_h264
from pipelines.samples.ssv2 import encode_vp9, templates

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "rehearsal.json"
QUICK_SHARE = 0.001
SPLITS = {"train": 168_913, "validation": 24_777, "test": 27_157}
"""Names in the lists of Something-Something-v2: 220,847 in all."""
NUM_PIECES = 20
NUM_DRIVES = 134
ARCHIVE = "20bn-something-something-v2"
FULL_FLUSH = zlib.Z_FULL_FLUSH
BLOCK = 512  # of a tar
START_SECONDS = 0.8
"""CPU time of a command before its inventory begins, about."""


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


@dataclass(frozen=True)
class Usage:
    """What a finished process took, the processes that it waited for among them."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    status: int
    output: str

    def record(self) -> dict[str, float]:
        """Rounded, for the result."""
        return {"seconds": round(self.seconds, 1), "cpu_seconds": round(self.cpu_seconds, 1),
                "peak_megabytes": round(self.peak_megabytes)}  # fmt: skip


def run(*arguments: str, kill_when: Callable[[int], bool] | None = None) -> Usage:
    """One `ipv-bench` command in a process of its own.

    Args:
        arguments: of the command.
        kill_when: asked ten times a second with the process's number; once it is true, the process and all that it
            started are killed.
    """
    with tempfile.TemporaryFile("w+") as output:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "ipv_bench", *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, cwd=ROOT)
        ended, status, used = os.wait4(process.pid, 0 if kill_when is None else os.WNOHANG)
        while not ended:
            if kill_when is not None and kill_when(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
                kill_when = None
            time.sleep(0.1)
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        cpu = used.ru_utime + used.ru_stime
        return Usage(seconds, cpu, used.ru_maxrss / 1024, process.returncode, output.read())


def cpu_seconds_of(pid: int) -> float:
    """CPU time of a process that runs, of its own threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def inventory(name: str, source: Path) -> dict[str, Any]:
    """List a release, in this process: counts, warnings and the inventory's hash."""
    release = data_set(name)
    begun, cpu = time.perf_counter(), time.process_time()
    found = release.inventory(source, resolve_config(release, "paper", []))
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
    items = found.items
    return {
        "seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1), "items": len(items),
        "to_decode": len([item for item in items if item.frames is not None]),
        "splits": dict(Counter(item.split for item in items)),
        "gigabytes": round(sum(item.size_bytes for item in items) / 1e9, 2),
        "warnings": list(found.warnings)[:5], "sha256": found.sha256(),
    }  # fmt: skip


def in_own_process(name: str, source: Path) -> dict[str, Any]:
    """`inventory` in a process of its own, with its peak memory."""
    code = (
        "import json, resource, sys; from pathlib import Path; from benchmarks.rehearsal import inventory; "
        "found = inventory(sys.argv[1], Path(sys.argv[2])); "
        "found['peak_megabytes'] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024); "
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code, name, str(source)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rehearse(release: Release, folder: Path, share: float, note: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Make a layout, measure, and remove it.

    Args:
        release: what is rehearsed.
        folder: new.
        share: of the names.
        note: gets what is known after each step, so that a rehearsal that is cut short leaves something.
    """
    folder.mkdir()
    source, out = folder / "raw", folder / "shards"
    begun = time.perf_counter()
    found: dict[str, Any] = {"data_set": release.data_set, **release.build(source, share)}
    found["made_in_seconds"] = round(time.perf_counter() - begun, 1)
    job = ("prepare", release.data_set, "--source", str(source), "--workers", "2", "--limit", str(release.limit),
           "--set", "shard_videos=2", "--quiet")  # fmt: skip
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "inventory": lambda: in_own_process(release.data_set, source),
        "killed_inventory": lambda: killed_inventory(job, out, found["inventory"]["cpu_seconds"]),
        "dry_run": lambda: dry_run(release.data_set, source, out),
        "killed_job": lambda: killed_job(job, folder),
    }
    for name, step in steps.items():
        found[name] = step()
        note(found)
    shutil.rmtree(folder)
    return found


def dry_run(name: str, source: Path, out: Path) -> dict[str, Any]:
    """`prepare --dry-run` over the whole release."""
    done = run("prepare", name, "--source", str(source), "--out", str(out), "--dry-run")
    assert done.status == 0, done.output
    lines = [line.strip() for line in done.output.splitlines() if "config:" not in line]
    return done.record() | {"says": [line for line in lines if not line.startswith(("reading", "laying"))]}


def killed_inventory(job: Sequence[str], out: Path, cpu_seconds: float) -> dict[str, Any]:
    """Kill a job half-way through its inventory; it must leave nothing. Of a small release it may be over by then."""
    half = START_SECONDS + cpu_seconds / 2
    killed = run(*job, "--out", str(out), kill_when=lambda pid: cpu_seconds_of(pid) > half)
    left = sorted(path.name for path in out.rglob("*")) if out.exists() else []
    return {"after_cpu_seconds": round(half, 1), "status": killed.status, "left_behind": left}


def killed_job(job: Sequence[str], folder: Path) -> dict[str, Any]:
    """Kill a job while it works, twice, start it again, and compare its files with those of an undisturbed one."""
    whole = run(*job, "--out", str(folder / "whole"))
    assert whole.status == 0, whole.output
    out, total = folder / "killed", len(list((folder / "whole").glob("*.tar")))
    kills = []
    for wanted in (1, max(1, total // 2)):
        killed = run(*job, "--out", str(out), kill_when=lambda _, wanted=wanted: len(list(out.glob("*.tar"))) >= wanted)  # type: ignore[misc]
        kills.append({"status": killed.status, "shards_there": len(list(out.glob("*.tar"))), "of": total})
    resumed = run(*job, "--out", str(out))
    assert resumed.status == 0, resumed.output
    return {"undisturbed": whole.record(), "kills": kills, "resumed": resumed.record(),
            "same_files": hashes(out) == hashes(folder / "whole"), "files": len(hashes(out))}  # fmt: skip


def hashes(folder: Path) -> dict[str, str]:
    """File → sha256 of a shard set, its log apart."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LOG_FILE]
    return {str(path.relative_to(folder)): file_sha256(path) for path in files}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Rehearse, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--releases", nargs="+", choices=RELEASES, default=list(RELEASES))
    parser.add_argument("--work", type=Path, help="folder on a disk with 5 GB to spare")
    parser.add_argument("--quick", action="store_true", help="a thousandth of each; nothing is kept")
    options = parser.parse_args(arguments)
    share = QUICK_SHARE if options.quick else 1.0
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        for name in options.releases:
            note = partial(keep, name) if not options.quick else (lambda _: None)
            found[name] = rehearse(RELEASES[name], Path(work) / name, share, note)
            print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    result = {"benchmark": "rehearsal", "quick": options.quick, "releases": found}
    print(json.dumps(result))
    return result


def keep(name: str, found: dict[str, Any]) -> None:
    """Put a release into the kept result; those of other calls stay."""
    before = json.loads(RESULT.read_text())["releases"] if RESULT.exists() else {}
    facts = {"command": "python benchmarks/rehearsal.py", "hardware": host_hardware(),
             "packages": package_versions(("ipv-bench", "pyarrow", "av", "h5py"))}  # fmt: skip
    write_json(RESULT, {**facts, "releases": {**before, name: found}})


if __name__ == "__main__":
    main()
