"""Sweeps on a real one-node SLURM, submitit's stand-ins and a Ray cluster that loses a node: the same runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ipv_bench.run_record import is_finished, read_record
from tests.ipv_bench.slurm_node import skip_without_slurm, slurm, slurm_node
from tests.ipv_bench.test_sweep import (
    ipv_bench,
    kill_a_job,
    lab,
    log,
    nothing_is_left_running,
    prepared,
    start,
)

__all__ = ["lab", "nothing_is_left_running", "prepared"]  # fixtures
pytestmark = pytest.mark.slow

STEPS = 3000
SWEEP = f"""
methods: [linear]
tasks: [dot/left]
data: [robot-videos]
seeds: 2
set: {{training.env_steps: {STEPS}, evaluation.random_episodes: 1, evaluation.every: 0}}
"""

FROM_NOTHING = SWEEP.replace("[linear]", "[{method: linear, pretraining: none}]").replace("data: [robot-videos]\n", "")


def two_jobs_run(lab: Path, sweep: subprocess.Popen[str]) -> bool:
    assert sweep.poll() is None, sweep.communicate()[0]
    return len(list(lab.glob("runs/dot/*/*/*/checkpoints/[0-9]*/checkpoint.json"))) == 2


def until(condition: Callable[[], bool], what: str, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def statuses(lab: Path) -> list[dict]:
    return json.loads(ipv_bench(lab, "sweep", "status", "sweep.yaml", "--json").stdout)


def same_as_by_hand(lab: Path, command: str, folder: str) -> None:
    words = command.split()[1:]
    words[words.index("--run") + 1] = "by-hand"
    done = ipv_bench(lab, *words)
    assert done.returncode == 0, done.stderr
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert log(lab / folder, name) == log(lab / "by-hand", name)


def test_slurm_array_dependency_and_requeue(
    lab: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_slurm()
    pytest.importorskip("submitit")
    (lab / "sweep.yaml").write_text(SWEEP)
    with slurm_node(tmp_path_factory.mktemp("slurm")) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        host = slurm(variables, "sinfo", "--noheader", "--format=%n").strip()
        change = ["scontrol", "update", f"nodename={host}"]
        # Nothing starts while the node takes no jobs, however long the commands below take.
        subprocess.run([*change, "state=drain", "reason=test"], check=True, timeout=60)
        done = ipv_bench(lab, "sweep", "sweep.yaml", "--on", "slurm")
        assert done.returncode == 0, done.stderr
        first, second = re.search(r"3 jobs submitted as (\d+), (\d+)", done.stdout).groups()
        array = slurm(variables, "scontrol", "show", "job", second)
        assert f"ArrayJobId={second} ArrayTaskId=0-1" in array
        assert f"Dependency=afterok:{first}" in array

        again = ipv_bench(lab, "sweep", "sweep.yaml", "--on", "slurm")  # nothing is submitted twice
        assert "wait or run already" in again.stdout, again.stdout + again.stderr
        assert "submitted as" not in again.stdout

        run = lab / statuses(lab)[1]["folder"]
        subprocess.run([*change, "state=resume"], check=True, timeout=60)
        until(lambda: bool(list(run.glob("checkpoints/*/checkpoint.json"))), "seed 0 does not run")
        subprocess.run(["scontrol", "requeue", f"{second}_0"], check=True, timeout=60)
        until(lambda: read_record(run).status == "interrupted", "it did not save its state when it was requeued")
        assert "Restarts=1" in slurm(variables, "scontrol", "show", "job", f"{second}_0")
        until(lambda: all(one["state"] == "done" for one in statuses(lab)), f"not done: {statuses(lab)}")
        until(lambda: not slurm(variables, "squeue", "--noheader"), "jobs stay in the queue")
    found = statuses(lab)
    same_as_by_hand(lab, found[1]["command"], found[1]["folder"])


def descendants(pid: int) -> list[int]:
    """Process ids below a process, whatever their sessions."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def test_ray_loses_a_node(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node dies with everything on it; its job goes on elsewhere from its last checkpoint."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    (lab / "sweep.yaml").write_text(FROM_NOTHING)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        sweep = start(lab, "--on", "ray")
        until(lambda: two_jobs_run(lab, sweep), "no two jobs run")
        raylet = nodes[0].all_processes["raylet"][0].process.pid
        lost = [raylet, *descendants(raylet)]
        for pid in lost:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        said, _ = sweep.communicate(timeout=400)
        assert sweep.returncode == 0, said
    finally:
        cluster.shutdown()
    found = statuses(lab)
    assert [one["state"] for one in found] == ["done", "done"]
    starts = [path.read_text().count("$ ipv-bench") for path in sorted(lab.glob("runs/.sweep/*.log"))]
    assert sorted(starts) == [1, 2]  # one was started again on the node that was left
    again = found[starts.index(2)]
    same_as_by_hand(lab, again["command"], again["folder"])


def test_submitit_in_this_process(lab: Path) -> None:
    """The executor for debugging: in order, without processes of submitit's; what needs a failed job is blocked."""
    pytest.importorskip("submitit")
    (lab / "sweep.yaml").write_text(
        "methods:\n  - {method: linear, pretrain_set: {training.device: 'cuda:9'}}\n"
        "  - {method: linear, pretraining: none}\n"
        "tasks: [dot/left]\ndata: [robot-videos]\nmax_retries: 0\nslurm: {cluster: debug}\n"
        "set: {training.env_steps: 160, evaluation.random_episodes: 1, evaluation.every: 0}\n"
    )
    done = ipv_bench(lab, "sweep", "sweep.yaml", "--on", "slurm")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "blocked" in done.stderr
    assert [one["state"] for one in statuses(lab)] == ["failed", "waiting", "done"]


def test_ctrl_c_reaches_the_nodes_of_ray(lab: Path) -> None:
    pytest.importorskip("ray")
    (lab / "sweep.yaml").write_text(FROM_NOTHING)
    sweep = start(lab, "--on", "ray")
    until(lambda: two_jobs_run(lab, sweep), "no two jobs run")
    sweep.send_signal(signal.SIGINT)
    said, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 130, said
    assert {read_record(path.parent).status for path in lab.glob("runs/dot/**/run.json")} == {"interrupted"}


REAL = """
methods: [dreamerv2, contextwm]
tasks: [dmc/cheetah_run, dmc/walker_stand]
seeds: 2
data: [few]
samples: {few: {dataset: ssv2, videos: 16}}
pretrain_set: {training.updates: 6, validation.every: 0}
set: {training.env_steps: 2000, training.prefill: 100, training.pretrain_updates: 2, training.train_every: 25,
      evaluation.every: 0, evaluation.random_episodes: 1, evaluation.episodes: 1, training.checkpoint_episodes: 1}
"""


def test_a_real_sweep_that_is_killed_ends_as_one_that_is_not(tmp_path: Path) -> None:
    """Two methods, two tasks of dm-control, two seeds, from sample videos on: SIGKILL of a job, then of the sweep."""
    pytest.importorskip("dm_control")
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
        (folder / "sweep.yaml").write_text(REAL)
    done = ipv_bench(folders[0], "sweep", "sweep.yaml", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    plan = statuses(folders[0])
    assert [one["kind"] for one in plan] == ["sample", "prepare", "pretrain"] + ["finetune"] * 8

    sweep = start(folders[1], "--jobs", "2")
    kill_a_job(sweep)
    runs = folders[1] / "runs" / "dmc"
    until(lambda: sum(is_finished(path.parent) for path in runs.glob("**/run.json")) >= 2, "no two runs end")
    sweep.kill()
    sweep.wait()
    done = ipv_bench(folders[1], "sweep", "sweep.yaml", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {one["state"] for one in statuses(folders[1])} == {"done"}
    for one in plan[2:]:
        whole, killed = (folder / one["folder"] for folder in folders)
        models = [path.relative_to(whole) for path in whole.glob("checkpoints/[0-9]*/model.safetensors")]
        assert models
        assert all((whole / name).read_bytes() == (killed / name).read_bytes() for name in models), one["folder"]
        if one["kind"] == "finetune":
            assert log(whole, "evaluations.jsonl") == log(killed, "evaluations.jsonl"), one["folder"]
            assert log(whole, "metrics.jsonl") == log(killed, "metrics.jsonl"), one["folder"]
