"""Two checkouts, one result: shard sets, training runs and reports of both, compared byte by byte.

For a change that must change nothing (files moved, interfaces drawn anew). Both checkouts run with this interpreter, on
their own code, in workspaces of their own:

    python benchmarks/same_results.py BEFORE AFTER

Compared: the shard sets of every data set's sample; metrics and evaluations of pre-training and fine-tuning runs, but
for what begins with `wall_`; reports that both make of BEFORE's runs, but for versions and commits. Then AFTER goes on
with what BEFORE made: it verifies its shard sets, trains on them, starts an agent from its world model, evaluates its
agent, and finds its finished run finished. Each difference is printed; the exit status is 1 when there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DATA_SETS = ("ssv2", "human36m", "youtube-driving", "ego4d", "rlbench", "folder")
PRETRAIN = ("training.updates=12", "training.log_every=1", "validation.every=6", "validation.segments=4")
FINETUNE = (
    "training.env_steps=1100", "training.prefill=260", "training.pretrain_updates=5", "training.log_every=1",
    "evaluation.every=500", "evaluation.episodes=1", "evaluation.random_episodes=2", "training.stop_grace_seconds=0",
)  # fmt: skip
AGENTS = (
    ("contextwm", "dmc/cheetah_run"),
    ("apv", "dmcr/walker_run"),
    ("dreamerv2", "metaworld/lever_pull"),
)
"""Method and task of each agent: every method and every suite once."""

SKIPPED_LOGS = ("prepare_log.jsonl",)
"""Outside the identity of a shard set: when, where and how fast."""


class Checkout:
    """A checkout and its workspace."""

    def __init__(self, source: Path, workspace: Path) -> None:
        self.source, self.workspace = source.resolve(), workspace
        workspace.mkdir()

    def run(self, *arguments: str) -> str:
        """Run `ipv-bench` from the checkout's code, inside its workspace."""
        environment = os.environ | {"PYTHONPATH": str(self.source), "OMP_NUM_THREADS": "1", "MUJOCO_GL": "egl"}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ipv_bench", *arguments],
            cwd=self.workspace, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{self.source}: ipv-bench {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def make_everything(self) -> None:
        """Sample releases, shard sets, pre-trained models, agents."""
        for name in DATA_SETS:
            self.run("sample", "--dataset", name, "--videos", "8")
            self.run("prepare", name, "--workers", "1")
        for method in ("contextwm", "apv"):
            words = [*overrides(f"method={method}", *PRETRAIN), "--data", "data/shards/ssv2"]
            self.run("pretrain", *words, "--run", f"runs/pretrain/ssv2/{method}/seed0")
        for method, task in AGENTS:
            words = [*overrides(f"method={method}", *FINETUNE), "--task", task]
            self.run("finetune", *words, "--run", f"runs/{task}/{method}/seed0")


def overrides(*texts: str) -> list[str]:
    """`--set` for each."""
    return [word for text in texts for word in ("--set", text)]


def shard_files(workspace: Path) -> dict[str, str]:
    """sha256 of every file of every shard set."""
    folder = workspace / "data" / "shards"
    return {
        str(path.relative_to(workspace)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in SKIPPED_LOGS
    }


def logs(workspace: Path) -> dict[str, str]:
    """Contents of every log of every run, wall times left out."""
    found = {}
    for path in sorted((workspace / "runs").rglob("*.jsonl")):
        if path.name in ("metrics.jsonl", "evaluations.jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            kept = [{key: value for key, value in line.items() if not key.startswith("wall_")} for line in lines]
            found[str(path.relative_to(workspace))] = json.dumps(kept)
    return found


def report_files(folder: Path) -> dict[str, bytes]:
    """Every file of a report, versions and commits left out of its texts."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.endswith(".parquet"):
            continue
        contents = path.read_bytes()
        if path.suffix in (".html", ".json"):
            contents = re.sub(rb"[0-9a-f]{12,40}(\+dirty)?|ipv-bench [0-9.]+", b"(left out)", contents)
        found[str(path.relative_to(folder))] = contents
    return found


def differing(title: str, before: dict, after: dict) -> int:
    """Print what differs; returns how many entries do."""
    odd = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    print(f"{title}: {len(before)} compared, {len(odd)} differ")
    for key in odd:
        print(f"  {key}: {'absent before' if key not in before else 'absent after' if key not in after else 'differs'}")
    return len(odd)


def main() -> int:
    """Compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before, after = Checkout(given.before, Path(folder) / "before"), Checkout(given.after, Path(folder) / "after")
        for checkout in (before, after):
            checkout.make_everything()
        found = differing("files of shard sets", shard_files(before.workspace), shard_files(after.workspace))
        found += differing("logs of runs", logs(before.workspace), logs(after.workspace))
        runs = str(before.workspace / "runs")
        reports = []
        for checkout in (before, after):
            out = Path(folder) / f"report-{checkout.workspace.name}"  # side by side: links to the runs are relative
            checkout.run("report", runs, "--resamples", "200", "--figures", "fig5a", "--out", str(out))
            reports.append(report_files(out))
        found += differing("files of a report", *reports)

        old = before.workspace
        for name in DATA_SETS:
            after.run("verify", str(old / "data/shards" / name))
        after.run("pretrain", *overrides(*PRETRAIN), "--data", str(old / "data/shards/ssv2"), "--run", "on-old-shards")
        start = old / "runs/pretrain/ssv2/contextwm/seed0"
        after.run("finetune", *overrides(*FINETUNE), "--task", AGENTS[0][1], "--init", str(start), "--run", "from-old")
        finished = old / "runs" / AGENTS[0][1] / AGENTS[0][0] / "seed0"
        after.run("evaluate", str(finished), "--episodes", "1")
        again = ["finetune", *overrides(*FINETUNE), "--task", AGENTS[0][1], "--run", str(finished)]
        assert "finished" in after.run(*again)
        print("what the first made, the second reads: shard sets, world model, agent, run")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
