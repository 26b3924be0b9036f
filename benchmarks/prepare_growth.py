"""A job of many videos: does its speed or its memory change as it goes on? And the hours of the full releases.

    python benchmarks/prepare_growth.py FOLDER [--videos 20000] [--frames 48] [--minutes N] [--keep FILE]
    python benchmarks/prepare_growth.py --quick

200 clips are encoded (240-pixel VP9, `--frames` frames each), all further videos are hard links to them. One `prepare`
with one worker runs over all, while every second its processes' CPU time and resident memory and the frames in finished
shards are noted in FOLDER. A run that was stopped, or that ends after `--minutes`, goes on when started again, with the
same numbers: the folder holds them, and others are refused. `--keep` writes the last line to a file too. Rates are
frames per CPU-second of all processes, between finished shards, so that start-ups and other load do not count:

- `rate_last_vs_second`: of the last fifth of the frames over that of the second fifth (the first holds warm-up);
- `growth_megabytes`: median resident memory in the last fifth minus that in the second;
- `two_workers`, `ray_two_workers`: wall time of a job of a twentieth of the videos with one worker over that with two,
  without start-up, medians of ten in turn (quick: one). Two cores must be idle: `load` says whether they were.
- `two_workers_cpu`, `ray_two_workers_cpu`: the same of CPU seconds. 1 means that two workers cost no more than one; it
  does not mean that they are twice as fast, since what waits for something else costs no CPU.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from kept_record import note_settings
from paired_timing import keep_line, machine
from prepare_throughput import make_release

DISTINCT = 200
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MEGABYTES = os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True)
class Moment:
    """The job at one time.

    Attributes:
        session: counts the starts of the job.
        cpu_seconds: of its processes since this start.
        megabytes: resident in its processes.
        frames: in finished shards.
    """

    session: int
    cpu_seconds: float
    megabytes: float
    frames: int


def watch(release: Path, out: Path, notes: Path, shard_videos: int, minutes: float | None) -> bool:
    """Run the job, or go on with it, and note its moments; whether it is finished."""
    before = read(notes)
    session = before[-1].session + 1 if before else 0
    words = [sys.executable, "-m", "ipv_bench", "prepare", "ssv2", "--quiet", "--workers", "1"]
    words += ["--source", str(release), "--out", str(out), "--set", f"shard_videos={shard_videos}"]
    end = time.monotonic() + 60 * minutes if minutes else None
    known: dict[str, int] = {}
    with subprocess.Popen(words) as process, notes.open("a") as file:
        while process.poll() is None:
            time.sleep(1)
            cpu, megabytes = usage(process.pid)
            if megabytes:
                moment = Moment(session, cpu, megabytes, finished_frames(out, known))
                file.write(json.dumps(asdict(moment)) + "\n")
                file.flush()
            if end and time.monotonic() > end:
                process.send_signal(signal.SIGTERM)
                end = None
    if process.returncode not in (0, 130):
        raise SystemExit(f"prepare ended with {process.returncode}")
    return process.returncode == 0


def usage(pid: int) -> tuple[float, float]:
    """CPU seconds (ended children included) and resident megabytes of a process and its descendants; 0 once gone."""
    cpu = megabytes = 0.0
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            for children in Path(f"/proc/{one}/task").glob("*/children"):  # any thread may have started one
                waiting += map(int, children.read_text().split())
        except OSError:
            continue
        cpu += sum(map(int, fields[11:15])) / TICKS
        megabytes += int(fields[21]) * PAGE_MEGABYTES
    return cpu, megabytes


def finished_frames(out: Path, known: dict[str, int]) -> int:
    """Frames of the finished shards, by their sidecars; each is read once."""
    for sidecar in out.glob("ssv2-*.json"):
        if sidecar.name not in known:
            outcomes = json.loads(sidecar.read_text())["outcomes"]
            known[sidecar.name] = sum(sample["num_frames"] for outcome in outcomes for sample in outcome["samples"])
    return sum(known.values())


def read(notes: Path) -> list[Moment]:
    """The moments noted so far."""
    return [Moment(**json.loads(line)) for line in notes.read_text().splitlines()] if notes.is_file() else []


def growth(moments: list[Moment], total: int) -> dict[str, Any]:
    """Rates and memory by fifths of the frames."""
    fifths: list[tuple[float | None, float | None]] = []
    for number in range(5):
        low, high = total * number / 5, total * (number + 1) / 5
        inside = [moment for moment in moments if low <= moment.frames < high or moment.frames == high == total]
        frames = cpu = 0.0
        for session in {moment.session for moment in inside}:
            own = [moment for moment in inside if moment.session == session]
            edges = [b for a, b in pairwise(own) if b.frames > a.frames]  # a shard was just finished
            if len(edges) > 1:
                frames += edges[-1].frames - edges[0].frames
                cpu += edges[-1].cpu_seconds - edges[0].cpu_seconds
        memory = [moment.megabytes for moment in inside]
        fifths.append((frames / cpu if cpu else None, statistics.median(memory) if memory else None))
    rates, memory = [rate for rate, _ in fifths], [each for _, each in fifths]
    return {
        "frames": total,
        "frames_per_cpu_second_by_fifth": [None if rate is None else round(rate) for rate in rates],
        "megabytes_by_fifth": [None if each is None else round(each, 1) for each in memory],
        "rate_last_vs_second": round(rates[4] / rates[1], 3) if rates[4] and rates[1] else None,
        "growth_megabytes": round(memory[4] - memory[1], 1) if memory[4] and memory[1] else None,
        "sessions": moments[-1].session + 1,
    }


def watched_job(release: Path, out: Path, *options: str) -> tuple[float, float] | None:
    """(CPU seconds, wall seconds) of one `prepare` command with all its processes; None where it failed.

    Ray's workers are children of its own server, which does not wait for them: no parent is told of their time. So the
    processes are looked at while they live as well; what each did after the last look, a twentieth of a second before
    its end on a quiet machine, is not seen. Neither way counts too much: the larger one is taken.
    """
    shutil.rmtree(out, ignore_errors=True)
    words = [sys.executable, "-P", "-m", "ipv_bench", "prepare", "ssv2", "--quiet", "--source", str(release)]
    seconds: dict[tuple[int, int], float] = {}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen([*words, "--out", str(out), *options]) as process:
        while process.poll() is None:
            look(process.pid, seconds)
            time.sleep(0.05)
        wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return None if process.returncode else (max(told, sum(seconds.values())), wall)


def look(first: int, seconds: dict[tuple[int, int], float]) -> None:
    """Note the CPU seconds so far, (process, its start) → seconds, of process `first` and all that come from it.

    Those that were noted before belong to it still when the process that started them is gone.
    """
    now: dict[int, tuple[int, int, float]] = {}  # process → parent, start, seconds
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        now[int(place.parent.name)] = int(fields[1]), int(fields[19]), (int(fields[11]) + int(fields[12])) / TICKS
    ours = {pid for pid, (_, start, _) in now.items() if pid == first or (pid, start) in seconds}
    grows = True
    while grows:
        children = {pid for pid, (parent, _, _) in now.items() if parent in ours} - ours
        grows, ours = bool(children), ours | children
    seconds |= {(pid, now[pid][1]): now[pid][2] for pid in ours}


def workers(release: Path, out: Path, videos: int, pairs: int) -> dict[str, Any]:
    """Wall and CPU seconds of one worker over those of two, by processes and by Ray, without start-up."""
    forms = {"one": ("--workers", "1"), "two": ("--workers", "2"), "ray": ("--workers", "2", "--executor", "ray")}
    if shutil.which("ray") is None and not (Path(sys.executable).parent / "ray").exists():
        del forms["ray"]
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}  # (CPU, wall)
    load = []
    for _ in range(pairs):
        load.append(os.getloadavg()[0])
        for name, options in list(forms.items()):
            start = watched_job(release, out, *options, "--limit", "1")
            whole = start and watched_job(release, out, *options, "--limit", str(videos))
            if start is None or whole is None:  # Ray, for instance, gives up starting on a machine that is too busy
                print(f"not measured, since `prepare {' '.join(options)}` failed")
                del forms[name]
                continue
            spent[name].append((whole[0] - start[0], whole[1] - start[1]))
    shutil.rmtree(out, ignore_errors=True)
    found: dict[str, Any] = {"pairs": pairs, "load": [round(min(load), 1), round(max(load), 1)]}
    for name, key in (("two", "two_workers"), ("ray", "ray_two_workers")):
        for which, suffix in ((1, ""), (0, "_cpu")):
            ratios = [one[which] / other[which] for one, other in zip(spent["one"], spent.get(name, ()), strict=False)]
            found[f"{key}{suffix}"] = round(statistics.median(ratios), 3) if ratios else None
            found[f"{key}{suffix}_range"] = [round(min(ratios), 3), round(max(ratios), 3)] if ratios else None
    return found


def main() -> None:
    """Make the release, run or go on, and report; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where release, shards and notes are kept")
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=48, help="of each clip, 25 or more: shorter ones are left out")
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--keep", type=Path, help="write the result to this file too")
    parser.add_argument("--quick", action="store_true", help="400 videos of 26 frames, from 10 clips")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            result = run(Path(folder), 10, 400, 26, None, 1)
    elif arguments.folder is None:
        parser.error("name a FOLDER, or --quick")
    else:
        result = run(arguments.folder, DISTINCT, arguments.videos, arguments.frames, arguments.minutes, 10)
    if result is None:
        print("stopped; run it again to go on")
    else:
        shown = {"quick": arguments.quick, "machine": machine(), **result}
        keep_line({"benchmark": "prepare_growth", **shown}, arguments.keep)


def run(
    folder: Path, distinct: int, videos: int, frames: int, minutes: float | None, pairs: int
) -> dict[str, Any] | None:
    """All of it, or what is left of it; None where it has to be run again.

    Raises:
        SystemExit: the folder was made for other numbers, which its moments are of.
    """
    note_settings(folder / "numbers.json", {"distinct": distinct, "videos": videos, "frames": frames})
    release, notes, done = folder / "release", folder / "moments.jsonl", folder / "done"
    if not release.is_dir():
        unfinished = folder / "release.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        make_release(unfinished, distinct, videos // distinct, num_frames=frames, link=True)
        unfinished.rename(release)
    if not done.exists():
        if not watch(release, folder / "out", notes, max(4, videos // 100), minutes):
            return None
        done.touch()
    result = {"videos": videos // distinct * distinct, "distinct": distinct}
    result |= growth(read(notes), result["videos"] * frames)
    return result | workers(release, folder / "workers", max(100, videos // 20), pairs)


if __name__ == "__main__":
    main()
