"""What `benchmarks/drqv2_calibration.py` makes of published curves and of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.drqv2_calibration import EVERY, compared, draw, hours, our_curves, read_curves, run_path

TASK = "dmc/cheetah_run"


def published(folder: Path) -> Path:
    rows = ["agent,task,seed,frame,episode_reward,hour"]
    rows += [f"DrQ-v2,cheetah_run,{seed},{frame},{seed * frame / 1000},1" for seed in (1, 2) for frame in (0, 20000)]
    rows.append("DrQ-v2,walker_run,1,20000,999,1")
    path = folder / "curves.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def made_run(root: Path, seed: int, evaluations: dict[int, list[float]]) -> None:
    folder = root / run_path(TASK, seed)
    folder.mkdir(parents=True)
    lines = [json.dumps({"env_steps": step, "returns": returns}) for step, returns in evaluations.items()]
    (folder / "evaluations.jsonl").write_text("\n".join(lines) + "\n")
    metrics = [
        {"env_steps": 4000, "wall_seconds": 100.0, "train_return": 1.0},
        {"env_steps": 4200, "wall_seconds": 400.0, "updates": 100},
        {"env_steps": 6200, "wall_seconds": 4000.0, "updates": 1100},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))


def test_our_evaluations_stand_at_their_marks_beside_the_published_ones(tmp_path: Path) -> None:
    made_run(tmp_path, 1, {4000: [0.1], 20_500: [25.0, 35.0]})
    made_run(tmp_path, 2, {20_000: [90.0]})
    rows = compared(our_curves([tmp_path], TASK), read_curves(published(tmp_path), TASK))["frames"]
    assert list(rows) == [str(EVERY)]
    assert rows["20000"] == {
        "ours": {"1": 30.0, "2": 90.0}, "published_mean": 30.0, "published_low": 20.0, "published_high": 40.0,
        "published_seeds": 2, "inside": 1,
    }  # fmt: skip


def test_a_file_without_the_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no rows of hopper_hop"):
        read_curves(published(tmp_path), "dmc/hopper_hop")


def test_the_hours_to_the_end_follow_the_pace_of_the_updates(tmp_path: Path) -> None:
    made_run(tmp_path, 1, {4000: [0.1]})
    found = hours(tmp_path, TASK, 40_000)["1"]
    assert (found["frames"], found["hours"]) == (6200, round(4000 / 3600, 3))
    assert found["hours_to_the_end"] == pytest.approx((4000 + 1.8 * 33_800) / 3600, abs=1e-3)


def test_both_are_drawn(tmp_path: Path) -> None:
    made_run(tmp_path, 1, {20_000: [25.0]})
    draw(tmp_path / "a.png", TASK, our_curves([tmp_path], TASK), read_curves(published(tmp_path), TASK), 40_000)
    assert (tmp_path / "a.png").stat().st_size > 5000
