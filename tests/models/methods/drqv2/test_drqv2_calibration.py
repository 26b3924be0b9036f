"""What `benchmarks/drqv2_calibration.py` makes of published curves and of runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.drqv2_calibration import (
    EVERY,
    compared,
    draw,
    experiment,
    hours,
    keep,
    kept_root,
    our_curves,
    our_runs,
    read_curves,
    run_path,
    summary,
)
from ipv_bench.run_record import RunRecord, read_record, write_record

TASK = "dmc/cheetah_run"


def published(folder: Path) -> Path:
    rows = ["agent,task,seed,frame,episode_reward,hour"]
    rows += [f"DrQ-v2,cheetah_run,{seed},{frame},{seed * frame / 1000},1" for seed in (1, 2) for frame in (0, 20000)]
    rows.append("DrQ-v2,walker_run,1,20000,999,1")
    path = folder / "curves.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def options_of(folder: Path, env_steps: int = 40_000) -> argparse.Namespace:
    return argparse.Namespace(
        task=TASK, seeds=[1], env_steps=env_steps, out=folder / "out", kept=folder / "kept", every=EVERY, known=(),
        overrides=[], jobs=1, minutes=float("inf"), curves=None, figure=None,
    )  # fmt: skip


def made_run(
    root: Path, seed: int, evaluations: dict[int, list[float]], env_steps: int = 40_000, **overrides: Any
) -> None:
    folder = root / run_path(TASK, seed)
    folder.mkdir(parents=True)
    config = {"training": {"env_steps": env_steps}, "evaluation": {"every": EVERY}, "drqv2": overrides}
    own = {"method": "drqv2", "training.env_steps": env_steps, "training.threads": 1}
    record = RunRecord(
        kind="finetune", method="drqv2", seed=seed, suite="dmc", task="cheetah_run", preset="paper", status="finished",
        overrides=own | {f"drqv2.{key}": value for key, value in overrides.items()}, config=config,
    )  # fmt: skip
    write_record(folder, record)
    lines = [json.dumps({"env_steps": step, "returns": returns}) for step, returns in evaluations.items()]
    (folder / "evaluations.jsonl").write_text("\n".join(lines) + "\n")
    metrics = [
        {"env_steps": 4000, "wall_seconds": 100.0, "train_return": 1.0},
        {"env_steps": 4200, "wall_seconds": 400.0, "updates": 100},
        {"env_steps": 6200, "wall_seconds": 4000.0, "updates": 1100},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))


def test_our_evaluations_stand_at_their_marks_beside_the_published_ones(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    made_run(options.out, 1, {4000: [0.1], 20_500: [25.0, 35.0]})
    made_run(options.out, 2, {20_000: [90.0]})
    runs, changed = our_runs(options)
    assert changed == {}
    rows = compared(our_curves(runs), read_curves(published(tmp_path), TASK))["frames"]
    assert list(rows) == [str(EVERY)]
    assert rows["20000"] == {
        "ours": {"1": 30.0, "2": 90.0}, "published_mean": 30.0, "published_low": 20.0, "published_high": 40.0,
        "published_seeds": 2, "inside": 1,
    }  # fmt: skip


def test_a_file_without_the_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no rows of hopper_hop"):
        read_curves(published(tmp_path), "dmc/hopper_hop")


def test_a_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("frame,episode_reward\n0,1\n")
    with pytest.raises(SystemExit, match="no column seed, task"):
        read_curves(file, TASK)


def test_the_hours_to_the_end_follow_the_pace_of_the_updates(tmp_path: Path) -> None:
    made_run(tmp_path, 1, {4000: [0.1]})
    found = hours(tmp_path, TASK, 40_000)["1"]
    assert (found["frames"], found["hours"]) == (6200, round(4000 / 3600, 3))
    assert found["hours_to_the_end"] == pytest.approx((4000 + 1.8 * 33_800) / 3600, abs=1e-3)


def test_both_are_drawn(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    made_run(options.out, 1, {20_000: [25.0]})
    runs, _ = our_runs(options)
    draw(tmp_path / "a.png", TASK, our_curves(runs), read_curves(published(tmp_path), TASK), 40_000)
    assert (tmp_path / "a.png").stat().st_size > 5000


def kept_returns(options: argparse.Namespace) -> dict[int, dict[int, float]]:
    return our_curves({1: kept_root(options) / run_path(TASK, 1)})


def test_what_is_kept_is_as_published_and_each_budget_has_a_place_of_its_own(tmp_path: Path) -> None:
    short, long = options_of(tmp_path), options_of(tmp_path, 3_100_000)
    made_run(short.out, 1, {20_000: [25.0]})
    keep(short, run_path(TASK, 1))
    long.out = tmp_path / "gpu"
    made_run(long.out, 1, {20_000: [70.0], 100_000: [300.0]}, 3_100_000)
    keep(long, run_path(TASK, 1))
    assert (kept_returns(short), kept_returns(long)) == ({20_000: {1: 25.0}}, {20_000: {1: 70.0}, 100_000: {1: 300.0}})
    short.out = tmp_path / "again"
    made_run(short.out, 1, {20_000: [99.0]})
    keep(short, run_path(TASK, 1))
    assert kept_returns(short) == {20_000: {1: 25.0}}
    experiment(short)  # the run is kept: nothing is started
    assert read_record(short.out / run_path(TASK, 1)).status == "finished"


def test_other_settings_are_neither_kept_nor_shown_as_the_published_ones(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    made_run(options.out, 1, {20_000: [25.0]})
    keep(options, run_path(TASK, 1))
    options.out = tmp_path / "changed"
    made_run(options.out, 2, {20_000: [3.0]}, shift_pad=0)
    keep(options, run_path(TASK, 2))
    assert not (kept_root(options) / run_path(TASK, 2)).exists()
    found = summary(options)
    assert found["changed"] == {"drqv2.shift_pad": 0}
    assert found["frames"]["20000"]["ours"] == {"2": 3.0}
    made_run(options.out, 3, {20_000: [4.0]})
    with pytest.raises(SystemExit, match="shift_pad"):
        summary(options)


def test_a_run_of_another_budget_is_not_kept_in_the_place_of_the_one_asked_for(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    made_run(options.out, 1, {2000: [1.0]}, env_steps=2000)
    keep(options, run_path(TASK, 1))
    assert not kept_root(options).exists()


def test_a_run_of_another_budget_is_not_among_those_asked_about(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    made_run(options.out, 1, {20_000: [25.0]}, 2_000)
    assert our_runs(options) == ({}, {})
