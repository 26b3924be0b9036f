"""Processor time, wall time and memory of `ipv-bench report`: alone, or beside an older checkout on the same files.

    python benchmarks/report_speed.py [--quick]
    python benchmarks/report_speed.py --scores tdmpc2_results.tar.gz --baseline CHECKOUT [--pairs 3]

Alone: writes run folders (format 1) of 5 methods × 5 tasks of two suites × 10 seeds, 1,000 evaluations of ten episodes
each, and measures the whole command in a process of its own, limited to one core: reading, aligning, curves, tables,
figures and page.

With `--baseline`, a folder of an older version's source (`git worktree add CHECKOUT a9b0d25`): both versions make the
report of `--scores` in turns, each figure in all three formats, on two cores; then ours looks at the unchanged files a
second time. Ratios are the baseline's time over ours, the median over the pairs. The same number of figures must come
out, in the same formats: else nothing is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.run_record import RunRecord, run_folder, write_record

HERE = Path(__file__).resolve().parents[1]
METHODS, SEEDS = ("contextwm", "apv", "dreamerv2", "sac", "tdmpc2"), 10
TASKS = tuple(f"{suite}/task_{index}" for suite in ("dmc", "metaworld") for index in range(5))


def write_runs(root: Path, points: int) -> int:
    """Write the runs; returns their number."""
    number = 0
    for task in TASKS:
        suite, _, name = task.partition("/")
        for index, method in enumerate(METHODS):
            for seed in range(SEEDS):
                record = RunRecord(
                    kind="finetune", method=method, seed=seed, suite=suite, task=name, preset="paper",
                    config={"method": method, "env": {"action_repeat": 2}}, status="finished",
                    env_fingerprint={"suite": suite, "mujoco": "3.3.0", "action_repeat": 2},
                )  # fmt: skip
                folder = run_folder(root, record)
                write_record(folder, record)
                (folder / "evaluations.jsonl").write_text(_evaluations(points, index, [seed, *task.encode()]))
                number += 1
    return number


def _evaluations(points: int, method: int, seeds: list[int]) -> str:
    source = np.random.default_rng([method, *seeds])
    level = (0.4 + 0.1 * method) * (1 - np.exp(-4 * np.arange(points) / points))
    scores = np.clip(level[:, None] + 0.1 * source.standard_normal((points, 10)), 0, 1)
    lines = []
    for index, episodes in enumerate(scores):
        line: dict[str, Any] = {
            "env_steps": 1000 * index,
            "returns": (1000 * episodes).round(3).tolist(),
            "successes": (episodes > 0.5).astype(float).tolist(),
            "lengths": [1000] * 10,
            "seeds": list(range(10)),
        }
        lines.append(json.dumps(line))
    return "\n".join(lines) + "\n"


def measure(runs: Path, out: Path, cores: int = 1, checkout: Path = HERE) -> dict[str, float]:
    """Run the command of a checkout; wall and processor seconds of it and its processes, and the peak of memory in MiB.

    Args:
        runs: what to report on.
        out: the report's folder.
        cores: how many processors it may use.
        checkout: folder of the version's source.
    """
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(checkout.resolve()),
    }  # fmt: skip
    command = [sys.executable, "-P", "-m", "ipv_bench", "report", str(runs.resolve()), "--out", str(out), "--quiet"]
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=checkout, preexec_fn=lambda: _only(cores))
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the report failed with exit status {process.returncode}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mib": _mebibytes(usage)}


def _only(cores: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))


def _mebibytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def compare(scores: Path, baseline: Path, pairs: int) -> dict[str, Any]:
    """Both versions in turns on the same files, then ours once more on unchanged ones; prints each pair."""
    found = []
    for number in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            theirs_out, ours_out = Path(folder) / "theirs", Path(folder) / "ours"
            # The first of a pair finds a colder machine, so they take turns at being it.
            if number % 2:
                ours, theirs = measure(scores, ours_out, 2), measure(scores, theirs_out, 2, baseline)
            else:
                theirs, ours = measure(scores, theirs_out, 2, baseline), measure(scores, ours_out, 2)
            before = _contents(ours_out)
            again = measure(scores, ours_out, 2)
            drawn = [_pictures(out) for out in (theirs_out, ours_out)]
            if len(drawn[0]) != len(drawn[1]) or before != _contents(ours_out):
                raise SystemExit(f"{len(drawn[0])} and {len(drawn[1])} pictures, or a second look changed files")
        for name, one in (("baseline", theirs), ("ours", ours), ("ours, unchanged", again)):
            print(f"{name}: {one['cpu']:.1f} s of processor time, {one['wall']:.1f} s in all, {one['mib']:.0f} MiB")
        found.append((theirs, ours, again))

    def ratio(kind: str, place: int) -> float:
        return round(statistics.median(one[0][kind] / one[place][kind] for one in found), 2)

    def middle(kind: str, place: int) -> float:
        return round(statistics.median(one[place][kind] for one in found), 2)

    return {
        "benchmark": "report_speed",
        "scores": scores.name,
        "pictures": len(drawn[1]),
        "pairs": pairs,
        "cpu_ratio": ratio("cpu", 1),
        "wall_ratio_two_cores": ratio("wall", 1),
        "unchanged_wall_ratio": ratio("wall", 2),
        "unchanged_cpu_ratio": ratio("cpu", 2),
        "baseline_cpu_seconds": middle("cpu", 0),
        "ours_cpu_seconds": middle("cpu", 1),
        "unchanged_cpu_seconds": middle("cpu", 2),
        "baseline_wall_seconds": middle("wall", 0),
        "ours_wall_seconds": middle("wall", 1),
        "unchanged_wall_seconds": middle("wall", 2),
        "cores_used": 2,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def _pictures(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "figures").iterdir() if path.suffix in (".pdf", ".svg", ".png"))


def _contents(out: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one measurement in place of three")
    parser.add_argument("--scores", type=Path, help="score files to compare two versions on")
    parser.add_argument("--baseline", type=Path, help="folder of the older version's source")
    parser.add_argument("--pairs", type=int, default=3, help="how often each version runs")
    given = parser.parse_args()
    if (given.scores is None) != (given.baseline is None):
        parser.error("--scores and --baseline go together")
    if given.scores is not None:
        result = compare(given.scores, given.baseline.resolve(), 1 if given.quick else given.pairs)
    else:
        result = alone(given.quick)
    print(json.dumps(result))


def alone(quick: bool) -> dict[str, Any]:
    """Measure ours on made-up runs, on one core."""
    points = 1000
    with tempfile.TemporaryDirectory() as folder:
        number = write_runs(Path(folder) / "runs", points)
        print(f"{number} runs x {points} evaluations x 10 episodes")
        found = [measure(Path(folder) / "runs", Path(folder) / f"report{i}") for i in range(1 if quick else 3)]
    for one in found:
        print(f"{one['cpu']:6.1f} s of processor time, {one['wall']:6.1f} s in all, {one['mib']:6.0f} MiB")
    result = {
        "benchmark": "report_speed",
        "runs": number,
        "points": points,
        "cpu_seconds": round(statistics.median(one["cpu"] for one in found), 2),
        "wall_seconds": round(statistics.median(one["wall"] for one in found), 2),
        "peak_mib": round(max(one["mib"] for one in found)),
        "cores_used": 1,
        "quick": quick,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    return result


if __name__ == "__main__":
    main()
