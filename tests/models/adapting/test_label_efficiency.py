"""The label-efficiency benchmark's judge, times, stop rule and summary, where the truth is known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.adapting.label_efficiency_cases import (
    RESULT,
    benchmark,
    keep,
    keep_adapted,
)


def test_the_summary_says_what_is_missing_and_a_deaf_judge_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = benchmark(monkeypatch, "label_efficiency_protocol")
    reader = benchmark(monkeypatch, "label_efficiency_summary")
    scale = replace(protocol.WHOLE, kept=tmp_path)
    for labels, seed in ((16, 1), (16, 2), (64, 1)):
        for name, error in (("scratch", 0.02), ("uwm", 0.01)):
            result = RESULT | {"error": error + seed / 1000, "action_r2_of_true_frames": 0.09}
            keep_adapted(protocol, scale, (name, labels, seed), result)
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


def test_a_run_with_a_measure_that_is_not_finite_is_kept_shown_and_claims_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol, making, reader = (
        benchmark(monkeypatch, f"label_efficiency_{x}") for x in ("protocol", "runs", "summary")
    )
    scale = replace(protocol.WHOLE, kept=tmp_path / "kept")
    space = making.TrainingWorkspace(tmp_path / "work", None)
    for name in ("scratch", "uwm"):
        for seed in scale.seeds:
            keep_adapted(protocol, scale, (name, 16, seed), RESULT)
    path = protocol.adapted_path("uwm", 16, 3)
    (space.folder / path).mkdir(parents=True)
    (space.folder / path / "run.json").write_bytes((scale.kept / path / "run.json").read_bytes())
    (scale.kept / path / "result.json").unlink()
    diverged = RESULT | {"error": float("nan"), "copy_ratio": float("inf"), "error_by_step": [0.1, float("inf")]}
    making.keep(scale, space, path, diverged)
    assert json.loads((scale.kept / path / "result.json").read_text())["error_by_step"] == [0.1, None]
    found = reader.summary(scale)
    assert "uwm        N=16    n=5  error nan [nan, nan]" in capsys.readouterr().err
    by_measure = {one["measure"]: one for one in found["comparisons"]}
    assert (by_measure["error"]["low"], by_measure["error"]["claim"]) == (None, "")
    assert by_measure["shuffle_ratio"]["low"] is not None
    row = next(row for row in found["rows"] if row["learner"] == "uwm")
    assert np.isnan(row["error"]["values"]).tolist() == [False, False, True, False, False]
    reader.draw(scale, found["rows"], found["action_r2_of_true_frames"], tmp_path / "figure.png")


def test_runs_of_two_judges_are_no_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    protocol = benchmark(monkeypatch, "label_efficiency_protocol")
    reader = benchmark(monkeypatch, "label_efficiency_summary")
    scale = replace(protocol.WHOLE, kept=tmp_path)
    for name, judge in (("scratch", "one"), ("uwm", "another")):
        keep_adapted(protocol, scale, (name, 16, 1), RESULT | {"seen": {"judge": judge}})
    with pytest.raises(SystemExit, match="another judge"):
        reader.summary(scale)


def test_a_workspace_with_another_judge_is_told_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    protocol, runs = (benchmark(monkeypatch, f"label_efficiency_{part}") for part in ("protocol", "runs"))
    scale, space = replace(protocol.WHOLE, kept=tmp_path / "kept"), runs.TrainingWorkspace(tmp_path / "work", None)
    files = [space.folder / "shards" / name / "manifest.json" for name in ("train", "held-out")]
    for file in (*files, runs.judge_file(scale, space)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    runs.check_same_world(scale, space)  # nothing is kept yet
    keep_adapted(protocol, scale, ("apv", 16, 1), RESULT | {"seen": runs.seen(scale, space)})
    runs.check_same_world(scale, space)
    runs.judge_file(scale, space).write_text("another")
    with pytest.raises(SystemExit, match="other files than the kept runs saw: judge;"):
        runs.check_same_world(scale, space)


def test_runs_of_two_presets_or_of_other_constants_are_not_pooled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    protocol, reader, times = (
        benchmark(monkeypatch, f"label_efficiency_{part}") for part in ("protocol", "summary", "times")
    )
    scale = replace(protocol.WHOLE, kept=tmp_path / "presets")
    for seed in (1, 2):
        keep_adapted(protocol, scale, ("uwm", 16, seed), RESULT, features={"own": {"patch": 8}})
    keep_adapted(protocol, scale, ("uwm", 64, 1), RESULT, features={"own": {"patch": 8}})
    reader.summary(scale)
    keep_adapted(protocol, scale, ("uwm", 64, 2), RESULT, features={"own": {"patch": 16}})
    with pytest.raises(SystemExit, match=r"n64/seed2 differs from .*features\.own\.patch: 8 → 16"):
        reader.summary(scale)

    before = replace(scale, kept=tmp_path / "constants", adapt_updates=1500)
    keep_adapted(protocol, before, ("apv", 16, 1), RESULT)
    reader.summary(before)
    with pytest.raises(SystemExit, match=r"training\.updates is 1500, not 1200"):
        reader.summary(replace(before, adapt_updates=1200))

    models = replace(scale, kept=tmp_path / "models")
    changes = protocol.pretraining_changes(protocol.LEARNERS["uwm"], models, times.read_times())
    keep(models.kept, protocol.pretrained_path("uwm", 1), {"cpu_seconds": 460.0}, changes)
    assert reader.summary(models)["pretraining_off_budget"] == []
    with pytest.raises(SystemExit, match=r"features\.own\.updates is"):
        reader.summary(replace(models, pretrain_seconds=1200))


def test_pre_trainings_that_took_other_seconds_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol, reader, times = (
        benchmark(monkeypatch, f"label_efficiency_{part}") for part in ("protocol", "summary", "times")
    )
    scale = replace(protocol.WHOLE, kept=tmp_path)
    for name, seconds in (("apv", 451.0), ("contextwm", 515.0), ("prelar", 520.0), ("uwm", None)):
        changes = protocol.pretraining_changes(protocol.LEARNERS[name], scale, times.read_times())
        keep(tmp_path, protocol.pretrained_path(name, 1), {"cpu_seconds": seconds}, changes)
    off = reader.summary(scale)["pretraining_off_budget"]
    assert off == ["runs/pretrain/prelar/seed1 took 520 s instead of 450",
                   "runs/pretrain/uwm/seed1 was not counted to the end"]  # fmt: skip
    assert "took 520 s instead of 450" in capsys.readouterr().err


# The stop rule.


@pytest.mark.parametrize(("heeded", "stops"), [(1.04, True), (1.08, False)])
def test_the_stop_rule_ends_it_after_two_whole_seeds_where_nobody_heeds_actions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, heeded: float, stops: bool
) -> None:
    protocol, reader, stop = (
        benchmark(monkeypatch, f"label_efficiency_{part}") for part in ("protocol", "summary", "stop")
    )
    scale = replace(protocol.WHOLE, kept=tmp_path)
    every, first = protocol.wanted(scale), [run for run in protocol.wanted(scale) if run[2] in (1, 2)]
    for name, labels, seed in first[:-1]:
        # of the others, and at smaller N, and in one seed, more is not enough
        ratio = {(1000, 1): heeded + 0.03, (1000, 2): heeded - 0.03}.get((labels, seed), 2.0)
        keep_adapted(protocol, scale, (name, labels, seed), RESULT | {"shuffle_ratio": ratio if name == "apv" or
                                                                      labels < 1000 else 1.0})  # fmt: skip
    assert not stop.stop_rule(scale).asked  # one run of seed 2 is missing
    assert stop.to_make(scale, go_on=False) == [run for run in every if run not in first[:-1]]
    keep_adapted(protocol, scale, first[-1], RESULT)
    rule = stop.stop_rule(scale)
    assert (rule.asked, rule.stops) == (True, stops)
    assert rule.shuffle_ratios["apv"] == pytest.approx(heeded)
    assert len(stop.to_make(scale, go_on=False)) == (0 if stops else 60)
    assert len(stop.to_make(scale, go_on=True)) == 60
    assert ("a null result at this size" in rule.sentence(scale)) == stops
    assert reader.summary(scale)["null_result"] == stops
    keep_adapted(protocol, scale, ("apv", 16, 3), RESULT)
    assert ("1 runs were made past it" in stop.stop_rule(scale).sentence(scale)) == stops


def test_seeds_are_made_one_after_the_other_and_no_further_than_the_rule(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script, protocol = (benchmark(monkeypatch, f"label_efficiency{part}") for part in ("", "_protocol"))
    scale = replace(protocol.WHOLE, kept=tmp_path / "kept", labels=(4, 8), stop_after=2, seeds=(1, 2, 3))
    made: list[tuple[str, ...]] = []

    def pretrain(scale: Any, space: Any, path: Path, name: str, seed: int, times: Any) -> None:
        made.append(path.parts[1:])

    def adapt(scale: Any, space: Any, name: str, labels: int, seed: int) -> None:
        made.append(("adapt", name, str(labels), f"seed{seed}"))
        keep_adapted(protocol, scale, (name, labels, seed), RESULT)

    for name, fake in {"pretrain": pretrain, "adapt": adapt, "make_all_videos": None, "the_judge": None,
                       "check_same_world": None}.items():  # fmt: skip
        monkeypatch.setattr(script, name, fake or (lambda scale, space: None))
    script.experiment(scale, None, 1)
    assert len(made) == 2 * (4 + 10)
    assert [one[-1] for one in made] == ["seed1"] * 14 + ["seed2"] * 14
    assert made[:3] == [("pretrain", "prelar", "seed1"), ("adapt", "scratch", "4", "seed1"),
                        ("pretrain", "apv", "seed1")]  # fmt: skip
    made.clear()
    script.experiment(scale, None, 1)
    assert made == []
    script.experiment(scale, None, 1, go_on=True)
    assert {one[-1] for one in made} == {"seed3"}


def test_a_changed_preset_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measuring, times, protocol = (
        benchmark(monkeypatch, f"label_efficiency_{part}") for part in ("measure", "times", "protocol")
    )
    learners = [one for one in protocol.LEARNERS.values() if one.pretrained]
    settings = {one.method: measuring.settings_of(one) for one in learners}
    file = tmp_path / "times.json"
    file.write_text(json.dumps(times.Times({}, {}, {}, settings, {})._asdict()))
    kept = times.read_times(file)
    measuring.check_times(kept)
    before = settings["uwm"] | {"data.batch_size": 5, "gone": 1}
    with pytest.raises(SystemExit, match=r"settings of uwm are not those .*--measure") as caught:
        measuring.check_times(kept._replace(settings=settings | {"uwm": before}))
    assert str(caught.value).endswith("\n    uwm: data.batch_size: 5 → 8; gone: 1 → '(absent)'")
    assert len({json.dumps(one) for one in settings.values()}) == 4
    monkeypatch.setattr(protocol, "COMMON", (*protocol.COMMON, "data.length=15"))
    with pytest.raises(SystemExit, match="settings of apv, contextwm, prelar, uwm are not") as caught:
        measuring.check_times(kept)
    assert str(caught.value).count("data.length: 8 → 15") == 4


def test_times_of_an_older_file_hold_hashes_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring, times, protocol = (
        benchmark(monkeypatch, f"label_efficiency_{part}") for part in ("measure", "times", "protocol")
    )
    learners = [one for one in protocol.LEARNERS.values() if one.pretrained]
    hashes = {
        one.method: hashlib.sha256(json.dumps(measuring.settings_of(one), sort_keys=True).encode()).hexdigest()
        for one in learners
    }
    kept = times.Times({}, {}, {}, hashes, {})
    measuring.check_times(kept)
    with pytest.raises(SystemExit, match=r"settings of apv, uwm are not") as caught:
        measuring.check_times(kept._replace(settings={**hashes, "apv": "of before", "uwm": None}))
    assert "apv: update_seconds.json holds only a hash of what was timed" in str(caught.value)
    assert str(caught.value).endswith("uwm: never timed")


def test_seconds_of_a_piece_whose_end_nobody_saw_are_not_made_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs, ends = (benchmark(monkeypatch, name) for name in ("label_efficiency_runs", "one_command"))
    space, path = runs.TrainingWorkspace(tmp_path, None), Path("runs/a")
    assert space.cpu_seconds(path) is None
    refused = ends.CommandFailedError(2, ["ipv-bench"], 0.5)
    took = iter([2.0, ends.StoppedError(1.5), ends.OutOfTimeError(), 4.0, refused, KeyboardInterrupt(), 1.0, 3.0])

    def one(*arguments: str) -> float:
        found = next(took)
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        (tmp_path / path / "run.json").write_text("{}")
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(space, "command", one)
    space.train(path, "pretrain")
    assert space.cpu_seconds(path) == 2.0
    with pytest.raises(ends.StoppedError):
        space.train(path, "pretrain")
    with pytest.raises(ends.OutOfTimeError):  # the minutes were over before: nothing was started, nothing is lost
        space.train(path, "pretrain")
    assert space.cpu_seconds(path) == 3.5
    space.train(path, "pretrain")
    assert space.cpu_seconds(path) == 7.5
    with pytest.raises(ends.CommandFailedError):  # it is known what it took
        space.train(path, "pretrain")
    assert space.cpu_seconds(path) == 8.0
    with pytest.raises(KeyboardInterrupt):  # as a kill leaves it
        space.train(path, "pretrain")
    assert space.cpu_seconds(path) is None
    space.train(path, "pretrain")
    assert space.cpu_seconds(path) is None
    (tmp_path / path / "run.json").unlink()  # it was moved away: what is made now is another run
    space.train(path, "pretrain")
    assert space.cpu_seconds(path) == 3.0


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
