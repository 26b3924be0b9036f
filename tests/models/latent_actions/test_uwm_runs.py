"""UWM through the command line: own features, validation, exact resume, both kinds of adapting, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ipv_bench.analysis_record import read_analysis, read_arrays
from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.run_record import read_record, write_record
from models.features.own import OwnMAE
from models.metrics.latent_actions import (
    LatentActionEvidence,
    LatentActionReport,
    Verdict,
    latent_action_report,
)
from models.pretraining import validation
from models.pretraining.plan import plan_pretraining
from models.pretraining.video_training import VideoTraining
from models.training.checkpoint import load_checkpoint
from tests.models.latent_actions.small_uwm import READ, SIZES
from tests.models.pretraining.half_batches import train_on_halves
from tests.models.pretraining.small_pretraining import (
    exit_code,
    learned,
    rank_environments,
    small_labelled_set,
    small_shard_set,
    start,
    weights,
)
from tests.models.training.test_compiled_update import trace_only

FAST: dict[str, Any] = {
    "data.length": 5, "data.batch_size": 4, "data.workers": 0, "data.holdout": 0.3, "training.updates": 4,
    "training.log_every": 2, "training.checkpoint_every": 2, "training.tensorboard": False, "training.threads": 1,
    "validation.every": 2, "validation.segments": 4, "validation.warmup": 2, "validation.strips": 1,
}  # fmt: skip
MODEL = {key: value for key, value in READ.items() if key != "adapter"}


FICC: dict[str, Any] = {
    "loss": "ficc", "extractor": MODEL["extractor"] | {"num_codes": 1}, "features": {"kind": "own", "own": {
        key: value for key, value in MODEL["features"]["own"].items() if key not in ("updates", "batch_size")}},
}  # fmt: skip
"""It fits no features before its first update."""


def command(words: list[str], data: Path, folder: Path, **changes: Any) -> list[str]:
    values = FAST | {key.replace("__", "."): value for key, value in changes.items()}
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return [*words, "--data", str(data), "--run", str(folder), *sets, "--quiet"]


def pretrain(data: Path, folder: Path, **changes: Any) -> list[str]:
    return command(["pretrain"], data, folder, **MODEL | changes)


def adapt(parent: Path, data: Path, folder: Path, **changes: Any) -> list[str]:
    own = {} if changes.get("parts") == "dynamics" else {"adapter": SIZES["adapter"]}
    return command(["adapt", str(parent)], data, folder, **own, **changes)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    path = latest_checkpoint(folder)
    assert path is not None
    return load_checkpoint(path).model


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen labelled videos, 32 x 32, with actions of two components."""
    return small_labelled_set(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def finished(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert run(pretrain(labelled, folder)) == 0
    return folder


def test_what_a_run_leaves(finished: Path) -> None:
    record = read_record(finished)
    assert (record.method, record.display_name, record.status) == ("uwm", "UWM", "finished")
    assert record.pretraining["kind"] == "latent_actions"
    lines = learned(finished)
    assert {"state_loss", "quantizer_loss", "perplexity"} <= {key for line in lines for key in line}
    validations = [line for line in lines if "open_loop_mse" in line]
    assert [line["updates"] for line in validations] == [0, 2, 4]
    for line in validations:
        assert line["latent_action_verdict"] in get_args(Verdict)
        assert len(line["latent_action_shuffle_ratio_by_step"]) == 3
        assert {"latent_action_bits", "latent_action_r2_action", "validation_image_loss"} <= line.keys()
        assert len(line["latent_action_open_loop_error"]) == 3
        assert "validation_kl" not in line
    assert tensors(finished)["features.fitted"] == 1


def test_codes_are_counted_on_more_held_out_segments_than_are_predicted(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """As many steps as the codebook needs, or as the held-out videos have: else its use cannot be told."""
    seen: list[LatentActionEvidence] = []

    def judged(evidence: LatentActionEvidence) -> LatentActionReport:
        seen.append(evidence)
        return latent_action_report(evidence)

    monkeypatch.setattr(validation, "latent_action_report", judged)
    once = {"training__updates": 1, "validation__segments": 2}
    assert run(pretrain(labelled, tmp_path / "small", **once)) == 0
    for evidence in seen:
        assert evidence.codes is not None
        assert evidence.own_error.shape == (2, 3)
        assert evidence.codes.shape == (2 + 3 * 4, 4, 3)  # 56 steps are the first number from 4 x 12 codes on
        assert len(np.unique(evidence.codes[2:].reshape(12, -1), axis=0)) > 1
    seen.clear()
    large = {"quantizer__codes": 4096, "data__holdout": 0.001, "data__fewest_held_out": 1}
    assert run(pretrain(labelled, tmp_path / "large", **once, **large)) == 0
    steps = seen[-1].code_steps
    assert steps is not None
    assert seen[-1].codes is not None
    assert steps < 4096  # of one video
    assert steps <= seen[-1].codes[..., 0].size < steps + 16  # no more than one batch above what there is


def test_pairs_are_kept_for_the_figures(finished: Path, tmp_path: Path) -> None:
    before, after = read_analysis(finished / "pairs_before"), read_analysis(finished / "pairs")
    assert (before.config["updates"], after.config["updates"]) == (0, 4)
    arrays = read_arrays(finished / "pairs")
    assert arrays["prediction"].shape == arrays["observation"].shape == (1, 32, 32, 3)
    assert arrays["prediction_mse_to_next"].shape == (4,)
    numbers = after.numbers["models"]["UWM"]
    assert numbers["prediction_mse_to_next"] == pytest.approx(arrays["prediction_mse_to_next"].mean(), rel=1e-5)
    assert (
        f"{numbers['prediction_lpips_nearer_next' if after.config['lpips'] else 'prediction_mse_nearer_next']} of 4"
        in (after.verdicts[0])
    )
    words = ["report", str(finished), "--out", str(tmp_path), "--figures", "uwm_fig3,uwm_table1", "--quiet"]
    assert run([*words, "--resamples", "20"]) == 0
    assert (tmp_path / "figures" / "uwm_fig3.svg").is_file()
    rows = (tmp_path / "figures" / "uwm_table1.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["to O(t)", "to O(t+1)"]


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    labelled: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = VideoTraining.step

    def step(self: VideoTraining, batch: Any) -> dict[str, float]:
        if self.updates == 3:  # after the checkpoint of update 2
            raise KeyboardInterrupt
        return real(self, batch)

    fitted = OwnMAE.loss

    def ended(self: OwnMAE, *seen: Any) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return fitted(self, *seen)

    def refused(*seen: Any) -> torch.Tensor:
        raise AssertionError("the features are trained once")

    def at_once(self: VideoTraining, batch: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(OwnMAE, "loss", ended)
        assert run(pretrain(labelled, folder)) == 130
    assert (read_record(folder).status, latest_checkpoint(folder)) == ("interrupted", None)
    with monkeypatch.context() as patch:
        patch.setattr(VideoTraining, "step", at_once)
        assert run(pretrain(labelled, folder)) == 130
    assert tensors(folder)["features.fitted"] == 1  # kept as soon as they were trained
    monkeypatch.setattr(OwnMAE, "loss", refused)
    with monkeypatch.context() as patch:
        patch.setattr(VideoTraining, "step", step)
        assert run(pretrain(labelled, folder)) == 130
    assert run(pretrain(labelled, folder)) == 0
    assert weights(folder) == weights(finished)
    assert learned(folder) == learned(finished)


def test_a_domain_then_actions(labelled: Path, finished: Path, tmp_path: Path, capsys: Any) -> None:
    domain, adapted = tmp_path / "domain", tmp_path / "adapted"
    unlabelled = small_shard_set(tmp_path / "videos")
    assert run(adapt(finished, unlabelled, domain, parts="dynamics", num_sequences=3, num_segments=5)) == 0
    before, after = tensors(finished), tensors(domain)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"extractor", "quantizer", "dynamics", "copy_error"}
    assert any("latent_action_verdict" in line for line in learned(domain))
    assert run(adapt(finished, labelled, tmp_path / "labelled domain", parts="dynamics", num_sequences=3)) == 0
    assert any("latent_action_r2_action" in line for line in learned(tmp_path / "labelled domain"))
    assert run(adapt(domain, labelled, adapted, num_sequences=4)) == 0
    record = read_record(adapted)
    assert record.model_extra["adaptation"]["parts"] == "adapter"
    assert record.model_extra["adaptation"]["action_dim"] == 2
    last = tensors(adapted)
    assert all(torch.equal(value, last[name]) for name, value in after.items())
    lines = [line for line in learned(adapted) if "validation_copy_ratio" in line]
    assert [line["updates"] for line in lines] == [0, 2, 4]
    assert {"validation_adapter_loss", "validation_equal_codes", "validation_shuffle_ratio"} <= lines[0].keys()
    assert all(len(line["feature_shuffle_ratio_by_step"]) == 3 for line in lines)
    assert {"action_prediction", "prediction"} <= read_arrays(adapted / "pairs").keys()
    words = ["report", str(domain), str(adapted), "--out", str(tmp_path / "report"), "--resamples", "20", "--quiet"]
    assert run([*words, "--figures", "uwm_fig4,uwm_fig5"]) == 0
    lines = (tmp_path / "report" / "figures" / "uwm_fig4.csv").read_text()
    assert "W pre" in lines
    assert "W ft" in lines
    assert "W tfs" not in lines  # the run from scratch was not given
    page = (tmp_path / "report" / "report.html").read_text()
    assert "fine-tuned on 5 fixed segments" in page
    assert "seed 0, 4 updates" in page
    wide = tmp_path / "wide"
    capsys.readouterr()
    assert run(adapt(finished, labelled, wide, data__every_frames=3, training__updates=1)[:-1]) == 0  # not --quiet
    assert re.search(
        r"update 1: (warning: )?real actions: (ignored|heeded) \(shuffle ratio of f", capsys.readouterr().out
    )
    assert read_record(wide).model_extra["adaptation"]["action_dim"] == 6  # three steps between two frames
    assert run(adapt(wide, labelled, tmp_path / "narrow", data__every_frames=1)) == 2
    assert "2 components, the model was adapted to 6" in capsys.readouterr().err
    anew = adapt(wide, labelled, tmp_path / "anew", data__every_frames=1, weights="random", training__updates=1)
    assert run(anew) == 2
    assert "or set parts=dynamics first" in capsys.readouterr().err
    assert run(adapt(finished, unlabelled, tmp_path / "blind")) == 2
    assert "no tracks: it is an unlabelled set" in capsys.readouterr().err
    anew = adapt(finished, labelled, tmp_path / "new", parts="dynamics", weights="random", training__updates=1)
    assert run(anew) == 0
    capsys.readouterr()
    assert run(adapt(finished, labelled, tmp_path / "other", extractor__inputs="tokens")) == 2
    assert "trained as something else" in capsys.readouterr().err


def test_numbers_of_pairs_are_measured_where_no_picture_is_kept(labelled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(pretrain(labelled, folder, validation__strips=0, training__updates=2)) == 0
    assert not list(folder.glob("videos/*"))
    for when in ("pairs_before", "pairs"):
        [numbers] = read_analysis(folder / when).numbers["models"].values()
        assert numbers["pairs"] == FAST["validation.segments"]
        assert np.isfinite(numbers["prediction_mse_to_next"])
    words = ["report", str(folder), "--out", str(tmp_path / "report"), "--figures", "uwm_table1,uwm_fig3", "--quiet"]
    assert run([*words, "--resamples", "20"]) == 0
    rows = (tmp_path / "report" / "figures" / "uwm_table1.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["to O(t)", "to O(t+1)"]


def test_what_a_run_trained_beside_its_parts_is_not_the_next_ones_business(
    labelled: Path, finished: Path, tmp_path: Path, capsys: Any
) -> None:
    tuned, again = tmp_path / "tuned", tmp_path / "again"
    adapter = {"parts": "adapter", "adapter.finetune_decoder": True}
    assert run(command(["adapt", str(finished)], labelled, tuned, **adapter)) == 0
    assert run(command(["adapt", str(tuned)], labelled, again, parts="adapter")) == 0
    assert read_record(again).config["adapter"]["finetune_decoder"] is False
    record = read_record(again)
    own = record.config["features"]["own"] | {"heads": 4}  # no shape shows it
    other = record.config | {"features": record.config["features"] | {"own": own}}
    write_record(again, record.model_copy(update={"config": other}))
    capsys.readouterr()
    assert run(command(["adapt", str(again)], labelled, tmp_path / "no", parts="adapter")) == 2
    assert "features.own.heads is 2 there and 4 here" in capsys.readouterr().err
    for words, change in (
        ("preset is paper, and the model is that of", {"preset": "paper"}),
        ("features.own.updates is set, and the features are those of the run", {"features.own.updates": 9}),
    ):
        assert run(command(["adapt", str(finished)], labelled, tmp_path / "no", **change)) == 2
        assert words in capsys.readouterr().err


def test_a_vision_model_from_a_folder_end_to_end(labelled: Path, tmp_path: Path, capsys: Any) -> None:
    """A DINOv2 with the weights of its file: pre-trained on, resumed, adapted to actions, moved, and not exchanged."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    for seed, name in enumerate(("dino", "other")):
        torch.manual_seed(seed)
        transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).save_pretrained(tmp_path / name)
    own = {"features": {"kind": "vision", "name": str(tmp_path / "dino"), "pixels": SIZES["features"]["pixels"]}}
    model = {**{key: value for key, value in MODEL.items() if key != "features"}, **own}
    folder, short = tmp_path / "run", {"training.updates": 2, "validation.every": 2}
    line = command(["pretrain"], labelled, folder, **model, **short)
    assert run(line) == 0
    found = tensors(folder)
    assert not any(name.startswith("features.network") for name in found)  # 1 GB of somebody else's weights is not ours
    assert any(name.startswith("pixels.") for name in found)
    assert any("latent_action_verdict" in line for line in learned(folder))
    assert read_arrays(folder / "pairs")["prediction"].shape == (1, 32, 32, 3)
    (tmp_path / "dino").rename(tmp_path / "moved")
    moved = {"features.name": str(tmp_path / "moved")}
    adapted = tmp_path / "adapted"
    assert run(adapt(folder, labelled, adapted, **short)) == 2  # its features are gone
    assert run(adapt(folder, labelled, adapted, **short, **moved)) == 0
    after = tensors(adapted)
    assert all(torch.equal(value, after[name]) for name, value in found.items())
    assert any("validation_feature_shuffle_ratio" in line for line in learned(adapted))
    assert run(adapt(folder, labelled, tmp_path / "x", **short, **{"features.name": str(tmp_path / "other")})) == 2
    (tmp_path / "moved").rename(tmp_path / "gone")
    capsys.readouterr()
    again = [word for word in adapt(folder, labelled, adapted, **short, **moved) if word != "--quiet"]
    assert run(again) == 0  # complete: it needs no features any more
    assert "nothing to do" in "".join(capsys.readouterr())


def test_what_does_not_fit_is_refused(labelled: Path, finished: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "run"
    for words, line in (
        ("takes image.size 64", pretrain(labelled, folder, image__size=64)),
        ("does not say how fast its frames follow", pretrain(labelled, folder, data__every_seconds=0.2)),
        ("segments=1 leaves no other segment", pretrain(labelled, folder, validation__segments=1)),
        ("segments=1 leaves no other segment", adapt(finished, labelled, folder, validation__segments=1)),
        ("uwm has no agent", ["finetune", "--task", "dmc/walker_walk", "--set", "method=uwm", "--init", "none"]),
        ("part of uwm to train 'world_model'", adapt(finished, labelled, folder, parts="world_model")),
    ):
        capsys.readouterr()
        assert run(line) == 2, words
        assert words in capsys.readouterr().err
        assert not folder.exists(), words  # the corrected command would find a run of another config there


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, FICC], ids=["state", "ficc"])
def test_two_ranks_train_one_model(labelled: Path, finished: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Both hold one codebook, restarted and counted alike, and all of it is what one process makes of half batches."""
    folder = tmp_path / "run"
    places = [tmp_path / f"rank{rank}.safetensors" for rank in (0, 1)]
    line = pretrain(labelled, folder, **changes)
    children = [start(line, env=env, keep=keep) for env, keep in zip(rank_environments(2), places, strict=True)]
    assert [exit_code(child) for child in children] == [0, 0]
    record = read_record(folder)
    assert (record.world_size, record.status) == (2, "finished")
    lines = learned(folder)
    assert all("skipped_segments" not in each for each in lines)
    assert [each["updates"] for each in lines if "latent_action_verdict" in each] == [0, 2, 4]
    found, alone = tensors(folder), tensors(finished)
    learned_first = {} if changes else {name: alone[name] for name in alone if name.startswith("features.")}
    for name, value in learned_first.items():  # before the first update: what one process makes of these videos
        assert torch.equal(found[name], value), name
    overrides = {**FAST, **MODEL, **{key.replace("__", "."): value for key, value in changes.items()}}
    config = plan_pretraining("tiny", overrides=overrides, data=[labelled]).config
    training = train_on_halves(config, 0, learned_first, summed=("quantizer.usage",))
    ranks = [load_file(place) for place in places]
    for name, value in training.model.state_dict().items():
        assert torch.equal(found[name], value), name
        assert torch.equal(ranks[0][name], value), name
        if name != "copy_error":  # rank 0's stands for both where the next update begins
            assert torch.equal(ranks[1][name], value), name
    used = found["quantizer.usage"]
    assert len(used.unique()) > 1  # something was counted


def test_adapting_is_compiled_like_pretraining_and_is_one_process(
    labelled: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    short = {"training__updates": 2, "validation__every": 0}
    assert run(adapt(finished, labelled, tmp_path / "plain", **short)) == 0
    with monkeypatch.context() as patch:
        trace_only(patch)
        assert run(adapt(finished, labelled, tmp_path / "compiled", **short, training__compile=True)) == 0
    plain, compiled = tensors(tmp_path / "plain"), tensors(tmp_path / "compiled")
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-4, atol=1e-5, msg=name)
    for name, value in rank_environments(2)[1].items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    assert run(adapt(finished, labelled, tmp_path / "ranks")) == 2
    assert "adapt was started by torchrun" in capsys.readouterr().err
    assert not (tmp_path / "ranks").exists()
