"""`import-checkpoint`: published names to ours and back, sizes from shapes, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ipv_bench.cli import run
from ipv_bench.run_record import read_record
from models.pretraining.config import pretrain_config_class
from models.published.import_published import import_published
from models.published.published_names import our_name
from models.training.checkpoint import load_checkpoint
from models.world_models.video import VideoWorldModel

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
    assert "deter 12, hidden 20, 4x4 latents" in capsys.readouterr().out
    record = read_record(tmp_path / "run")
    assert (record.kind, record.method, record.status) == ("pretrain", method, "finished")
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
    assert "truncated" in capsys.readouterr().err
    assert run(["import-checkpoint", "absent.pt"]) == 2
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
