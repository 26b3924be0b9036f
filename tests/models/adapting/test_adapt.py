"""`adapt`: a model learns from labelled videos alone; what moves, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ipv_bench.cli import run
from ipv_bench.errors import UnknownNameError, UsageError
from ipv_bench.run_record import read_record
from models.adapting.plan import plan_adapting
from tests.models.adapting.adapt_runs import FAST, RANDOM, adapt, tensors
from tests.models.pretraining.small_pretraining import SMALL, learned


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
    plain = tmp_path / "plain"
    assert adapt(folder, labelled, plain, latent_action__align="none", training__updates=1) == 0
    assert not any(name.startswith("action_encoder.") for name in tensors(plain))
    assert adapt(plain, labelled, tmp_path / "tied", latent_action__align="nll", training__updates=1) == 2
    told = capsys.readouterr().err
    assert "the adapted model to start from kept no action encoder" in told
    assert "start from the pre-training run" in told
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
    plan = plan_adapting("none", data=[labelled], overrides={"method": "uwm", "parts": "dynamics"})
    assert (plan.config.quantizer.codes, plan.config.extractor.num_codes, plan.start.checkpoint) == (64, 4, None)
    with pytest.raises(UnknownNameError, match="pretrain preset"):
        plan_adapting("none", data=[labelled], overrides={"method": "uwm", "preset": "tyni", "parts": "dynamics"})
    from tests.models.latent_actions.small_uwm import READ

    own = {key: value for key, value in READ.items() if key not in ("method", "adapter")}
    with pytest.raises(UsageError, match=r"leaves action extractor.* random weights[\s\S]*set parts=dynamics first"):
        plan_adapting("none", data=[labelled], overrides={"method": "uwm"})
    short = {"data__length": 4, "data__batch_size": 2, "validation__segments": 2, "validation__warmup": 2}
    folder = tmp_path / "run"
    assert adapt("none", labelled, folder, method="uwm", parts="dynamics", training__updates=1, **short, **own) == 0
    assert read_record(folder).pretraining == {"kind": "none"}
    assert read_record(folder).config["weights"] == "random"
    assert list((folder / "pairs").iterdir())


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
    del small["encoder__norm"], small["decoder__norm"], small["encoder__blocks"], small["decoder__blocks"]
    assert adapt("none", out, tmp_path / "dreamer", **small) == 0
    assert read_record(tmp_path / "dreamer").method == "dreamerv2"
