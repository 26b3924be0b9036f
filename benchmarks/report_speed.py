"""Processor time and memory of `ipv-bench report` on 500 runs of 1,000 evaluations each.

    python benchmarks/report_speed.py [--quick]

Writes run folders (format 1): 5 methods × 5 tasks of two suites × 10 seeds, ten episodes per evaluation, and measures
the whole command in a process of its own, limited to one core: reading, aligning, curves, tables, figures and page.
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


def measure(runs: Path, out: Path) -> dict[str, float]:
    """Run the command on one core; wall and processor seconds, and the peak of resident memory in MiB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ipv_bench", "report", str(runs), "--out", str(out), "--quiet"]
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, preexec_fn=_one_core)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the report failed with exit status {process.returncode}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mib": _mebibytes(usage)}


def _one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _mebibytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one measurement in place of three")
    quick = parser.parse_args().quick
    points = 1000
    with tempfile.TemporaryDirectory() as folder:
        number = write_runs(Path(folder) / "runs", points)
        print(f"{number} runs x {points} evaluations x 10 episodes")
        found = [measure(Path(folder) / "runs", Path(folder) / "report") for _ in range(1 if quick else 3)]
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
    print(json.dumps(result))


if __name__ == "__main__":
    main()
