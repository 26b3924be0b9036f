"""What a sweep and a figure make of the methods without pre-training: their runs, and no model before them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.errors import UsageError
from ipv_bench.sweeps import plan
from ipv_bench.sweeps.config import read_sweep

BASELINES = ("drqv2", "isodream")


def sets_of(words: list[str]) -> list[str]:
    return [words[place + 1] for place, word in enumerate(words) if word == "--set"]


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()


def test_a_sweep_makes_their_runs_alone(tmp_path: Path) -> None:
    sweep = {"preset": "paper", "methods": BASELINES, "tasks": ["dmcr/walker_run"], "seeds": 2}
    (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
    jobs = plan.plan_sweep(read_sweep(str(tmp_path / "sweep.yaml")))
    assert [job.kind for job in jobs] == ["finetune"] * 4
    assert [sets_of(shlex.split(job.command)) for job in jobs] == [
        [f"method={method}"] for method in BASELINES for _ in range(2)
    ]


@pytest.mark.parametrize(
    ("methods", "more", "words"),
    [
        ([{"method": "drqv2", "pretrain_set": {"training.updates": 3}}], {}, "a pretrain_set for drqv2, whose runs"),
        (
            [*BASELINES],
            {"pretrain_set": {"training.updates": 3}},
            "says pretrain_set, and pre-trains none of drqv2, iso",
        ),
        (
            ["isodream"],
            {"data": ["ssv2"], "pretrain_preset": "paper"},
            "says data, pretrain_preset, and pre-trains none",
        ),
        (
            [{"method": "apv", "pretraining": "none"}],
            {"pretrain_seed": 1},
            "says pretrain_seed, and pre-trains none of apv",
        ),
    ],
)
def test_what_a_sweep_says_of_pre_training_is_refused_where_there_is_none(
    methods: list[object], more: dict[str, object], words: str, tmp_path: Path
) -> None:
    sweep = {"methods": methods, "tasks": ["dmc/cheetah_run"], **more}
    (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
    with pytest.raises(UsageError, match=words):
        plan.plan_sweep(read_sweep(str(tmp_path / "sweep.yaml")))


def test_figure_9s_missing_runs_have_their_commands(tmp_path: Path) -> None:
    assert run(["report", "runs", "--figures", "fig9c", "--missing-commands", "todo.txt", "--out", "out"]) == 0
    lines = (tmp_path / "todo.txt").read_text().splitlines()
    for method in BASELINES:
        own = [line for line in lines if f"--set method={method} " in line]
        assert not any("--init" in line for line in own)
        assert [line.split(" --run ")[1] for line in own] == [
            f"runs/dmcr/{task}/{method}/seed{seed}"
            for task in ("cheetah_run", "hopper_stand", "walker_run") for seed in range(8)
        ]  # fmt: skip


def test_a_frozen_protocol_s_pictures_are_those_that_the_agent_looks_at(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("protocol: v1/paper\nmethods: [drqv2]\n")
    config = read_sweep(str(tmp_path / "sweep.yaml"))
    jobs = plan._jobs_of(config, config.methods[0], "dmcr/cheetah_run")
    assert len(jobs) == 8
    assert {"env.image_size=64", "image.size=64", "training.train_every=5"} <= set(sets_of(list(jobs[0].words)))
