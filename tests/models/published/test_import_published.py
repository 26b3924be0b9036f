"""`import-checkpoint`: published names to ours and back, sizes from shapes, and what is refused."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ipv_bench.checkpoint_index import newest_as_recorded
from ipv_bench.cli import run
from ipv_bench.errors import CheckpointError
from ipv_bench.run_record import read_record
from models.methods.base import find_method
from models.pretraining.config import pretrain_config_class
from models.published.import_published import import_published
from models.published.published_names import our_name
from models.training.checkpoint import load_checkpoint
from models.world_models.video import VideoWorldModel
from tests.failing_disk import fail

SIZES = {
    "encoder": {"cnn_depth": 8},
    "decoder": {"cnn_depth": 8},
    "rssm": {"deter": 12, "hidden": 20, "stoch": 4, "discrete": 4, "action_dim": 50},
}


def _published_keys() -> list[str]:
    """Every key that a published pre-training checkpoint may have (two residual layers per stage)."""
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    layer = ["res_block.0.weight", "res_block.3.weight", "identity.0.weight"]
    layer += [
        f"{name}.{what}" for name in ("res_block.1", "res_block.4", "identity.1", "norm_cross_att") for what in norm
    ]
    layer += ["kv_pos_emb", "q_pos_emb"]
    attention = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    layer += [f"cross_attention.att.{name}" for name in attention]
    stages = [f"res{i}.stack.{j}.{name}" for i in range(3) for j in range(2) for name in layer]
    ends = [f"{name}.{what}" for name in ("convin", "convout") for what in ("weight", "bias")]
    rssm = ["_cell._layer", "_cell._norm", "img_in", "img_out_0", "img_dist_0", "obs_out", "obs_dist"]
    keys = [f"wm.encoder.{context}{name}" for context in ("", "cond_") for name in [*ends, *stages]]
    keys += [f"wm.heads.decoder.{name}" for name in [*ends, *stages]]
    return keys + [f"wm.rssm.{name}.{what}" for name in rssm for what in ("weight", "bias")]


def _published(method: str, seed: int = 0) -> tuple[dict[str, Tensor], VideoWorldModel]:
    """A model of ours with random numbers everywhere, and its tensors under their published names."""
    model = VideoWorldModel(pretrain_config_class(method).model_validate({"method": method, **SIZES}))
    generator = torch.Generator().manual_seed(seed)
    own = model.state_dict()
    for name, value in own.items():
        if value.is_floating_point() and "scaling" not in name:
            value.add_(0.05 * torch.rand(value.shape, generator=generator))
    tensors = {}
    for key in _published_keys():
        name = (our_name(key, stacked=False) or "").removeprefix("world_model.")
        if name in own:
            tensors[key] = own[name].clone()
    assert len(tensors) == len(own) - 1  # all but our buffer of the image offset
    return tensors, model


@pytest.mark.parametrize("method", ["contextwm", "apv"])
def test_one_file_comes_back_as_the_same_model(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors, model = _published(method)
    torch.save(tensors, tmp_path / "variables_10.pt")
    assert run(["import-checkpoint", str(tmp_path / "variables_10.pt"), "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "deter 12, hidden 20, 4x4 latents" in said
    command = shlex.split(said.partition("start from it: ipv-bench ")[2].splitlines()[0])
    assert run([*command, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["rssm"]["hidden"] == 20
    record = read_record(tmp_path / "run")
    assert (record.kind, record.method, record.status) == ("pretrain", method, "finished")
    assert record.checkpoint == newest_as_recorded(tmp_path / "run") != {}  # which `trace` compares
    config = pretrain_config_class(record.method).model_validate(record.config)
    assert config.rssm.action_dim == 50
    assert config.image.size == 64
    loaded = VideoWorldModel(config)
    loaded.load_state_dict(load_checkpoint(tmp_path / "run" / "checkpoints" / "0").model)
    images = torch.randint(0, 256, (1, 3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    losses = [m.eval().loss(images, torch.Generator().manual_seed(2))[0] for m in (model, loaded)]
    assert torch.isfinite(losses[0])
    assert torch.equal(losses[0], losses[1])
    keys = json.loads((tmp_path / "run" / "import_report.json").read_text())["keys"]
    assert keys.keys() == tensors.keys()


def test_three_files_or_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, _ = _published("contextwm")
    prefixes = {"encoder": "wm.encoder.", "rssm": "wm.rssm.", "decoder": "wm.heads.decoder."}
    for part, prefix in prefixes.items():
        inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        torch.save(inside, tmp_path / f"{part}_variables_600000.pt")
    monkeypatch.chdir(tmp_path)
    by_folder = import_published(tmp_path, tmp_path / "a")
    by_file = import_published(tmp_path / "rssm_variables_600000.pt")
    assert by_file == Path("runs/imported/rssm_variables_600000")
    first, second = (load_checkpoint(folder / "checkpoints" / "0").model for folder in (by_folder, by_file))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    names = load_checkpoint(by_folder / "checkpoints" / "0").state["imported"]  # no places: checkpoints are passed on
    assert set(names) == {f"{part}_variables_600000.pt" for part in prefixes}
    (tmp_path / "decoder_variables_600000.pt").unlink()
    assert run(["import-checkpoint", str(tmp_path / "encoder_variables_600000.pt"), "--out", "b"]) == 2


def test_a_fine_tuned_agent_gives_its_video_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors, _ = _published("apv")
    agent = {key.replace("wm.rssm.", "wm.af_rssm."): value for key, value in tensors.items()}
    agent |= {"wm.rssm.img_in.weight": torch.zeros(3, 3), "_task_behavior.actor.out.std.bias": torch.zeros(4)}
    agent |= {"wm.heads.reward.dense0.weight": torch.zeros(4, 4), "_expl_behavior.actor.out.std.bias": torch.zeros(4)}
    torch.save(agent, tmp_path / "variables.pt")
    assert run(["import-checkpoint", str(tmp_path / "variables.pt"), "--out", str(tmp_path / "run")]) == 0
    assert "4 tensors of the fine-tuned agent are left out" in capsys.readouterr().out
    keys = json.loads((tmp_path / "run" / "import_report.json").read_text())["keys"]
    assert keys["wm.rssm.img_in.weight"] is None
    assert keys["wm.af_rssm.img_in.weight"] == {"name": "action_free_rssm.img_in.weight", "shape": [20, 66]}


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmful",)


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tensors, _ = _published("apv")
    cases: list[tuple[object, list[str]]] = [
        (
            tensors | {"wm.encoder.surprise.weight": torch.zeros(2)},
            ["1 unknown keys", "wm.encoder.surprise.weight (2,)"],
        ),
        (tensors | {"wm.rssm.obs_dist.bias": torch.zeros(3)}, ["obs_logit.bias: (3,) instead of (16,)"]),
        ({k: v for k, v in tensors.items() if k != "wm.rssm.obs_dist.bias"}, ["obs_logit.bias: absent"]),
        ({k: v for k, v in tensors.items() if k != "wm.rssm.img_in.weight"}, ["it has no action_free_rssm.img_in"]),
        (tensors | {"wm.rssm.img_in.weight": torch.zeros(3)}, ["img_in.weight has shape (3,)"]),
        ({"wm.rssm.obs_dist.bias": _Code()}, ["pickled code, which is never run"]),
        (tensors | {"step": 3}, ["no tensors", "step: int"]),
        ([1, 2], ["no tensors", "list"]),
    ]
    for content, words in cases:
        torch.save(content, "variables.pt")
        assert run(["import-checkpoint", "variables.pt", "--out", "run"]) == 2
        message = capsys.readouterr().err
        assert all(word in message for word in words), message
    Path("variables.pt").write_bytes(Path("variables.pt").read_bytes()[:-200])
    assert run(["import-checkpoint", "variables.pt", "--out", "run"]) == 2
    message = capsys.readouterr().err
    assert all(words in message for words in ("truncated", "a whole file of torch.save", "download the file again"))
    assert run(["import-checkpoint", "absent.pt"]) == 2
    message = capsys.readouterr().err
    assert all(words in message for words in ("absent.pt does not exist", "variables*.pt", "correct the path"))
    assert not Path("run").exists()
    assert not Path("harmful").exists()


@pytest.mark.skipif("IPV_BENCH_GOLDEN" not in os.environ, reason="IPV_BENCH_GOLDEN names no folder")
@pytest.mark.parametrize("name", ["tiny_vanilla_pretrain", "tiny_contextwm_finetune_concat"])
def test_reference_parameters_are_taken_over(name: str, tmp_path: Path) -> None:
    with np.load(Path(os.environ["IPV_BENCH_GOLDEN"]) / f"{name}.npz") as arrays:
        tensors = {
            key.removeprefix("param:"): torch.from_numpy(arrays[key].copy())
            for key in arrays.files
            if key.startswith("param:")
        }
    torch.save(tensors, tmp_path / "variables.pt")
    assert run(["import-checkpoint", str(tmp_path / "variables.pt"), "--out", str(tmp_path / "run")]) == 0
    found = load_checkpoint(tmp_path / "run" / "checkpoints" / "0").model
    source = "wm.af_rssm.img_in.weight" if "finetune" in name else "wm.rssm.img_in.weight"
    assert torch.equal(found["action_free_rssm.img_in.weight"], tensors[source])


def _published_prelar(
    inputs: str = "concat", posterior: str = "stochastic"
) -> tuple[dict[str, Tensor], torch.nn.Module]:
    """A model of ours, and its tensors under the names of PreLAR's release, which are written down here once more."""
    values = {**SIZES, "rssm": SIZES["rssm"] | {"action_dim": 6}}
    config = pretrain_config_class("prelar").model_validate(
        {"method": "prelar", **values, "latent_action": {"inputs": inputs, "posterior": posterior}}
    )
    model = find_method("prelar").video_model(config)
    layer = {
        "conv1": "res_block.0", "norm1": "res_block.1", "conv2": "res_block.3", "norm2": "res_block.4",
        "skip_conv": "identity.0", "skip_norm": "identity.1",
    }  # fmt: skip
    rssm = {
        "img_in": "_img_in.0", "gru.linear": "_cell._layer", "gru.norm": "_cell._norm",
        "img_out": "_ensemble_out_layers.0.img_out_0", "img_logit": "_ensemble_out_layers.0.img_out_head_0",
        "obs_out": "_obs_out.0", "obs_logit": "_obs_out.obs_out_head",
    }  # fmt: skip
    parts = {
        "vision.encoder.": "wm.encoder._cnn_net.", "vision.decoder.": "wm.heads.decoder._cnn_nn.",
        "action_encoder.encoder.": "wm.va_encoder.va_encoder._cnn_net.",
    }  # fmt: skip
    single = {
        "vision.decoder.dense": "wm.heads.decoder.convin.0", "vision.decoder.conv_out": "wm.heads.decoder.convout",
        "action_encoder.hidden": "wm.va_encoder.action_in.0", "action_encoder.out": "wm.va_encoder.action_in.2",
    }  # fmt: skip
    tensors = {}
    for name, value in model.state_dict().items():
        if name == "vision.scaling.offset":
            continue
        module, _, what = name.rpartition(".")
        if module in single:
            key = single[module]
        elif name.startswith("rssm."):
            key = "wm.rssm." + rssm[module.removeprefix("rssm.")]
        else:
            prefix = next(ours for ours in parts if name.startswith(ours))
            place = module.removeprefix(prefix)
            if place != "conv_in":
                _, stage, _, number, inner = place.split(".")
                place = f"res{stage}.stack.{number}.{layer[inner]}"
            key = parts[prefix] + place.replace("conv_in", "convin")
        tensors[f"{key}.{what}"] = value.clone()
    return tensors, model


@pytest.mark.parametrize(("inputs", "posterior"), [("concat", "stochastic"), ("catdiff", "deterministic")])
def test_prelars_layout_comes_back_as_the_same_model(inputs: str, posterior: str, tmp_path: Path) -> None:
    tensors, model = _published_prelar(inputs, posterior)
    torch.save(tensors, tmp_path / "variables.pt")
    assert run(["import-checkpoint", str(tmp_path / "variables.pt"), "--out", str(tmp_path / "run")]) == 0
    record = read_record(tmp_path / "run")
    assert (record.method, record.display_name) == ("prelar", "PreLAR")
    own = record.config["latent_action"]
    assert (own["inputs"], own["posterior"], record.config["rssm"]["action_dim"]) == (inputs, posterior, 6)
    loaded = load_checkpoint(tmp_path / "run" / "checkpoints" / "0").model
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def test_prelars_four_files_and_what_is_refused_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors, _ = _published_prelar()
    prefixes = {
        "encoder": "wm.encoder.", "rssm": "wm.rssm.", "decoder": "wm.heads.decoder.", "va_encoder": "wm.va_encoder.",
    }  # fmt: skip
    for part, prefix in prefixes.items():
        inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        torch.save(inside, tmp_path / f"{part}_variables.pt")
    by_folder, by_file = (import_published(file, tmp_path / name) for file, name in (
        (tmp_path, "a"), (tmp_path / "va_encoder_variables.pt", "b"),
    ))  # fmt: skip
    assert read_record(by_folder).method == read_record(by_file).method == "prelar"
    agent = {key: value for key, value in tensors.items() if not key.startswith("wm.va_encoder.")}
    torch.save(agent | {"wm.action_encoder._encoder.0.weight": torch.zeros(3, 4)}, tmp_path / "agent.pt")
    torch.save(tensors | {"wm.va_encoder.surprise": torch.zeros(2)}, tmp_path / "odd.pt")
    lacking = {key: value for key, value in tensors.items() if "action_in.2" not in key}
    torch.save(lacking, tmp_path / "lacking.pt")
    torch.save(tensors | {"wm.va_encoder.action_in.0.bias": _Code()}, tmp_path / "code.pt")
    for name, words in (
        ("agent", "fine-tuned PreLAR agent"), ("odd", "wm.va_encoder.surprise (2,)"),
        ("lacking", "it has no action_encoder.out.weight"), ("code", "pickled code, which is never run"),
    ):  # fmt: skip
        assert run(["import-checkpoint", str(tmp_path / f"{name}.pt"), "--out", str(tmp_path / "c")]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_published_files_that_cannot_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "variables_600000.pt"
    path.write_bytes(b"weights")
    fail(monkeypatch, path, what=("opened",))
    with pytest.raises(CheckpointError, match=r"variables_600000\.pt cannot be read: Input/output error"):
        import_published(path, tmp_path / "run")
