"""The full releases' layouts at full count, rehearsed: what `prepare` does before and around the decoding.

    python benchmarks/rehearsal.py [--releases ssv2-archive human36m ...] [--work DIR] [--quick]

Nobody here has the releases, so their layouts are made: every name that they have, with drawn contents (see
rehearsal_layouts.py). For each release it measures

* the inventory: seconds, CPU seconds, peak memory, counts;
* `prepare --dry-run`: the same, and what it prints;
* an inventory that is killed half-way (`kill -9`): what it leaves behind;
* a job over the first items (`--limit`) that is killed while it works and started again: whether its files are those of
  a job that nobody disturbed.

Layouts are made in `--work` (a temporary folder by default, 5 GB) and removed. `--quick` makes a thousandth of each.
The last line is JSON; a whole run of all releases is kept in benchmarks/results/rehearsal.json, each release with the
commit that it was made at, and with the steps that it lacks where an older form of this script made it.
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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rehearsal_layouts import RELEASES, Release

from ipv_bench.atomic_file import write_json
from ipv_bench.run_record import git_commit, host_hardware, package_versions
from ipv_bench.shard_set import LOG_FILE, file_sha256
from pipelines.datasets.base import data_set
from pipelines.prepare import resolve_config

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "rehearsal.json"
QUICK_SHARE = 0.001
STEPS = ("inventory", "killed_inventory", "dry_run", "killed_job")
START_SECONDS = 0.8
"""CPU time of a command before its inventory begins, about."""


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
        command = [sys.executable, "-P", "-m", "ipv_bench", *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, cwd=ROOT)
        ended = 0
        try:
            ended, status, used = os.wait4(process.pid, 0 if kill_when is None else os.WNOHANG)
            while not ended:
                if kill_when is not None and kill_when(process.pid):
                    os.killpg(process.pid, signal.SIGKILL)
                    kill_when = None
                time.sleep(0.1)
                ended, status, used = os.wait4(process.pid, os.WNOHANG)
        finally:
            if not ended:  # this process is stopped: what it started would go on in the folders that it removes
                os.killpg(process.pid, signal.SIGKILL)
                os.wait4(process.pid, 0)
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
        "import json, resource, sys; from pathlib import Path; from rehearsal import inventory; "
        "found = inventory(sys.argv[1], Path(sys.argv[2])); "
        "found['peak_megabytes'] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024); "
        "print(json.dumps(found))"
    )
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, name, str(source)],
        env={**os.environ, "PYTHONPATH": paths}, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
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
    for name in STEPS:
        found[name] = steps[name]()
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
    for half in (1, max(1, total // 2)):
        there = len(list(out.glob("*.tar")))
        wanted = min(total, max(half, there + 1))  # one more than before: it has begun to work again
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the layouts are removed then
    share = QUICK_SHARE if options.quick else 1.0
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        for name in options.releases:
            note = partial(keep, name) if not options.quick else (lambda _: None)
            found[name] = rehearse(RELEASES[name], Path(work) / name, share, note)
            if not options.quick:
                keep(name, found[name], whole=True)
            print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    result = {"benchmark": "rehearsal", "quick": options.quick, "releases": found}
    print(json.dumps(result))
    return result


def keep(name: str, found: dict[str, Any], *, whole: bool = False) -> None:
    """Put a release into the kept result, with what it was measured on; those of other calls stay.

    What a rehearsal has measured before it is cut short stands under `unfinished`, and takes the place of nothing. A
    note about all that was kept before goes to each release of it: the new one has nothing of it.
    """
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"releases": {}}
    note = kept.pop("note", None)
    if note is not None:
        kept["releases"] = {key: {"note": note, **value} for key, value in kept["releases"].items()}
    packages = package_versions(("ipv-bench", "pyarrow", "av", "h5py"))
    facts = {"hardware": host_hardware(), "packages": packages, "commit": git_commit()}
    unfinished = {key: value for key, value in kept.get("unfinished", {}).items() if key != name}
    if whole:
        kept["releases"][name] = {**found, **facts}
    else:
        unfinished[name] = {**found, **facts}
    for release in kept["releases"].values():
        release.pop("lacks", None)
        lacks = [step for step in STEPS if step not in release]
        release.update({"lacks": lacks} if lacks else {})
    write_json(RESULT, {**kept, "command": "python benchmarks/rehearsal.py", "unfinished": unfinished})


if __name__ == "__main__":
    main()
