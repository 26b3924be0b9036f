"""Warnings of a run whose policy has left what its model knows, and the checkpoint of its best evaluation."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.checkpoint_index import BEST, checkpoint_steps
from ipv_bench.cli import run
from ipv_bench.run_record import RunRecord, read_jsonl, read_record, write_record
from models.finetuning.best_weights import drop_cut_best
from models.finetuning.counters import Counters
from models.finetuning.drift import drift_warnings
from models.training.checkpoint import load_checkpoint, save_checkpoint
from tests.models.finetuning.finetune_runs import command_line


def log(folder: Path, gaps: list[float], *, error: float = 100.0) -> Path:
    lines = [{"updates": number, "image_loss": 100.0} for number in range(8)]
    lines += [
        {
            "episode": n,
            "value_gap": gap,
            "imagined_return": 3 * (1 + gap),
            "realised_return": 3.0,
            "episode_image_loss": error,
        }
        for n, gap in enumerate(gaps)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_run_whose_imagination_agrees_with_its_episodes_has_no_warning(tmp_path: Path) -> None:
    assert drift_warnings(log(tmp_path, [2.0] * 5 + [0.2, -0.3, 0.4, 0.1, 9.0])) == []
    assert drift_warnings(log(tmp_path, [2.0] * 4)) == []  # too few episodes to say anything


def test_what_parts_is_said_with_both_numbers(tmp_path: Path) -> None:
    (gap,) = drift_warnings(log(tmp_path, [0.0] * 5 + [1.0, 1.1, 0.9, 1.0, 0.0]))
    assert "imagination promised 6 and the episodes brought 3" in gap
    assert "value_gap +1.00" in gap
    (error,) = drift_warnings(log(tmp_path, [0.0] * 5, error=220.0))
    assert "2.2 times" in error


def test_numbers_that_were_not_finite_are_left_out(tmp_path: Path) -> None:
    log(tmp_path, [1.0, 1.1, 0.9, 1.0, 1.0], error=220.0)
    file = tmp_path / "metrics.jsonl"
    odd = [
        {"episode": 5, "value_gap": None, "imagined_return": None, "realised_return": 3.0, "episode_image_loss": None},
        {"updates": 9, "image_loss": None},
    ]
    file.write_text(file.read_text() + "".join(json.dumps(line) + "\n" for line in odd))
    gap, error = drift_warnings(tmp_path)
    assert "value_gap +1.00" in gap
    assert "2.2 times" in error
    file.write_text("".join(json.dumps({"episode": n, "value_gap": 2.0}) + "\n" for n in range(9)))
    assert drift_warnings(tmp_path) == []  # of a method whose agent tells no returns


def test_a_run_logs_what_it_expected_and_keeps_its_best_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations of 7, 9, 8 and 9: the second is kept, and `evaluate` can play it."""
    import models.finetuning.loop as loop

    scores, played = iter([7.0, 9.0, 8.0, 9.0]), loop.play_evaluation

    def scored(*args: object, **kwargs: object) -> dict:
        return played(*args, **kwargs) | {"returns": [next(scores)]}

    monkeypatch.setattr(loop, "play_evaluation", scored)
    folder = tmp_path / "run"
    assert run(command_line(folder)) == 0
    lines = list(read_jsonl(folder / "metrics.jsonl"))
    examined = [line for line in lines if "value_gap" in line]
    assert len(examined) == 5  # the prefill's two episodes were not the agent's
    assert all(np.isfinite([line["episode_image_loss"], line["critic_return"]]).all() for line in examined)
    record = read_record(folder)
    best = record.model_extra["best_evaluation"]
    assert best == {"checkpoint": "checkpoints/best", "env_steps": 640, "mean_return": 9.0}
    assert record.model_extra["warnings"] == drift_warnings(folder)
    kept = load_checkpoint(folder / "checkpoints" / BEST)
    assert kept.state["counters"]["env_steps"] == 640
    assert checkpoint_steps(folder) == [140]
    monkeypatch.undo()
    capsys.readouterr()
    assert run(["evaluate", str(folder / "checkpoints" / BEST), "--episodes", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["env_steps"] == 640


@pytest.mark.parametrize(("kept_at", "stays"), [(480, True), (500, False), (640, False)])
def test_a_run_that_goes_on_knows_the_best_of_what_it_knows(tmp_path: Path, kept_at: int, stays: bool) -> None:
    """The newest checkpoint is of 500 steps, before the evaluation there; a kill came after that, or the one at 640."""
    record = RunRecord(
        kind="finetune", method="apv", seed=0, suite="dmc", task="cartpole_balance", preset="tiny", config={}
    )
    record = RunRecord.model_validate(record.model_dump() | {"best_evaluation": {"env_steps": kept_at}})
    write_record(tmp_path, record)
    save_checkpoint(tmp_path, 80, {}, {}, {"counters": asdict(Counters(env_steps=kept_at))}, name=BEST)
    counters = Counters(env_steps=500, evaluated_at=480, best_score=9.0)
    assert (drop_cut_best(tmp_path, counters) is None) is stays
    assert (counters.best_score == 9.0) is stays
    assert (tmp_path / "checkpoints" / BEST).exists() is stays
    assert bool((read_record(tmp_path).model_extra or {}).get("best_evaluation")) is stays
