"""`make pretrain finetune` with the preset `tiny`, by this checkout and by the commit before work on speed.

    python benchmarks/tiny_run.py FOLDER           ten whole runs each, in turn; two to three CPU-hours
    python benchmarks/tiny_run.py FOLDER --part 4  a quarter of all (steps, updates, evaluations); start-up counts whole
    python benchmarks/tiny_run.py --quick          a 24th, one pair: that it runs, in under two minutes

One agent of the learning experiment: ContextWM, pre-trained on the sample SSv2 set, then on `dmc/cheetah_run`. The
sample set is made by each checkout beforehand and not timed; the two commands are, as processes: CPU seconds with their
start, simulation, drawing, evaluations and checkpoints. Which of the two comes first alternates. The ratio is the
median over the pairs, with the smallest and the largest. A pair that FOLDER has is not made again: a stopped command is
run again. `--keep FILE` writes the last line to a file too.

Equal work: both play and learn as many steps, updates and episodes (`same_work`), which are today's; at START an
evaluation had two episodes. How each does it is its own: START plays an evaluation's episodes one after the other.

START is the last commit before work on speed began; docs/speed.md says how it was found. Its code is taken out of this
clone's history (a shallow clone has none). The last line is JSON with `tiny_run`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from kept_record import note_settings
from paired_timing import keep_line, machine

from ipv_bench.run_record import git_commit

START = "e082d6ef11204487c662d7c85da85baddc740c81"
ROOT = Path(__file__).resolve().parents[1]
PREFILL, TRAINING, EVERY, EVALUATED = 4, 24, 2, 5
"""Of the preset `tiny` on dm-control: episodes without and with training, episodes between evaluations, episodes of an
evaluation."""
EPISODE = 250
"""Agent steps, of four control steps each."""


class Checkout:
    """Code of one commit, and the workspace that it trains in.

    Args:
        source: where the code is.
        workspace: an empty folder.
    """

    def __init__(self, source: Path, workspace: Path) -> None:
        self.source, self.workspace = source, workspace
        workspace.mkdir()
        self._run("sample", "data/raw/ssv2", "--dataset", "ssv2", "--videos", "64")
        self._run("prepare", "ssv2", "--workers", "1")

    def whole_run(self, part: int) -> dict[str, float]:
        """CPU seconds of pre-training and of fine-tuning, from nothing."""
        shutil.rmtree(self.workspace / "runs", ignore_errors=True)
        pretrain, finetune = same_work(part)
        return {
            "pretrain": self._run("pretrain", *pretrain),
            "finetune": self._run("finetune", *finetune),
        }

    def _run(self, *arguments: str) -> float:
        """Run `ipv-bench` by the checkout's code; CPU seconds of the process and its children."""
        environment = os.environ | {"PYTHONPATH": str(self.source), "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-m", "ipv_bench", *arguments]
        child = subprocess.Popen(words, cwd=self.workspace, env=environment, stdout=sys.stderr)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, words)
        return usage.ru_utime + usage.ru_stime


def same_work(part: int) -> tuple[list[str], list[str]]:
    """Arguments of the two commands for one `part`-th of a run, with everything set that decides how much is done."""
    prefill, training = max(1, round(PREFILL / part)), max(1, round(TRAINING / part))
    evaluations = 1 + (prefill + training) // EVERY - prefill // EVERY  # one before training
    whole = EVALUATED * (1 + (PREFILL + TRAINING) // EVERY - PREFILL // EVERY)
    updates = max(3, round(300 / part))
    run = "runs/pretrain/ssv2/contextwm/seed0"
    pretrain = {
        "method": "contextwm", "training.updates": updates, "training.checkpoint_every": updates,
        "validation.every": updates // 3,
    }  # fmt: skip
    finetune = {
        "method": "contextwm",
        "training.env_steps": 4 * EPISODE * (prefill + training),
        "training.prefill": EPISODE * prefill,
        "training.pretrain_updates": max(1, round(100 / part)),
        "training.checkpoint_minutes": 10,  # the longest; by the clock: a loaded machine would write more of them
        "evaluation.every": 4 * EPISODE * EVERY,
        "evaluation.episodes": min(EVALUATED, max(1, round(whole / part / evaluations))),
        "evaluation.random_episodes": max(1, round(30 / part)),
    }
    return (
        ["--preset", "tiny", "--data", "data/shards/ssv2", "--run", run, *_set(pretrain)],
        ["--preset", "tiny", "--task", "dmc/cheetah_run", "--init", run, "--run", "runs/agent", *_set(finetune)],
    )


def _set(values: dict[str, Any]) -> list[str]:
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def code_of(commit: str, folder: Path) -> Path:
    """The files of a commit, out of this clone's history."""
    try:
        packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"commit {commit} is not in this clone: {error.stderr.decode()}fetch the whole history"
        ) from None
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:  # our own history: nothing in it points outside
        archive.extractall(folder)
    return folder


def measure(folder: Path, part: int, pairs: int) -> dict[str, Any]:
    """Alternating runs of both checkouts; those that the folder has notes of are not made again.

    Raises:
        SystemExit: the folder's pairs are of other settings, or of another commit.
    """
    commit = git_commit()
    note_settings(folder / "settings.json", {"part": part, "start": START, "now": commit})
    notes = folder / "pairs.jsonl"
    found = [json.loads(line) for line in notes.read_text().splitlines()] if notes.is_file() else []
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    if len(found) < pairs:
        work.mkdir()
        start = Checkout(code_of(START, work / "code"), work / "start")
        now = Checkout(ROOT, work / "now")
        while len(found) < pairs:
            found.append(one_pair(now, start, part, len(found)))
            with notes.open("a") as file:
                file.write(json.dumps(found[-1]) + "\n")
            print(found[-1], flush=True)
    ratios = [sum(pair["start"].values()) / sum(pair["now"].values()) for pair in found]
    return {
        "tiny_run": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
        "ratios": [round(ratio, 3) for ratio in ratios],
        "part": part,
        "start": START,
        "now": commit,
        "cpu_seconds": [{side: pair[side] for side in ("now", "start")} for pair in found],
        "load": [round(edge(pair["load"] for pair in found), 1) for edge in (min, max)],
    }


def one_pair(now: Checkout, start: Checkout, part: int, pair: int) -> dict[str, Any]:
    """CPU seconds of both; who is measured first alternates: none always has the warmer disk. And the load before."""
    load = os.getloadavg()[0]
    found = {}
    for name, side in ([("now", now), ("start", start)])[:: -1 if pair % 2 else 1]:
        found[name] = {command: round(seconds, 1) for command, seconds in side.whole_run(part).items()}
    return found | {"load": load}


def main() -> None:
    """Measure, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where pairs are noted: run it again to go on")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", type=int, default=1, help="one N-th of a run")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), 24, 1)
    elif options.folder is None:
        parser.error("name a FOLDER, or --quick")
    else:
        found = measure(options.folder, options.part, options.pairs)
    keep_line({"benchmark": "tiny_run", **found, "machine": machine()}, options.keep)


if __name__ == "__main__":
    main()
