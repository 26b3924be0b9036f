"""Analyses of models that were adapted: their actions, the step of their frames, and all videos that they ever saw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ipv_bench.analysis_record import read_analysis, read_arrays
from ipv_bench.cli import run
from ipv_bench.errors import TrainingError
from ipv_bench.run_record import read_record
from ipv_bench.segments import open_segments
from models.analysis.action_sources import of_other_videos
from models.analysis.clips import open_clips
from models.analysis.config import AnalysisConfig
from models.analysis.embed import mean_states
from models.analysis.loaded_model import has_states, open_models
from models.finetune import build_agent
from models.pretrained_features import open_features
from tests.models.pretraining.small_pretraining import arguments

LENGTH, SEEN = 10, 5


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of a moving blob, the same with all actions turned round, two models, and an adapted one of each."""
    place = tmp_path_factory.mktemp("adapted")
    assert run(["sample", str(place / "raw"), "--dataset", "moving-blob", "--videos", "12", "--quiet"]) == 0
    shutil.copytree(place / "raw", place / "turned-raw")
    for path in (place / "turned-raw").glob("*.npz"):
        episode = dict(np.load(path))
        np.savez(path, **episode | {"action": -episode["action"]})
    for name in ("raw", "turned-raw"):
        out = place / name.replace("raw", "set")
        command = ["prepare", "episodes", "--source", str(place / name), "--out", str(out), "--workers", "1"]
        assert run([*command, "--set", "size=32x32", "--quiet"]) == 0
    for name, step in (("p1", 1), ("p2", 2)):
        changes = {"training__updates": 1, "validation__every": 0, "data__holdout": 0.4, "data__every_frames": step}
        assert run([*arguments(place / "set", place / name, method="apv", **changes), "--quiet"]) == 0
    for name, data, holdout in (("a1", "turned-set", 0.4), ("a2", "turned-set", 0.4)):
        words = [word for change in ("training.updates=1", "validation.every=0", f"data.holdout={holdout}")
                 for word in ("--set", change)]  # fmt: skip
        command = ["adapt", str(place / name.replace("a", "p")), "--data", str(place / data)]
        assert run([*command, "--run", str(place / name), *words, "--quiet"]) == 0
    return place


def analyze(lab: Path, kind: str, *runs: str, data: str = "set", out: str = "out", **fields: Any) -> tuple[Any, Any]:
    values: dict[str, Any] = {"length": LENGTH} | fields
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    paths = [str(lab / name) for name in runs]
    shutil.rmtree(lab / out, ignore_errors=True)
    command = ["analyze", kind, *paths, "--data", str(lab / data), "--out", str(lab / out), *sets, "--quiet"]
    assert run(command) == 0
    return read_analysis(lab / out), read_arrays(lab / out)


def predict(lab: Path, *runs: str, **fields: Any) -> tuple[Any, Any]:
    values = {"observed": SEEN, "best_of": 1, "strips": 0, "lpips": "none", "resamples": 50}
    return analyze(lab, "predict", *runs, **values | fields)


def test_what_the_parent_trained_on_is_no_held_out_video(lab: Path) -> None:
    """The adapted run saw the turned set alone, and its parent the plain one."""
    record, _ = predict(lab, "a1")
    shown = {clip["video"] for clip in record.numbers["clips"]}
    parent = read_record(lab / "p1")
    assert len(shown) == parent.shard_sets[0]["num_validation_videos"] < 12
    assert any(f"the {len(shown)} videos that the runs held out" in note for note in record.notes)
    # the parent is gone: its record is kept in that of the adapted run
    (lab / "p1").rename(lab / "elsewhere")
    again, _ = predict(lab, "a1")
    assert {clip["video"] for clip in again.numbers["clips"]} == shown
    # and in an older one it is not, which is said
    path = lab / "a1" / "run.json"
    kept = json.loads(path.read_text())
    kept["start"].pop("shard_sets")
    copy = shutil.copytree(lab / "a1", lab / "older")
    (copy / "run.json").write_text(json.dumps(kept | {"pretraining": {"kind": "video", "data": ["episodes"]}}))
    record, _ = predict(lab, "older")
    assert any("p1, whose run.json is not here: which of these videos" in note for note in record.notes), record.notes
    (lab / "elsewhere").rename(lab / "p1")


def test_clips_have_the_step_that_the_models_were_trained_with(lab: Path) -> None:
    record, one = predict(lab, "p1", split="all")
    assert not any("stored" in note for note in record.notes)
    record, two = predict(lab, "p2", split="all")
    assert "frames 2 stored ones apart, as the models were trained" in record.notes
    assert (two["copy_mse"] != one["copy_mse"]).any()
    models = open_models([lab / "p2"], torch.device("cpu"))
    clips = open_clips(AnalysisConfig(sets=[str(lab / "set")], length=LENGTH, split="all"), models, 0)
    (source,) = open_segments([lab / "set"], 1, 0).sources
    for number in (0, 7):
        clip = clips.clips[number]
        whole = source.frames(clip.video, clip.start, 2 * LENGTH - 1)
        np.testing.assert_array_equal(clips.read(number, number + 1)[0], whole[::2])
        action = source.tracks(clip.video, clip.start, 2 * LENGTH - 1, ["action"])["action"]
        found = clips.track("action", number, number + 1)[0]
        assert found.shape == (LENGTH, *clips.track_shape("action")) == (LENGTH, 4)
        np.testing.assert_array_equal(found[1:].reshape(-1, 2), action[1:])
        raw = clips.source_frames(number)
        assert raw is not None
        assert set(np.diff(raw)) == {2}
    record, same = predict(lab, "p1", split="all", every_frames=2)
    assert any("p1" in note or "APV" in note for note in record.notes if "was trained with frames one after" in note)
    np.testing.assert_array_equal(same["copy_mse"], two["copy_mse"])
    # its own actions fit an adapted model: those of two steps, joined
    record, acted = predict(lab, "a2", data="turned-set", split="all")
    assert any("under the set's own actions" in note for note in record.notes)
    assert np.isfinite(acted["shuffled_mse"]).all()


def test_models_of_different_steps_are_not_compared_unasked(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(lab / name) for name in ("p1", "p2")]
    command = ["analyze", "predict", *paths, "--data", str(lab / "set"), "--out", str(lab / "both"),
               "--set", f"length={LENGTH}", "--set", f"observed={SEEN}", "--set", "lpips=none"]  # fmt: skip
    assert run(command) == 2
    said = capsys.readouterr().err
    assert "trained with frames differently far apart" in said
    assert "--set every_frames=N" in said
    assert run([*command, "--set", "every_frames=1", "--set", "every_seconds=0.5"]) == 2
    assert "both set" in capsys.readouterr().err
    assert run([*command, "--set", "every_frames=1", "--set", "split=all", "--set", "strips=0"]) == 0


def test_models_that_take_actions_are_told_the_set_s(lab: Path) -> None:
    """The two sets differ in their actions alone."""
    record, plain = analyze(lab, "compose", "a1", split="all", shown=2)
    assert any("is told the set's own actions" in note for note in record.notes)
    _, turned = analyze(lab, "compose", "a1", data="turned-set", split="all", shown=2)
    assert (plain["composed"] != turned["composed"]).any()
    np.testing.assert_array_equal(plain["source_standing"], turned["source_standing"])
    record, _ = analyze(lab, "compose", "p1", split="all", shown=2)
    assert not any("actions" in note for note in record.notes)

    (model,) = open_models([lab / "a1"], torch.device("cpu"))
    states = []
    for data in ("set", "turned-set"):
        config = AnalysisConfig(sets=[str(lab / data)], length=LENGTH, split="all")
        clips = open_clips(config, [model], 0)
        states.append(mean_states(model, clips, 2, clips.read(2, 5), 0))
    assert states[0].shape == states[1].shape
    assert (states[0] != states[1]).any()


def test_actions_that_do_not_fit_are_none_for_states_and_a_hint_for_predictions(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, _ = analyze(lab, "compose", "a1", split="all", shown=2, every_frames=2)
    assert any("has none that fit: it is told zero actions" in note for note in record.notes)
    command = ["analyze", "predict", str(lab / "a1"), "--data", str(lab / "set"), "--out", str(lab / "misfit"),
               "--set", f"length={LENGTH}", "--set", f"observed={SEEN}", "--set", "every_frames=2"]  # fmt: skip
    assert run([*command, "--set", "split=all"]) == 2
    assert "--set every_frames=1" in capsys.readouterr().err


def test_a_chain_of_adapted_runs_is_known_to_its_end(lab: Path) -> None:
    """The middle run is gone; the last one's record leads to the first."""
    words = [word for change in ("training.updates=1", "validation.every=0", "data.holdout=0.4") for word in
             ("--set", change)]  # fmt: skip
    middle = shutil.copytree(lab / "a1", lab / "middle")
    command = ["adapt", str(middle), "--data", str(lab / "turned-set"), "--run", str(lab / "last"), *words, "--quiet"]
    assert run(command) == 0
    shutil.rmtree(middle)
    record, _ = predict(lab, "last")
    held_out = read_record(lab / "p1").shard_sets[0]["num_validation_videos"]
    assert len({clip["video"] for clip in record.numbers["clips"]}) == held_out
    assert any(f"the {held_out} videos that the runs held out" in note for note in record.notes)


def test_states_know_the_actions_that_they_are_told(lab: Path) -> None:
    features = open_features(lab / "a1")
    frames = torch.randint(0, 255, (2, 4, 32, 32, 3), dtype=torch.uint8)
    action = torch.rand(2, 4, 2)
    told, still = features.states(frames, action=action), features.states(frames)
    assert torch.equal(features.states(frames, action=0 * action), still)
    assert torch.equal(told[:, 0], still[:, 0])  # what led to the first frame is not known
    assert not torch.equal(told[:, 1:], still[:, 1:])
    with pytest.raises(TrainingError, match=r"actions have shape \(2, 4, 3\)"):
        features.states(frames, action=torch.rand(2, 4, 3))
    with pytest.raises(TrainingError, match="takes no actions"):
        open_features(lab / "p1").states(frames, action=action)


@pytest.mark.parametrize(
    ("videos", "known"),
    [
        ([0, 1, 2, 3], [True] * 4),
        ([0, 0, 1, 1, 2, 2], [True] * 6),
        ([0, 0, 0, 1], [True] * 4),
        ([3, 3, 3], [False] * 3),
        ([7], [False]),
        ([0, 0, 1, 1, 1, 1, 1, 2], [True] * 8),
    ],
)
def test_other_actions_are_of_another_video(videos: list[int], known: list[bool]) -> None:
    numbers, found = of_other_videos(np.array(videos))
    assert found.tolist() == known
    for own, other in enumerate(numbers):
        assert (videos[other] != videos[own]) == known[own]
    if max(np.bincount(videos)) * 2 <= len(videos):
        assert sorted(numbers) == list(range(len(videos)))  # each stands in once


def test_clips_of_one_video_never_stand_in_for_one_another(lab: Path) -> None:
    """Three videos of four clips in batches of five: each batch holds more than half of one video, or all of one."""
    _, arrays = predict(lab, "a1", data="turned-set", split="all", videos=1, clips_per_video=4, batch_size=5)
    assert np.isnan(arrays["shuffled_mse"]).all()
    record, arrays = predict(lab, "a1", data="turned-set", split="all", videos=3, clips_per_video=4, batch_size=5)
    assert np.isfinite(arrays["shuffled_mse"]).all(-1).sum() >= 10
    assert np.isfinite(record.numbers["lines"]["APV"]["shuffle_ratio"]["overall"]["point"])


@pytest.mark.parametrize(("method", "known"), [("contextwm", True), ("dreamerv2", True), ("isodream", False)])
def test_states_are_those_of_models_that_give_them_for_frames(method: str, known: bool) -> None:
    """Iso-Dream's model has a method of that name, for what it computed itself."""
    assert has_states(build_agent("tiny", {"method": method}, None, 2).model) == known
