"""Sweeps with the package of docs/plugins.md: run, killed, continued; on machines that refuse."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipv_bench.errors import UnknownNameError, UsageError
from ipv_bench.run_record import read_jsonl, read_record
from ipv_bench.sweeps import sweep as sweep_room
from ipv_bench.sweeps.config import SweepConfig, read_sweep
from ipv_bench.sweeps.estimate import estimates
from ipv_bench.sweeps.job import Result, keep_note, lock_file, submission_file
from ipv_bench.sweeps.plan import plan_sweep
from ipv_bench.sweeps.planned_job import Job
from ipv_bench.sweeps.ray import run_on_ray
from ipv_bench.sweeps.slurm import submit
from ipv_bench.sweeps.status import sweep_status
from tests.plugins_page import install_page

ROOT = Path(__file__).parents[2]
SHARDS = "data/shards/robot-videos"

SWEEP = """
methods:
  - linear
  - {method: linear, set: {linear.features: 4}, pretraining: none}
tasks: [dot/left, dot/right]
data: [robot-videos]
seeds: 2
set: {training.env_steps: 240, evaluation.every: 120, evaluation.random_episodes: 1}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and its shard set."""
    folder = tmp_path_factory.mktemp("sweep")
    install_page(folder / "site")
    for words in (("sample", "--dataset", "robot-videos", "--videos", "6"), ("prepare", "robot-videos")):
        done = ipv_bench(folder, *words)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def lab(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of this test's own with the same package and shard set; the working folder of this process."""
    (tmp_path / "site").symlink_to(prepared / "site")
    (tmp_path / "data").symlink_to(prepared / "data")
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", environment(tmp_path)["PYTHONPATH"])
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(folder / "site"), str(ROOT)])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def ipv_bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ipv_bench", *words], cwd=folder, env=environment(folder), capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def log(folder: Path, name: str) -> list[dict]:
    return [
        {key: value for key, value in line.items() if not key.startswith("wall")} for line in read_jsonl(folder / name)
    ]


def kill_and_go_on(lab: Path, number: int) -> None:
    """Kill a sweep once a run has begun, start it again, and compare a run with one that is typed by hand."""
    program = [sys.executable, "-m", "ipv_bench", "sweep", "sweep.yaml", "--jobs", "2"]
    sweep = subprocess.Popen(program, cwd=lab, env=environment(lab), stdout=subprocess.DEVNULL)
    while not list(lab.glob("runs/dot/*/*/*/metrics.jsonl")):
        assert sweep.poll() is None
        time.sleep(0.05)
    sweep.kill()
    sweep.wait()
    # Commands of the killed sweep may still run: they hold their jobs' locks, and the next sweep waits for them.
    done = ipv_bench(lab, "sweep", "sweep.yaml", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(ipv_bench(lab, "sweep", "status", "sweep.yaml", "--json").stdout)
    assert [one["state"] for one in found] == ["done"] * number

    words = found[-1]["command"].split()[1:]
    words[words.index("--run") + 1] = "by-hand"
    assert ipv_bench(lab, *words).returncode == 0
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert log(lab / found[-1]["folder"], name) == log(lab / "by-hand", name)


def test_a_killed_sweep_goes_on_to_the_same_runs(lab: Path) -> None:
    (lab / "sweep.yaml").write_text(
        "methods: [{method: linear, pretraining: none}]\ntasks: [dot/left]\nseeds: 2\n"
        "set: {training.env_steps: 160, evaluation.random_episodes: 1, evaluation.every: 0}\n"
    )
    kill_and_go_on(lab, 2)


@pytest.mark.slow
def test_a_killed_sweep_with_pre_training_goes_on_to_the_same_runs(lab: Path) -> None:
    plan = json.loads(ipv_bench(lab, "sweep", "sweep.yaml", "--dry-run", "--json").stdout)
    assert [job["kind"] for job in plan] == ["pretrain"] + ["finetune"] * 8
    starts = [job for job in plan if "init=robot-videos" in job["folder"]]
    assert len(starts) == 4
    assert all(job["needs"] == [plan[0]["folder"]] for job in starts)
    kill_and_go_on(lab, 9)


@pytest.mark.slow
def test_a_failed_run_is_tried_again_and_named_and_stops_no_other(lab: Path) -> None:
    (lab / "sweep.yaml").write_text(
        "methods: [{method: linear, pretraining: none}]\ntasks: [dot/left]\nmax_retries: 1\n"
        "set: {training.env_steps: 160, evaluation.random_episodes: 1, evaluation.every: 0}\n"
    )
    (lab / "bad.yaml").write_text(
        "methods:\n  - {method: linear, pretrain_set: {training.device: 'cuda:9'}}\n"
        "  - {method: linear, pretraining: none}\n"
        "tasks: [dot/left]\ndata: [robot-videos]\n"
        "set: {training.env_steps: 160, evaluation.random_episodes: 1, evaluation.every: 0}\n"
    )
    done = ipv_bench(lab, "sweep", "bad.yaml")
    assert done.returncode == 4
    assert "2 of 3 jobs are not done" in done.stderr
    assert "expected: all of them\n  to do:    mend what their logs say" in done.stderr
    assert "failed after 2 attempts: exit status 2" in done.stderr  # the pre-training
    assert "blocked after 0 attempts: it needs runs/pretrain/robot-videos/linear/seed0" in done.stderr
    assert sum(read_record(path.parent).status == "finished" for path in lab.glob("runs/dot/**/run.json")) == 1


def test_ctrl_c_lets_running_commands_save_their_state(lab: Path) -> None:
    (lab / "sweep.yaml").write_text(
        "methods: [{method: linear, pretraining: none}]\ntasks: [dot/left]\n"
        "set: {training.env_steps: 400000, evaluation.random_episodes: 1, evaluation.every: 0}\n"
    )
    program = [sys.executable, "-m", "ipv_bench", "sweep", "sweep.yaml"]
    sweep = subprocess.Popen(program, cwd=lab, env=environment(lab), stderr=subprocess.PIPE, text=True)
    while not list(lab.glob("runs/dot/**/checkpoints/*/checkpoint.json")):
        assert sweep.poll() is None
        time.sleep(0.05)
    sweep.send_signal(signal.SIGINT)
    _, said = sweep.communicate()
    assert sweep.returncode == 130, said
    (run,) = lab.glob("runs/dot/**/run.json")
    assert read_record(run.parent).status == "interrupted"
    text = ipv_bench(lab, "sweep", "status", "sweep.yaml").stdout
    assert "stopped" in text
    assert "interrupted" in text


def test_figures_stand_for_the_runs_that_they_lack(lab: Path) -> None:
    (lab / "sweep.yaml").write_text("figures: [fig5a]\nprepare: true\n")
    plan = json.loads(ipv_bench(lab, "sweep", "sweep.yaml", "--dry-run", "--json").stdout)
    kinds = [job["kind"] for job in plan]
    assert (kinds.count("prepare"), kinds.count("pretrain"), kinds.count("finetune")) == (1, 2, 144)
    made = {job["folder"] for job in plan}
    assert all(set(job["needs"]) <= made for job in plan)
    places = {job["folder"]: place for place, job in enumerate(plan)}
    assert all(places[need] < places[job["folder"]] for job in plan for need in job["needs"])


ONE = (
    "methods: [{method: linear, pretraining: none}]\ntasks: [dot/left]\n"
    "set: {training.env_steps: 400, evaluation.random_episodes: 1, evaluation.every: 0}\n"
)


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """A test that fails half-way must not leave its sweep behind."""
    yield
    for sweep in STARTED:
        if sweep.poll() is None:
            sweep.terminate()
    for sweep in STARTED:
        sweep.wait()
    STARTED.clear()


def start(lab: Path, *words: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "ipv_bench", "sweep", "sweep.yaml", *words]
    sweep = subprocess.Popen(program, cwd=lab, env=environment(lab), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True)  # fmt: skip
    STARTED.append(sweep)
    return sweep


def kill_a_job(sweep: subprocess.Popen[str]) -> None:
    """SIGKILL to the command that a sweep runs first, as a machine that is out of memory does."""
    place = Path(f"/proc/{sweep.pid}/task")
    while True:
        assert sweep.poll() is None
        for child in {pid for file in place.glob("*/children") for pid in file.read_text().split()}:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if b"finetune" in words and b"--dry-run" not in words:
                os.kill(int(child), signal.SIGKILL)
                return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_job_is_named_and_goes_on_and_its_time_is_known_then(lab: Path) -> None:
    (lab / "sweep.yaml").write_text(ONE + "max_retries: 0\n")
    sweep = start(lab)
    kill_a_job(sweep)
    said, _ = sweep.communicate()
    assert sweep.returncode == 4, said
    assert "failed after 1 attempts: ended by SIGKILL" in said
    (found,) = json.loads(ipv_bench(lab, "sweep", "status", "sweep.yaml", "--json").stdout)
    assert (found["state"], found["detail"]) == ("failed", "after 1 attempts: ended by SIGKILL")

    folder = Path(found["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)  # as a command that somebody typed in another window
    sweep = start(lab)
    assert sweep.stdout is not None
    lines = iter(sweep.stdout.readline, "")
    assert any("another process works on it; waiting" in line for line in lines)
    os.close(held)
    assert sweep.wait() == 0, sweep.stdout.read()
    assert read_record(folder).status == "finished"

    wall = list(read_jsonl(folder / "metrics.jsonl"))[-1]["wall_seconds"]
    jobs = [Job(f"{folder}-{steps}", tuple(found["command"].split()[1:]), (), steps) for steps in (800, 0)]
    double, unknown = (estimates(jobs, "runs")[job.folder] for job in jobs)
    assert double is not None
    assert double.seconds == pytest.approx(2 * wall)
    assert unknown is not None
    assert unknown.seconds == pytest.approx(wall)
    other = Job("x", ("finetune", "--preset", "small", "--set", "method=linear", "--task", "dot/left"))
    assert estimates([other], "runs") == {"x": None}


@pytest.mark.slow
def test_two_sweeps_in_one_folder_run_each_job_once(lab: Path) -> None:
    (lab / "sweep.yaml").write_text(ONE + "seeds: 2\n")
    sweeps = [start(lab, "--jobs", "2") for _ in range(2)]
    said = [sweep.communicate()[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], said
    logs = sorted(lab.glob("runs/.sweep/*.log"))
    assert [path.read_text().count("$ ipv-bench finetune") for path in logs] == [1, 1]


def test_status_tells_of_attempts_and_blocked_jobs(lab: Path) -> None:
    job = Job("runs/dot/left/linear/seed0", ("finetune", "--task", "dot/left"))
    (before,) = sweep_status([job], "runs")
    assert (before.state, before.detail) == ("waiting", "")
    keep_note("runs", job, Result(job.folder, "blocked", detail="it needs runs/pretrain/x"))
    (blocked,) = sweep_status([job], "runs")
    assert (blocked.state, blocked.detail) == ("waiting", "it needs runs/pretrain/x")
    keep_note("runs", job, Result(job.folder, "trying", 1, "ended by SIGKILL"))
    held = os.open(lock_file("runs", job), os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    (running,) = sweep_status([job], "runs")
    assert (running.state, running.detail) == ("running", "attempt 2, after 1 attempts: ended by SIGKILL")
    os.close(held)
    (stopped,) = sweep_status([job], "runs")
    assert (stopped.state, stopped.detail) == ("stopped", "after 1 attempts: ended by SIGKILL")


def test_a_protocol_s_sweep_sets_what_a_foreign_preset_has_otherwise(lab: Path) -> None:
    (lab / "sweep.yaml").write_text("protocol: v1/cpu-night\nmethods: [linear]\n")
    config = read_sweep("sweep.yaml").model_copy(update={"tasks": ["dmc/cheetah_run"]})  # planning takes a while
    plan = plan_sweep(config)
    assert [job.kind for job in plan] == ["sample", "prepare", "pretrain"] + ["finetune"] * 5
    assert plan[0].command == "ipv-bench sample data/raw/ssv2-sample --dataset ssv2 --videos 64 --seed 0"
    assert plan[1].needs == ("data/raw/ssv2-sample",)
    assert "--set training.updates=300" in plan[2].command
    assert all("--set training.env_steps=28000" in job.command for job in plan[3:])
    assert all("--set training.train_every=3" in job.command for job in plan[3:])
    with pytest.raises(UnknownNameError, match="v1/cpu-nite"):
        read_sweep("protocol:v1/cpu-nite")
    assert read_sweep("protocol:v1/cpu-night").tasks == ["dmc/cheetah_run", "dmc/walker_stand"]


def test_a_ray_address_that_does_not_answer(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.socket() as place:  # bound and not listening: nobody answers, and nobody else gets the port
        place.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{place.getsockname()[1]}")
        with pytest.raises(UsageError, match="does not answer: .*refused"):
            run_on_ray([], SweepConfig(methods=["linear"], tasks=["dot/left"]), 1, print)


def test_an_sbatch_that_refuses(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    programs = lab / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun"):
        (programs / name).write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    job = Job("runs/x", ("finetune",))
    with pytest.raises(UsageError, match="refuses the jobs: .*Unable to contact slurm controller"):
        submit([job], SweepConfig(methods=["linear"], tasks=["dot/left"]), 1)


def test_a_queue_that_does_not_answer_gets_nothing_a_second_time(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    programs = lab / "bin"
    programs.mkdir()
    answers = {"sbatch": "touch submitted; exit 1", "srun": "exit 1", "squeue": "echo 'Socket timed out' >&2; exit 1"}
    for name, does in answers.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    job = Job("runs/dot/left/linear/seed0", ("finetune",))
    kept = submission_file("runs", job)
    kept.parent.mkdir(parents=True)
    kept.write_text("101_0")
    with pytest.raises(UsageError, match="squeue does not say .* still wait: Socket timed out") as caught:
        submit([job], SweepConfig(methods=["linear"], tasks=["dot/left"]), 1)
    assert "when squeue answers" in caught.value.fix
    assert not (lab / "submitted").exists()
    assert kept.read_text() == "101_0"


def test_jobs_of_long_or_like_names_keep_their_own_state(lab: Path) -> None:
    long = "linear@" + ",".join(f"set.of.many.keys.{number}=0.0001234" for number in range(12))
    folders = [f"runs/dot/{task}/{long}/seed0" for task in ("left", "right")]
    folders += ["runs/dot/a__b/seed0", "runs/dot/a/b/seed0", "runs/dot/a b/seed0", "runs/dot/a:b/seed0"]
    names = [lock_file("runs", Job(folder, ("finetune",))).name for folder in folders]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 255
    assert lock_file("runs", Job("runs/dot/left/linear/seed0", ())).name == "dot__left__linear__seed0.lock"


def test_a_machine_without_slurm_is_told_so(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    (lab / "bin").mkdir()
    monkeypatch.setenv("PATH", str(lab / "bin"))
    with pytest.raises(UsageError, match="no `sbatch`"):
        sweep_room.sweep("sweep.yaml", on="slurm")
    assert not (lab / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("on", "more"), [("slurm", "slurm: {cluster: local}\n"), ("ray", "")])
def test_other_places_make_the_same_runs(on: str, more: str, lab: Path) -> None:
    """submitit's stand-in for a cluster, and a Ray cluster on this machine."""
    pytest.importorskip("submitit" if on == "slurm" else "ray")
    (lab / "sweep.yaml").write_text(
        "methods: [linear]\ntasks: [dot/left]\ndata: [robot-videos]\nseeds: 2\n"
        "set: {training.env_steps: 160, evaluation.random_episodes: 1, evaluation.every: 0}\n" + more
    )
    done = ipv_bench(lab, "sweep", "sweep.yaml", "--on", on, "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(ipv_bench(lab, "sweep", "status", "sweep.yaml", "--json").stdout)
    assert [one["state"] for one in found] == ["done"] * 3
    words = found[-1]["command"].split()[1:]
    words[words.index("--run") + 1] = "by-hand"
    assert ipv_bench(lab, *words).returncode == 0
    assert log(lab / found[-1]["folder"], "metrics.jsonl") == log(lab / "by-hand", "metrics.jsonl")
