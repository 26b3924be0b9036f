"""What `adapt` refuses and tells of sets, folders and models that it is given."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import CheckpointError
from ipv_bench.run_record import read_record, write_record
from models.adapting.plan import plan_adapting
from models.world_models.action_prediction import ActionPrediction
from models.world_models.stacked import StackedWorldModel
from tests.episode_maker import write_episodes
from tests.models.adapting.adapt_runs import FAST, RANDOM, adapt, adapt_command, tensors
from tests.models.adapting.small_models import small_config


def test_what_does_not_fit_is_refused(labelled, unlabelled, parents, tmp_path, capsys):
    three = tmp_path / "three"
    raw = write_episodes(tmp_path / "raw", (12,) * 6, action=np.zeros((12, 3), np.float32), reward=None)
    prepare = ["prepare", "episodes", "--source", str(raw), "--out", str(three), "--workers", "1", "--quiet"]
    assert run([*prepare, "--set", "size=32x32"]) == 0
    adapted = tmp_path / "adapted"
    assert adapt(parents["apv"], labelled, adapted, training__updates=1) == 0
    folder = tmp_path / "run"
    of_apv = ("--set", "method=apv", "--set", "image.size=32")
    for words, arguments in (
        ("no tracks: it is an unlabelled set", (parents["apv"], unlabelled, folder)),
        ("3 components, the model was adapted to 2", (adapted, three, folder)),
        ("'action' is float32 [2]", (parents["apv"], three, folder, "--data", str(labelled))),
        ("twice", (parents["apv"], labelled, folder, "--data", f"{labelled}/")),
        ("no run.json", (tmp_path, labelled, folder)),
        ("does not say which model", ("none", labelled, folder)),
        ("names another", (parents["apv"], labelled, folder, "--set", "method=contextwm")),
        ("part of apv to train 'adapter'", (parents["apv"], labelled, folder, "--set", "parts=adapter")),
        ("set num_sequences", (parents["apv"], labelled, folder, "--set", "data.num_videos=3")),
        ("did you mean 'num_sequences'", (parents["apv"], labelled, folder, "--set", "num_sequence=3")),
        ("rssm.action_dim is 1", ("none", labelled, folder, *of_apv, "--set", "rssm.action_dim=1")),
        ("trained as something else", (parents["apv"], labelled, folder, "--set", "rssm.stoch=2")),
        ("takes image.size 64", (parents["apv"], labelled, folder, "--set", "image.size=64", *RANDOM)),
        ("taken over whole", (adapted, labelled, folder, "--set", "init_parts=encoder_decoder")),
        ("init_allow is set, and", (parents["apv"], labelled, folder, "--set", "init_allow=[rssm.stoch]", *RANDOM)),
    ):
        capsys.readouterr()
        assert adapt(*arguments) == 2, words
        assert words in capsys.readouterr().err
        assert not folder.exists(), words
    assert adapt(parents["contextwm"], labelled, adapted, training__updates=1) == 2
    assert run(["adapt", str(parents["apv"])]) == 2
    assert "no labelled shard set" in capsys.readouterr().err


def test_the_checkpoint_says_what_it_was_trained_as_and_named_keys_may_differ(labelled, parents, tmp_path, capsys):
    edited, folder = tmp_path / "edited", tmp_path / "run"
    shutil.copytree(parents["apv"], edited)
    record = read_record(edited)
    other = {"stoch": 2, "discrete": 8}  # the shapes of 4 × 4
    write_record(edited, record.model_copy(update={"config": record.config | {"rssm": record.config["rssm"] | other}}))
    assert adapt(edited, labelled, folder) == 2
    assert "rssm.stoch is 4 there and 2 here" in capsys.readouterr().err
    assert not folder.exists()
    allowed = {"init_allow": ["rssm.stoch", "rssm.discrete"], "training__updates": 1, "validation__every": 0}
    assert adapt(edited, labelled, folder, **allowed) == 0
    again = ["adapt", str(folder), "--data", str(labelled), "--dry-run"]
    capsys.readouterr()
    assert run(again) == 0
    assert json.loads(capsys.readouterr().out)["config"]["init_allow"] == []  # not handed down
    parts = {"init_parts": "encoder_decoder", "rssm__hidden": 12, "training__updates": 1, "validation__every": 0}
    assert adapt(parents["apv"], labelled, tmp_path / "parts", **parts) == 0


def test_a_checkpoint_of_another_model_is_refused(parents, labelled, tmp_path):
    from models.training.module_tensors import load_tensors

    with pytest.raises(CheckpointError, match="of another model"):
        load_tensors(ActionPrediction(StackedWorldModel(small_config(), 2), "dynamics"), tensors(parents["apv"]), "x")


def test_a_run_has_its_place_and_dry_run_writes_nothing(labelled, parents, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["adapt", str(parents["apv"]), "--data", str(labelled), "--set", "num_sequences=3"]
    assert run([*command, "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["variant"] == "num_sequences=3,init=numbers"
    assert not list(tmp_path.iterdir())
    sets = [part for key, value in FAST.items() for part in ("--set", f"{key}={value}")]
    assert run([*command, *sets, "--quiet"]) == 0
    assert (tmp_path / "runs/adapt/episodes/apv@num_sequences=3,init=numbers/seed0/run.json").is_file() or list(
        tmp_path.glob("runs/adapt/episodes/apv@*num_sequences=3*init=numbers/seed0/run.json")
    )


def test_actions_far_from_one_are_told_with_their_ranges_and_left_as_they_are(parents, tmp_path, capsys):
    lengths, rows = (14,) * 8, np.arange(14, dtype=np.float32)
    action = np.stack([np.sin(rows), 40 * np.cos(rows), 0.01 * np.sin(rows), 0 * rows + 7, 0 * rows + 1], 1)
    action[0] = 0
    raw = write_episodes(tmp_path / "raw", lengths, action=action.astype(np.float32), reward=None)
    degrees, folder = tmp_path / "degrees", tmp_path / "run"
    prepare = ["prepare", "episodes", "--source", str(raw), "--out", str(degrees), "--workers", "1", "--quiet"]
    assert run([*prepare, "--set", "size=32x32", "--set", "action_time=led_into"]) == 0
    capsys.readouterr()
    assert run(adapt_command(parents["apv"], degrees, folder, training__updates=1, num_sequences=3)) == 0
    told = capsys.readouterr().err
    values = action[1:]
    assert f"warning: 3 of 5 components of the actions in {degrees} are far from [-1, 1] (3 training videos)" in told
    for n in (1, 2):
        low, high, std = values[:, n].min(), values[:, n].max(), values[:, n].std()
        assert f"component {n} from {low:.3g} to {high:.3g}, standard deviation {std:.3g}" in told
    assert "component 3 from 7 to 7" in told
    assert "component 0" not in told
    assert "component 4" not in told  # it never changes: nothing can be learned of it
    from models.adapt import _open_data

    plan = plan_adapting(parents["apv"], data=[degrees], overrides=FAST)
    assert np.abs(_open_data(plan).videos.train[0].tracks["action"]).max() > 30  # as they were recorded


def test_actions_that_never_change_are_told(parents, tmp_path, capsys):
    action = np.full((14, 2), 0.5, np.float32)
    action[0] = 0  # none led into the first frame
    raw = write_episodes(tmp_path / "raw", (14,) * 8, action=action, reward=None)
    still, folder = tmp_path / "still", tmp_path / "run"
    prepare = ["prepare", "episodes", "--source", str(raw), "--out", str(still), "--workers", "1", "--quiet"]
    assert run([*prepare, "--set", "size=32x32", "--set", "action_time=led_into"]) == 0
    capsys.readouterr()
    assert run(adapt_command(parents["apv"], still, folder, training__updates=1, num_sequences=3)) == 0
    assert f"warning: the actions in {still} never change (3 training videos)" in capsys.readouterr().err


def test_labelled_sets_hold_out_videos_whatever_share_the_pretraining_kept(labelled, parents, tmp_path, capsys):
    """0.2 % of `paper` is much of a large set, and nothing of sixteen labelled videos."""
    from models.adapt import _open_data

    parent, folder = tmp_path / "parent", tmp_path / "run"
    shutil.copytree(parents["apv"], parent)
    record = read_record(parent)
    of_paper = {"data": record.config["data"] | {"holdout": 0.002}}
    write_record(parent, record.model_copy(update={"config": record.config | of_paper}))

    def held_out(**changes: Any) -> int:
        plan = plan_adapting(parent, data=[labelled], overrides=FAST | changes)
        return int(_open_data(plan).videos.shard_sets[0]["num_validation_videos"])

    assert held_out() == 3
    assert held_out(num_sequences=13) == 3
    assert held_out(**{"data.fewest_held_out": 0, "data.holdout": 0.5}) > 3
    capsys.readouterr()
    few = {"data.holdout": 0.002, "data.fewest_held_out": 0, "training.updates": 1}
    assert run(adapt_command(parent, labelled, folder, **few)) == 0
    told = capsys.readouterr().out
    assert "nothing is validated (data.holdout=0.002 is less than one of these videos" in told
    assert "set data.holdout=0.05, or data.fewest_held_out=3 with a set of four videos or more" in told
