"""Memory, file handles, threads and disk of one long `finetune` run.

    python benchmarks/soak_finetune.py [--minutes 58] [--quick] [--out FILE]

A `finetune` with the preset `tiny`, its environments in a process of their own, checkpoints every minute, evaluations,
TensorBoard events and a replay small enough to drop episodes from about a fifth of the time on, runs for so many
minutes (one with --quick) and is then ended with SIGTERM. Every few seconds the process and its children are looked at
in /proc. `growth` compares the median of the last fifth with that of the second one (the first is warm-up and prefill):
flat use gives about 0. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASK = "dmc/cartpole_balance"
SETS = (
    "training.env_steps=1000000000", "training.checkpoint_minutes=1", "training.prefill=500", "envs.workers=1",
    "training.train_every=3", "evaluation.every=8000", "evaluation.episodes=1", "evaluation.random_episodes=2",
    "replay.capacity=5000", "training.stop_grace_seconds=60",
)  # fmt: skip
SAMPLES, KEPT_EVERY = 240, 4
"""How often the processes are looked at, and which share of that is kept in the result."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found, todo = [], [pid]
    while todo:
        now = todo.pop()
        found.append(now)
        for children in Path(f"/proc/{now}/task").glob("*/children"):
            try:
                todo += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def look(pid: int) -> dict[str, float]:
    """What a process uses: resident megabytes, open files, threads."""
    return {
        "megabytes": round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6, 1),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
    }


def sample(pid: int) -> dict[str, float]:
    """What the run uses, its children summed up apart."""
    own, *children = [look(member) for member in tree(pid)]
    total = {f"child_{name}": round(sum(child[name] for child in children), 1) for name in own}
    return {**own, "children": len(children), **total}


def folder_use(folder: Path) -> tuple[int, float]:
    """Number of files below a folder, and their megabytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), round(sum(sizes) / 1e6, 1)


def soak(folder: Path, seconds: float) -> tuple[list[dict[str, float]], list[str], int]:
    """Run and watch; returns the samples, the output's last lines and the exit status."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "ipv_bench",
        "finetune",
        "--preset",
        "tiny",
        "--task",
        TASK,
        "--init",
        "none",
    ]
    command += ["--set", "method=contextwm", "--run", str(folder)]
    command += [word for change in SETS for word in ("--set", change)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}
        )
        begun, samples = time.monotonic(), []
        while process.poll() is None and time.monotonic() - begun < seconds:
            time.sleep(max(seconds / SAMPLES, 0.5))
            try:
                samples.append(sample(process.pid) | {"seconds": round(time.monotonic() - begun, 1)})
            except OSError:  # a process ended while it was looked at
                continue
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(180)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        output.seek(0)
        return samples, output.read().splitlines()[-3:], status


def growth(values: list[float]) -> float:
    """Median of the last fifth minus the median of the second fifth."""
    fifth = max(1, len(values) // 5)
    return round(statistics.median(values[-fifth:]) - statistics.median(values[fifth : 2 * fifth]), 2)


def main() -> None:
    """Run the soak; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=58.0)
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--out", type=Path, help="where to keep the JSON")
    options = parser.parse_args()
    minutes = 1.0 if options.quick else options.minutes
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        samples, words, status = soak(run, 60 * minutes)
        files, disk = folder_use(run)
        replay_files, replay_disk = folder_use(run / "replay")
        lines = (run / "metrics.jsonl").read_text().splitlines()
        last = json.loads(lines[-1])
    columns = {key: [entry[key] for entry in samples] for key in samples[0]}
    result = {
        "minutes": minutes, "exit_status": status, "last_words": words, "env_steps": last["env_steps"],
        "agent_steps": last["agent_steps"], "log_lines": len(lines), "run_files": files, "run_megabytes": disk,
        "replay_files": replay_files, "replay_megabytes": replay_disk,
        "growth": {key: growth(values) for key, values in columns.items() if key != "seconds"},
        "peak": {key: max(values) for key, values in columns.items() if key != "seconds"},
        "samples": {key: values[::KEPT_EVERY] for key, values in columns.items()},
    }  # fmt: skip
    text = json.dumps({"benchmark": "soak_finetune", "quick": options.quick, **result})
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
