"""Frozen features: networks of `transformers` from local folders, LPIPS backbones, and what is refused."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ipv_bench.cli import run
from ipv_bench.config import build
from ipv_bench.errors import CheckpointError, ConfigError, InputError
from models.features.build import build_features
from models.features.config import FeaturesConfig
from models.features.early_check import check_adapting
from models.features.find_weights import find_model
from models.features.frozen import FrozenFeatures
from models.latent_actions.adapted_features import AdaptedFeatureModel
from models.training.module_tensors import load_tensors
from models.training.optimizer import apply_update
from tests.models.latent_actions.small_uwm import config, draws_of, frames, video_model

SIZE = 32
REAL_MAE = "IPV_BENCH_MAE"
"""Environment variable: folder of published ViT-MAE weights."""


def features(size: int = SIZE, **values: Any) -> FrozenFeatures:
    torch.manual_seed(0)
    return build_features(build(FeaturesConfig, values), size)


def waves(place: int) -> torch.Tensor:
    """What stands for a row or column in half of 16 numbers."""
    angles = [place / 10000 ** (n / 4) for n in range(4)]
    return torch.tensor([math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models of `transformers` with random weights, as `save_pretrained` leaves them."""
    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("models")
    small = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "image_size": SIZE, "patch_size": 8,
    }  # fmt: skip
    decoder = {
        "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
    }  # fmt: skip
    words = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    torch.manual_seed(0)
    made = {
        "mae": transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**small, **decoder)),
        "other_mae": transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**small, **decoder)),
        "dino": transformers.Dinov2Model(transformers.Dinov2Config(**small)),
        "vit": transformers.ViTModel(transformers.ViTConfig(**small)),
        "clip": transformers.CLIPModel(
            transformers.CLIPConfig(
                text_config=words | {"bos_token_id": 0, "eos_token_id": 1}, vision_config=small, projection_dim=8
            )
        ),
        "swin": transformers.SwinModel(
            transformers.SwinConfig(
                embed_dim=8, depths=[1, 1], num_heads=[1, 1], image_size=SIZE, patch_size=4, window_size=4
            )
        ),
        "bert": transformers.BertModel(transformers.BertConfig(**words, intermediate_size=8)),
        "resnet": transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        ),
    }
    for name, network in made.items():
        network.save_pretrained(root / name)
    return {name: root / name for name in made}


def test_tokens_of_a_mae_are_those_of_their_places(folders: dict[str, Path]) -> None:
    found = features(kind="mae", name=str(folders["mae"]))
    images = torch.rand(2, 3, SIZE, SIZE)
    tokens = found.encode(images)
    assert tokens.shape == (2, 17, 16)
    assert (found.extra, found.places, found.width, found.training) == (1, 16, 16, False)
    assert torch.equal(found.encode(images), tokens)  # its own shuffling would make another order each time
    network: Any = found.network
    scaled, ascending = (images - found.mean) / found.std, torch.arange(16.0).expand(2, -1)
    embedded = network.vit.embeddings.patch_embeddings(scaled)
    shuffled, _, order = network.vit.embeddings(scaled, noise=ascending)
    assert order.tolist() == [list(range(16))] * 2
    assert torch.allclose(shuffled[:, 1:], embedded + network.vit.embeddings.position_embeddings[:, 1:], atol=1e-6)
    drawn = found.decode(tokens)
    assert drawn.shape == images.shape
    changed = tokens.clone()
    changed[:, 1 + 5] += 10  # the place in row 1, column 1
    difference = (found.decode(changed) - drawn).abs().mean((0, 1)).reshape(4, 8, 4, 8).mean((1, 3))
    assert difference.argmax() == 5


@pytest.mark.parametrize("name", ["dino", "resnet", "vit", "clip", "swin"])
def test_any_vision_model_gives_tokens(folders: dict[str, Path], name: str) -> None:
    found = features(kind="vision", name=str(folders[name]))
    tokens = found.encode(torch.rand(2, 3, SIZE, SIZE))
    assert tokens.shape == (2, found.extra + found.places, found.width)
    assert tokens.mean(-1).abs().max() < 1e-4  # on one scale
    assert not found.has_decoder
    assert found.extra == {"dino": 1, "resnet": 0, "vit": 1, "clip": 1, "swin": 0}[name]
    images = torch.zeros(1, 3, SIZE, SIZE)
    images[:, :, : SIZE // 2] = 1
    rows = found.encode(images)[0, found.extra :].unflatten(0, (math.isqrt(found.places), -1))
    assert (rows[0] - rows[-1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("vit", 64, "takes frames of 32 pixels, and image.size is 64"),
        ("clip", 64, "takes frames of 32 pixels, and image.size is 64"),
        ("dino", 36, "patches of 8 pixels, and image.size is 36"),
        ("bert", SIZE, "gives no tokens of frames: "),
    ],
)
def test_a_model_that_cannot_see_these_frames_is_refused(
    folders: dict[str, Path], name: str, size: int, words: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        features(size, kind="vision", name=str(folders[name]), weights="random")


@pytest.mark.parametrize("kind", ["alex", "vgg"])
def test_backbones_of_lpips_give_tokens(kind: str) -> None:
    found = features(64, kind=kind, weights="random", layer=1)
    tokens = found.encode(torch.rand(2, 3, 64, 64))
    assert tokens.shape == (2, found.places, {"alex": 192, "vgg": 128}[kind])
    assert 0.9 < tokens.var(-1, correction=0).mean() < 1.1


def test_a_model_on_alexnet_learns_to_draw_what_it_sees() -> None:
    model = video_model(features={"kind": "alex", "weights": "random", "layer": 0}, image={"size": 64})
    loss, metrics = model.train()(frames(2, 3, size=64), draws_of(model, 0, 2, 3))
    loss.backward()
    assert "image_loss" in metrics
    assert model.pixels.out.weight.grad.abs().max() > 0
    assert all(value.grad is None for value in model.features.parameters())
    kept = model.state_dict()
    assert any(name.startswith("features.network.convolutions") for name in kept)  # nobody else has them
    assert model.predict(frames(2, 3, size=64), model.infer(frames(2, 3, size=64)).mean, 1).shape == (2, 3, 3, 64, 64)


def test_published_weights_stay_where_they_are(folders: dict[str, Path]) -> None:
    model = video_model(features={"kind": "mae", "name": str(folders["mae"])})
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    assert not any(name.startswith("features.") for name in kept)
    load_tensors(video_model(1, features={"kind": "mae", "name": str(folders["mae"])}), kept, "there")
    other = video_model(features={"kind": "mae", "name": str(folders["other_mae"])})
    with pytest.raises(CheckpointError, match="trained on other features"):
        load_tensors(other, kept, "there")
    random = video_model(features={"kind": "mae", "name": str(folders["mae"]), "weights": "random"})
    positions = random.features.network.decoder.decoder_pos_embed[0, 1:]
    assert len(positions.unique(dim=0)) == len(positions) == 16  # else it would draw each place alike
    torch.testing.assert_close(positions[6], torch.cat([waves(2), waves(1)]))  # row 1, column 2
    assert any(name.startswith("features.network.vit") for name in random.state_dict())


def test_a_published_decoder_that_was_trained_is_kept_from_then_on(folders: dict[str, Path]) -> None:
    """From videos to a domain, to actions with the decoder (Figure 5), to another domain, and from there again."""
    changes = {
        "features": {"kind": "mae", "name": str(folders["mae"])}, "adapter": {"finetune_decoder": True},
    }  # fmt: skip

    def adapted(action_dim: int, parts: str, start: AdaptedFeatureModel | None) -> AdaptedFeatureModel:
        model = AdaptedFeatureModel(config(**changes), video_model(**changes), action_dim, parts)
        if start is not None:
            model.load_adapted(start.state_dict(), "there")
        return model

    def decoder(model: AdaptedFeatureModel) -> dict[str, torch.Tensor]:
        return {key: value for key, value in model.state_dict().items() if key.startswith("features.network.decoder.")}

    domain = adapted(0, "dynamics", None)
    assert not decoder(domain)
    tuned = adapted(2, "adapter", domain)
    published = {key: value.clone() for key, value in decoder(tuned).items()}
    assert published
    [group] = tuned.optimizer_groups()
    positions = tuned.video.features.network.decoder.decoder_pos_embed
    before = positions.clone()
    for update in range(2):
        loss, _ = tuned(frames(), torch.ones(3, 4, 2), draws_of(tuned.video, update))
        loss.backward()
        assert apply_update([group], [loss]).applied
    assert torch.equal(positions, before)  # sines and cosines
    assert not positions.requires_grad
    assert not all(torch.equal(value, published[key]) for key, value in decoder(tuned).items())
    changes["adapter"] = {"finetune_decoder": False}
    again = adapted(0, "dynamics", tuned)
    last = adapted(2, "adapter", again)
    resumed = adapted(2, "adapter", None)
    load_tensors(resumed, last.state_dict(), "its own checkpoint")
    images = frames()
    for model in (again, last, resumed):
        assert all(torch.equal(value, decoder(model)[key]) for key, value in decoder(tuned).items())
    assert torch.equal(resumed.video.shown(resumed.video.encode(images)), tuned.video.shown(tuned.video.encode(images)))
    assert last.optimizer_groups()[0].parameters.keys() == {f"adapter.{key}" for key in last.adapter.state_dict()}


@pytest.mark.parametrize("kind", ["mae", "vision"])
def test_networks_from_folders_stay_what_they_are_while_a_model_learns(folders: dict[str, Path], kind: str) -> None:
    name = folders["mae" if kind == "mae" else "dino"]
    model = video_model(features={"kind": kind, "name": str(name)}).train()
    before = {key: value.clone() for key, value in model.features.network.state_dict().items()}
    group = model.optimizer_group()
    for update in range(2):
        loss, _ = model(frames(), draws_of(model, update))
        loss.backward()
        assert apply_update([group], [loss]).applied
    assert all(torch.equal(value, before[key]) for key, value in model.features.network.state_dict().items())
    assert all(not value.requires_grad and value.grad is None for value in model.features.parameters())


def test_what_is_not_here_or_not_safe_is_refused(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="nor a model in the Hugging Face cache") as missing:
        find_model("facebook/vit-mae-base")
    assert "hf download facebook/vit-mae-base" in missing.value.fix
    cached = tmp_path / "cache" / "models--facebook--vit-mae-base"
    (cached / "snapshots" / "abc123").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc123")
    for name in ("config.json", "model.safetensors"):
        (cached / "snapshots" / "abc123" / name).symlink_to(folders["mae"] / name)
    assert find_model("facebook/vit-mae-base").digest() == find_model(str(folders["mae"])).digest()
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_bytes((folders["mae"] / "config.json").read_bytes())
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        find_model(str(pickled))
    (pickled / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(InputError, match="holds pickled weights"):
        features(kind="mae", name=str(pickled))
    (pickled / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be read.*\n.*transformers\n.*copy the whole folder again"):
        features(kind="mae", name=str(pickled))
    listed = tmp_path / "listed"
    listed.mkdir()
    (listed / "config.json").write_bytes((folders["mae"] / "config.json").read_bytes())
    (listed / "a.bin").write_bytes(b"anything")
    for names, words in (
        ({"vit.x": "a.bin"}, "may hold pickled weights.*\n.*\n.*download the model's safetensors"),
        ({"vit.x": "../a.safetensors"}, "not in the folder\n.*\n.*the whole folder again"),
        ({}, "names no files\n.*weight_map.*\n.*the whole folder again"),
    ):
        (listed / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
        with pytest.raises(InputError, match=words):
            find_model(str(listed))
    (listed / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="changes of another model"):
        find_model(str(listed))
    said = json.loads((folders["mae"] / "config.json").read_text())
    for key, value, words in (
        ("num_channels", 1, "gives no tokens of frames.*\n.*\n.*another model in features.name"),
        ("patch_size", 5, "patches that divide.*\n.*another model in features.name"),
    ):
        (half := tmp_path / key).mkdir()
        (half / "config.json").write_text(json.dumps(said | {key: value}))
        with pytest.raises(ConfigError, match=words):
            features(kind="mae", name=str(half), weights="random")
    with pytest.raises(ConfigError, match="takes frames of 32 pixels, and image.size is 64") as caught:
        features(64, kind="mae", name=str(folders["mae"]))
    assert "--set size=32x32" in caught.value.fix
    assert "--set image.size=32" in caught.value.fix
    with pytest.raises(InputError, match="is a dinov2"):
        features(kind="mae", name=str(folders["dino"]))
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.json").write_bytes((folders["mae"] / "config.json").read_bytes())
    whole = load_file(folders["mae"] / "model.safetensors")
    kept = {name: value for name, value in whole.items() if "decoder" not in name}
    save_file(kept, half / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack decoder.*\n.*\n.*or set features.kind=vision"):
        features(kind="mae", name=str(half))
    with pytest.raises(InputError, match="no LPIPS weights"):
        features(kind="alex", name=str(tmp_path))


SLOW_IMPORTS = """
import sys
from ipv_bench.cli import run
status = run(sys.argv[1:])
print(status, *(name for name in ("torch", "transformers") if name in sys.modules))
"""
"""A command, and which of the modules that take seconds it imported."""


def test_missing_weights_are_told_before_anything_slow_is_imported(folders: dict[str, Path], tmp_path: Path) -> None:
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "cache")}
    adapted = tmp_path / "run"
    adapted.mkdir()
    config = {"features": {"kind": "mae", "name": "nobody/has-this", "weights": "published"}}
    record = {"format": 1, "kind": "pretrain", "method": "uwm", "preset": "tiny", "seed": 0, "config": config}
    (adapted / "run.json").write_text(json.dumps(record))
    data = ["--data", str(tmp_path), "--quiet"]
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.json").write_bytes((folders["mae"] / "config.json").read_bytes())

    def told(*words: str) -> tuple[list[str], str]:
        line = [sys.executable, "-c", SLOW_IMPORTS, *words, *data]
        child = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
        return child.stdout.split(), child.stderr

    for words, said in (
        (["pretrain", "--preset", "paper", "--set", "method=uwm"], "facebook/vit-mae-base is neither a folder nor"),
        (["pretrain", "--set", "method=uwm", "--set", f"features={{kind: vision, name: {half}}}"], "has no model.safe"),
        (["pretrain", "--set", "method=uwm", "--set", "features.kind=mae", "--set", "features.name=./no/such"],
         "./no/such is no folder"),
        (["pretrain", "--set", "method=uwm", "--set", "features.kind=alex", "--set", f"features.name={half}"],
         f"no LPIPS weights (alexnet.ckpt) in {half}"),
        (["adapt", str(adapted / "checkpoints" / "000002")], "nobody/has-this is neither a folder nor"),
        (["analyze", "predict", str(adapted)], "nobody/has-this is neither a folder nor"),
    ):  # fmt: skip
        found, message = told(*words)
        assert found == ["2"], (words, found, message)
        assert said in message, words


def test_missing_weights_are_nothing_to_a_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    features = {"kind": "mae", "name": "nobody/has-this", "weights": "published"}
    record = {"format": 1, "method": "uwm", "preset": "tiny", "seed": 0, "config": {"features": features}}
    adapted = Path("runs", "adapt", "blob", "uwm", "seed0")

    def write(folder: Path, **values: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(record | values))

    def refused(parent: str, run: Path | None, seed: int = 0) -> bool:
        try:
            check_adapting(parent, run, seed, ())
        except InputError:
            return True
        return False

    write(Path("parent"), kind="pretrain", status="finished")
    assert refused("parent", None)
    write(adapted, kind="adapt", status="running", parent={"run": "parent"})
    assert refused("parent", adapted)
    assert refused("parent", None)
    write(adapted, kind="adapt", status="finished", parent={"run": "parent"})
    assert not refused("parent", adapted)
    assert not refused(str(tmp_path / "parent" / "checkpoints" / "000002"), None)
    assert refused("parent", None, seed=1)
    assert refused("parent", Path("another"))
    write(adapted, kind="adapt", status="finished", parent={"run": "another"})
    assert refused("parent", None)


def test_a_dry_run_needs_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pretrain", "--preset", "paper", "--set", "method=uwm", "--dry-run"]) == 0
    assert "facebook/vit-mae-base" in capsys.readouterr().out


@pytest.mark.skipif(REAL_MAE not in os.environ, reason=f"{REAL_MAE} names no folder of ViT-MAE weights")
def test_published_mae_draws_what_it_sees() -> None:
    found = features(224, kind="mae", name=os.environ[REAL_MAE])
    ramp = torch.linspace(0, 1, 224).expand(1, 3, 224, 224)
    assert (found.decode(found.encode(ramp)) - ramp).square().mean() < 0.05
