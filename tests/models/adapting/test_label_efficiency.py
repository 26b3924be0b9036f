"""The label-efficiency benchmark's judge, claims and summary, where the truth is known."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
LABELS = (16, 64, 256, 1000)
MEASURES = ("error", "copy_ratio", "shuffle_ratio", "action_r2")


def benchmark(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """A script's module; scripts import their neighbours by bare names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


# Claims.


def runs(claims: Any, generator: np.random.Generator, gain: float = 0.0, seeds: int = 5) -> list[Any]:
    """Runs of equal learners, but for `prelar`, whose every measure is larger by `gain`; a seed's runs are alike."""
    found = []
    for labels in LABELS:
        for seed in range(1, seeds + 1):
            shared = generator.normal()
            for name in ("scratch", "apv", "contextwm", "prelar", "uwm"):
                value = 10 + shared + 0.1 * generator.normal() + gain * (name == "prelar")
                found.append(claims.Run(name, labels, seed, dict.fromkeys(MEASURES, value)))
    return found


def test_equal_methods_give_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = benchmark(monkeypatch, "label_efficiency_claims")
    generator = np.random.default_rng(0)
    experiments = [claims.compare(runs(claims, generator), ("error",), LABELS) for _ in range(100)]
    assert {len(comparisons) for comparisons in experiments} == {16}
    wrong = sum(any(one.claim for one in comparisons) for comparisons in experiments)
    assert wrong <= 12  # 5 % of 100 are expected at most; more than 12 would be one chance in a thousand
    covered = [one.low <= 0 <= one.high for comparisons in experiments for one in comparisons]
    assert np.mean(covered) > 0.99


def test_a_clear_difference_is_claimed_with_its_sign_and_an_interval_that_holds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims = benchmark(monkeypatch, "label_efficiency_claims")
    for gain, lower, higher in ((2.0, "worse", "better"), (-2.0, "better", "worse")):
        found = claims.compare(runs(claims, np.random.default_rng(1), gain), MEASURES, LABELS)
        for one in found:
            if one.learner == "prelar":
                assert one.claim == (lower if one.measure in ("error", "copy_ratio") else higher)
                assert one.low < gain < one.high
                assert one.low < one.difference < one.high
                assert one.claim in claims.sentence(one)
            else:
                assert one.claim == ""
                assert "no difference is shown" in claims.sentence(one)
    # pairs of one seed: what all runs of a seed share is no noise of the comparison
    assert all(one.high - one.low < 2 for one in found)


def test_too_few_runs_claim_nothing_however_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = benchmark(monkeypatch, "label_efficiency_claims")
    four = claims.compare(runs(claims, np.random.default_rng(2), 50.0, seeds=4), ("error",), LABELS)
    assert not any(one.claim for one in four)
    assert "4 of 5 pairs of runs, nothing is claimed" in claims.sentence(four[0])
    one = claims.compare(runs(claims, np.random.default_rng(2), 50.0, seeds=1), ("error",), LABELS)[0]
    assert (one.pairs, one.low, one.high, one.claim) == (1, None, None, "")
    # seeds that `scratch` does not have are no pairs
    odd = [run._replace(seed=run.seed + 3) if run.learner == "scratch" else run
           for run in runs(claims, np.random.default_rng(2), 50.0)]  # fmt: skip
    assert {one.pairs for one in claims.compare(odd, ("error",), LABELS)} == {2}


def test_runs_outside_the_protocol_claim_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = benchmark(monkeypatch, "label_efficiency_claims")
    five = runs(claims, np.random.default_rng(2), 50.0)
    others = [run._replace(seed=run.seed + 10) for run in five]
    assert claims.compare(others, ("error",), LABELS, (1, 2, 3, 4, 5)) == []
    assert claims.compare(five + others, ("error",), LABELS) == claims.compare(five, ("error",), LABELS)
    strange = [run._replace(labels=run.labels + 1) for run in five]
    assert claims.compare(strange, ("error",), LABELS) == []
    # five common seeds are not all six
    found = claims.compare(five, ("error",), LABELS, (1, 2, 3, 4, 5, 6))
    assert not any(one.claim for one in found)
    assert "5 of 6 pairs of runs, nothing is claimed" in claims.sentence(found[0])


def test_the_summary_says_what_is_missing_and_a_deaf_judge_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = benchmark(monkeypatch, "label_efficiency_protocol")
    reader = benchmark(monkeypatch, "label_efficiency_summary")
    scale = replace(protocol.WHOLE, kept=tmp_path)
    for labels, seed in ((16, 1), (16, 2), (64, 1)):
        for name, error in (("scratch", 0.02), ("uwm", 0.01)):
            folder = tmp_path / protocol.adapted_path(name, labels, seed)
            folder.mkdir(parents=True)
            result = {"error": error + seed / 1000, "copy_ratio": 1.0, "shuffle_ratio": 1.0, "action_r2": 0.05,
                      "action_r2_of_true_frames": 0.09, "copy_error_by_step": [0.03]}  # fmt: skip
            (folder / "result.json").write_text(json.dumps(result))
    other = [str(protocol.adapted_path("uwm", 17, 1)), str(protocol.adapted_path("uwm", 64, 6)),
             str(protocol.pretrained_path("uwm", 6)), "runs/adapt/uwm/n64-old/seed1"]  # fmt: skip
    for path in other:
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "result.json").write_text("{}")  # not even read
    found = reader.summary(scale)
    assert found["not_used"] == sorted(other)
    assert (found["kept"], found["of"], len(found["missing"])) == (6, 100, 94)
    assert str(protocol.adapted_path("apv", 16, 1)) in found["missing"]
    assert str(protocol.adapted_path("uwm", 16, 1)) not in found["missing"]
    told = capsys.readouterr().err
    assert "94 of the 100 runs are missing" in told
    assert "4 kept runs are not of the protocol and are not used" in told
    assert "action_r2 says nothing" in told
    assert {one["measure"] for one in found["comparisons"]} == {"error", "copy_ratio", "shuffle_ratio"}
    [two] = [one for one in found["comparisons"] if (one["measure"], one["labels"]) == ("error", 16)]
    assert two["difference"] == pytest.approx(-0.01)
    assert two["claim"] == ""
    row = next(row for row in found["rows"] if (row["learner"], row["labels"]) == ("scratch", 16))
    assert row["error"]["mean"] == pytest.approx(0.0215)
    assert row["runs"] == 2
    json.loads(json.dumps(found, allow_nan=False))
    reader.draw(scale, found["rows"], found["action_r2_of_true_frames"], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_runs_of_two_judges_are_no_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    protocol = benchmark(monkeypatch, "label_efficiency_protocol")
    reader = benchmark(monkeypatch, "label_efficiency_summary")
    for name, judge in (("scratch", "one"), ("uwm", "another")):
        folder = tmp_path / protocol.adapted_path(name, 16, 1)
        folder.mkdir(parents=True)
        result = {"error": 0.02, "copy_ratio": 1.0, "shuffle_ratio": 1.0, "action_r2": 0.05, "seen": {"judge": judge},
                  "action_r2_of_true_frames": 0.9, "copy_error_by_step": [0.03]}  # fmt: skip
        (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(SystemExit, match="another judge"):
        reader.summary(replace(protocol.WHOLE, kept=tmp_path))


def test_seconds_of_a_piece_whose_end_nobody_saw_are_not_made_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = benchmark(monkeypatch, "label_efficiency_runs")
    space, path = runs.TrainingWorkspace(tmp_path, None), Path("runs/a")
    assert space.cpu_seconds(path) is None
    took = iter([2.0, runs.StoppedError(1.5), 4.0, KeyboardInterrupt(), 1.0])

    def one(*arguments: str) -> float:
        found = next(took)
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(space, "command", one)
    space.train(path, "pretrain")
    assert space.cpu_seconds(path) == 2.0
    with pytest.raises(runs.StoppedError):
        space.train(path, "pretrain")
    space.train(path, "pretrain")
    assert space.cpu_seconds(path) == 7.5
    with pytest.raises(KeyboardInterrupt):  # as a kill leaves it
        space.train(path, "pretrain")
    assert space.cpu_seconds(path) is None
    space.train(path, "pretrain")
    assert space.cpu_seconds(path) is None


# The judge.


def moved_squares(count: int, seed: int, length: int = 12, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Frames (N, T, H, W, 3) of a square on a coloured ground, and the actions (N, T, 2) that moved it into each."""
    generator = np.random.default_rng(seed)
    frames = np.empty((count, length, side, side, 3), np.uint8)
    actions = np.zeros((count, length, 2), np.float32)
    for video, action in zip(frames, actions, strict=True):
        ground, colour = generator.integers(0, 100, 3), generator.integers(150, 256, 3)
        place = generator.integers(0, side - 5, 2)
        for t in range(length):
            new = np.clip(place + generator.integers(-2, 3, 2), 0, side - 6)
            action[t], place = (new - place) / 2, new
            video[t] = ground
            video[t, place[0] : place[0] + 6, place[1] : place[1] + 6] = colour
    return frames, actions


def test_the_judge_reads_actions_off_frames_that_follow_them_and_off_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = benchmark(monkeypatch, "inverse_dynamics")
    torch.set_num_threads(1)
    trained = judge.train_judge(*moved_squares(300, 0), 80)
    frames, actions = moved_squares(20, 1)
    assert judge.action_r2(trained, frames, actions) > 0.7
    assert judge.action_r2(trained, frames, np.roll(actions, 1, 0)) < 0  # another video's
    still = np.repeat(frames[:, :1], frames.shape[1], 1)
    assert judge.action_r2(trained, still, actions) < 0.1
    blurred = (frames.mean((2, 3), keepdims=True) + np.zeros_like(frames)).astype(np.uint8)
    assert judge.action_r2(trained, blurred, actions) < 0.1
