"""`adapt`: a model learns from labelled videos alone; what moves, what is kept, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ipv_bench.cli import run
from ipv_bench.errors import CheckpointError, UnknownNameError
from ipv_bench.run_record import read_record, write_record
from models.adapting.labelled_training import LabelledTraining
from models.adapting.plan import plan_adapting
from models.training.checkpoint import latest_checkpoint, load_checkpoint
from models.world_models.action_prediction import ActionPrediction
from models.world_models.stacked import StackedWorldModel
from tests.episode_maker import write_episodes
from tests.models.adapting.small_models import small_config
from tests.models.finetuning.finetune_runs import run_until
from tests.models.pretraining import small_pretraining
from tests.models.pretraining.small_pretraining import SMALL, learned, small_shard_set, weights

RANDOM = ("--set", "weights=random")
FAST = {"training.updates": 6, "training.checkpoint_every": 2, "training.log_every": 2, "validation.every": 3}


def adapt_command(parent: Path | str, data: Path, folder: Path, *extra: str, **changes: Any) -> list[str]:
    values = FAST | {key.replace("__", "."): value for key, value in changes.items()}
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["adapt", str(parent), "--data", str(data), "--run", str(folder), *sets, *extra]


def adapt(parent: Path | str, data: Path, folder: Path, *extra: str, **changes: Any) -> int:
    return run([*adapt_command(parent, data, folder, *extra, **changes), "--quiet"])


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    path = latest_checkpoint(folder)
    assert path is not None
    return load_checkpoint(path).model


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """Sixteen labelled videos, 32 x 32, with actions of two components."""
    root = tmp_path_factory.mktemp("labelled")
    assert run(["sample", str(root / "raw"), "--dataset", "moving-blob", "--videos", "16", "--quiet"]) == 0
    command = ["prepare", "episodes", "--source", str(root / "raw"), "--out", str(root / "blob"), "--workers", "1"]
    assert run([*command, "--set", "size=32x32", "--quiet"]) == 0
    return root / "blob"


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory) -> Path:
    return small_shard_set(tmp_path_factory.mktemp("unlabelled") / "set")


@pytest.fixture(scope="module")
def parents(unlabelled, tmp_path_factory) -> dict[str, Path]:
    """A pre-training run of each of our methods that has one."""
    root = tmp_path_factory.mktemp("pretrained")
    for method in ("apv", "contextwm", "prelar"):
        changes = {"rssm__action_dim": 8} if method == "prelar" else {}
        command = small_pretraining.arguments(unlabelled, root / method, method=method, training__updates=2, **changes)
        assert run([*command, "--quiet"]) == 0
    return {path.name: path for path in root.iterdir()}


@pytest.mark.parametrize("method", ["apv", "contextwm", "prelar"])
def test_a_pretrained_model_goes_on_with_actions(labelled, parents, tmp_path, method):
    folder = tmp_path / "run"
    assert adapt(parents[method], labelled, folder, num_sequences=4) == 0
    record = read_record(folder)
    assert (record.kind, record.method, record.status) == ("adapt", method, "finished")
    assert record.pretraining["data"] == ["numbers"]
    assert record.model_extra["adaptation"] == {
        "data": ["episodes"], "parts": "world_model", "num_sequences": 4, "num_segments": None, "updates": 6,
        "action_dim": 2,
    }  # fmt: skip
    assert record.shard_sets[0]["num_videos"] == 4
    assert record.parent["run"] == str(parents[method])
    lines = [line for line in learned(folder) if "validation_copy_ratio" in line]
    assert [line["updates"] for line in lines] == [0, 3, 6]
    for line in lines:
        assert len(line["open_loop_mse"]) == SMALL["data.length"] - SMALL["validation.warmup"]
        ratio = np.sum(line["open_loop_mse"]) / np.sum(line["copy_last_mse"])
        assert line["validation_copy_ratio"] == pytest.approx(ratio)
        assert line["validation_shuffle_ratio"] > 0
    assert list((folder / "videos").glob("prediction-*.png"))
    assert {"vision.encoder", "rssm.img_in"} <= {".".join(name.split(".")[:2]) for name in tensors(folder)}


@pytest.mark.parametrize("method", ["apv", "prelar"])
def test_trained_weights_keep_the_mean_image_that_they_learned_beside(labelled, parents, tmp_path, method):
    offset = "vision.scaling.offset"
    theirs = tensors(parents[method])[offset]
    assert theirs.std() > 0  # a mean image, of other videos
    before = []
    for number in (1, 8):
        folder = tmp_path / str(number)
        assert adapt(parents[method], labelled, folder, num_sequences=number, training__updates=1) == 0
        assert torch.equal(tensors(folder)[offset], theirs)
        before.append(next(line for line in learned(folder) if "validation_copy_ratio" in line))
    assert before[0]["open_loop_mse"] == before[1]["open_loop_mse"]
    assert adapt(parents[method], labelled, tmp_path / "new", *RANDOM, training__updates=1) == 0
    assert not torch.equal(tensors(tmp_path / "new")[offset], theirs)
    other = {"image__offset": "half", "init_allow": ["image.offset"], "training__updates": 1}
    assert adapt(parents[method], labelled, tmp_path / "half", **other) == 0
    assert tensors(tmp_path / "half")[offset].tolist() == [[[0.5]]]


def test_an_interrupted_run_goes_on_to_the_same_numbers(labelled, parents, tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert adapt(parents["apv"], labelled, whole, training__threads=1) == 0
    real = LabelledTraining.step

    def step(self: LabelledTraining, batch: Any) -> dict[str, float]:
        if self.updates == 3:  # after the checkpoint of update 2
            raise KeyboardInterrupt
        return real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(LabelledTraining, "step", step)
        assert adapt(parents["apv"], labelled, stopped, training__threads=1) == 130
    assert read_record(stopped).status == "interrupted"
    assert adapt(parents["apv"], labelled, stopped, training__threads=1) == 0
    assert weights(stopped) == weights(whole)
    assert learned(stopped) == learned(whole)
    assert adapt(parents["contextwm"], labelled, whole, training__threads=1) == 2  # another method's run


@pytest.mark.parametrize("usual", [False, True])
def test_a_begun_run_goes_on_without_the_run_that_it_started_from(
    labelled, parents, tmp_path, capsys, monkeypatch, usual
):
    """Deleted, or (in the usual place, whose name is made from its record) with other checkpoints by now."""
    monkeypatch.chdir(tmp_path)
    parent, whole = Path("parent"), tmp_path / "whole"
    shutil.copytree(parents["apv"], parent)
    command = adapt_command(parent, labelled, tmp_path / "run", training__threads=1)
    if usual:
        place = command.index("--run")
        command = [*command[:place], *command[place + 2 :]]
    assert run(command) == 0
    [folder] = [path.parent for path in tmp_path.glob("**/run.json") if read_record(path.parent).kind == "adapt"]
    shutil.copytree(folder, whole)
    shutil.rmtree(latest_checkpoint(folder))
    before = read_record(folder).model_copy(update={"status": "interrupted"})
    write_record(folder, before)
    newest = latest_checkpoint(parent)
    if usual:
        shutil.rmtree(newest)
        shutil.copytree(latest_checkpoint(parents["contextwm"]), newest)
    else:
        shutil.rmtree(parent)
    capsys.readouterr()
    assert run(command) == 0
    told = capsys.readouterr()
    assert "the run goes on from its own checkpoint" in told.out + told.err
    assert read_record(folder).parent == before.parent
    assert weights(folder) == weights(whole)
    # another parent is another run, and one without a checkpoint of its own needs its parent
    assert (
        run([*command[:1], str(parents["contextwm"]), *command[2:], *(() if not usual else ("--run", str(folder)))])
        == 2
    )
    shutil.rmtree(folder / "checkpoints")
    write_record(folder, before)
    assert run(command) == 2


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(labelled, parents, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert adapt(parents["apv"], labelled, whole, training__threads=1) == 0
    command = adapt_command(parents["apv"], labelled, killed, training__threads=1)
    run_until(command, "adapting.labelled_training", "module.LabelledTraining", "step", 4)
    assert run([*command, "--quiet"]) == 0
    assert weights(killed) == weights(whole)
    assert learned(killed) == learned(whole)


def test_subsets_are_nested_and_validated_alike(labelled, parents, tmp_path):
    from models.adapt import _open_data
    from models.adapting.plan import plan_adapting

    found = {}
    for count in (2, 5, 9):
        plan = plan_adapting(parents["apv"], data=[labelled], overrides=FAST | {"num_sequences": count})
        videos = _open_data(plan).videos
        found[count] = (set(videos.train.sources[0].videos), set(videos.validation.sources[0].videos))
    assert [len(found[count][0]) for count in (2, 5, 9)] == [2, 5, 9]
    assert found[2][0] < found[5][0] < found[9][0]
    assert found[2][1] == found[9][1]
    assert not found[9][0] & found[9][1]
    assert adapt(parents["apv"], labelled, tmp_path / "run", num_sequences=17) == 2


def test_dynamics_leaves_what_was_pretrained(labelled, parents, tmp_path):
    folder = tmp_path / "run"
    assert adapt(parents["contextwm"], labelled, folder, parts="dynamics") == 0
    before, after = tensors(parents["contextwm"]), tensors(folder)
    kept = [name for name in before if name.startswith(("vision.encoder.", "vision.decoder.", "action_free_rssm."))]
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept)
    whole = tmp_path / "whole"
    assert adapt(parents["contextwm"], labelled, whole) == 0
    assert not all(torch.equal(before[name], tensors(whole)[name]) for name in kept)
    # an adapted model is adapted further, with the other parts and fewer videos, whole: its mean image as well
    again = tmp_path / "again"
    changes = {"parts": "world_model", "training__updates": 1, "optimizer__lr": 0.0, "num_sequences": 3}
    assert adapt(folder, labelled, again, **changes) == 0
    assert read_record(folder).config["image"]["offset"] == "mean_image"
    # with new weights it needs a mean image of its own
    assert adapt(folder, labelled, tmp_path / "new", weights="random", training__updates=1) == 0
    assert tensors(tmp_path / "new")["vision.scaling.offset"].unique().numel() > 1
    moved = [name for name, value in tensors(again).items() if not torch.equal(value, after[name])]
    assert all("running" in name or "num_batches" in name for name in moved), moved


def test_real_actions_are_tied_to_latent_ones(labelled, parents, tmp_path, capsys):
    folder = tmp_path / "run"
    assert adapt(parents["prelar"], labelled, folder, latent_action__align="nll", training__updates=2) == 0
    assert any("alignment_loss" in line for line in learned(folder))
    assert adapt(parents["prelar"], labelled, tmp_path / "warm", latent_action__align="warmstart") == 2
    assert "is for fine-tuning" in capsys.readouterr().err
    changes = {"latent_action__align": "nll", "weights": "random"}
    assert adapt(parents["prelar"], labelled, tmp_path / "random", **changes) == 2
    assert "starts from random weights" in capsys.readouterr().err


def test_what_a_methods_source_says_of_adapting_is_its_default(labelled, parents, tmp_path):
    """PreLAR holds what was pre-trained until its new network of actions says something; nothing is held twice."""

    def plan(parent: Path, **changes: Any) -> Any:
        return plan_adapting(parent, data=[labelled], overrides=FAST | {"training.updates": 1} | changes)

    def held(parent: Path, **changes: Any) -> int:
        return int(plan(parent, **changes).config.training.encoder_frozen_updates)

    assert held(parents["prelar"]) == 100
    assert held(parents["prelar"], parts="dynamics") == 100
    assert held(parents["prelar"], weights="random") == 0
    assert held(parents["prelar"], **{"training.encoder_frozen_updates": 3}) == 3
    assert held(parents["apv"]) == held(parents["contextwm"]) == 0  # as released but for one suite
    assert "encoder_frozen_updates" not in plan(parents["prelar"]).describe().split('"config"')[0]  # no variant
    folder = tmp_path / "run"
    assert adapt(parents["prelar"], labelled, folder, training__updates=2) == 0
    before, after = tensors(parents["prelar"]), tensors(folder)
    for name, value in after.items():
        if name.startswith("rssm.") and name in before:
            assert torch.equal(value, before[name]), name
    assert held(folder) == 0


def test_uwm_may_start_from_nothing(labelled, tmp_path):
    """It has no agent, whose presets the others take: its model is that of its pre-training."""
    plan = plan_adapting("none", data=[labelled], overrides={"method": "uwm"})
    assert (plan.config.quantizer.codes, plan.config.extractor.num_codes, plan.start.checkpoint) == (64, 4, None)
    with pytest.raises(UnknownNameError, match="pretrain preset"):
        plan_adapting("none", data=[labelled], overrides={"method": "uwm", "preset": "tyni"})
    from tests.models.latent_actions.small_uwm import READ

    own = {key: value for key, value in READ.items() if key not in ("method", "adapter")}
    short = {"data__length": 4, "data__batch_size": 2, "validation__segments": 2, "validation__warmup": 2}
    folder = tmp_path / "run"
    assert adapt("none", labelled, folder, method="uwm", training__updates=1, **short, **own) == 0
    assert read_record(folder).pretraining == {"kind": "none"}
    assert read_record(folder).config["weights"] == "random"
    assert list((folder / "pairs").iterdir())


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


def test_rows_without_pretraining(labelled, parents, tmp_path):
    assert adapt(parents["apv"], labelled, tmp_path / "random", weights="random", training__updates=1) == 0
    record = read_record(tmp_path / "random")
    assert record.pretraining == {"kind": "none"}
    assert record.parent == {}
    small = {key.replace(".", "__"): value for key, value in SMALL.items() if not key.startswith("context")}
    small |= {"method": "dreamerv2", "image__size": 64, "training__updates": 2, "data__length": 6}
    raw = labelled.parent / "raw"
    out = tmp_path / "blob64"
    assert run(["prepare", "episodes", "--source", str(raw), "--out", str(out), "--workers", "1", "--quiet"]) == 0
    del small["encoder__norm"], small["decoder__norm"]
    assert adapt("none", out, tmp_path / "dreamer", **small) == 0
    assert read_record(tmp_path / "dreamer").method == "dreamerv2"


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
