"""Wrong usage and wrong input of `pretrain`: exit status 2, and what was found, what was expected, what to do."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ipv_bench.checkpoint_index import checkpoint_steps, latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.run_record import read_record
from ipv_bench.shard_set import FRAMES_FILE, SAMPLES_FILE, file_sha256
from models.training import checkpoint
from tests.models.pretraining.small_pretraining import arguments, learned, small_shard_set
from tests.shard_set_maker import Video, make_shard_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return small_shard_set(tmp_path_factory.mktemp("shards") / "set")


@pytest.fixture(scope="module")
def started(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interrupted run with one checkpoint, at update 2."""
    folder = tmp_path_factory.mktemp("runs") / "started"
    assert run(arguments(data, folder, training__updates=2, validation__every=0)) == 0
    record = json.loads((folder / "run.json").read_text())
    record["config"]["training"]["updates"], record["status"] = 8, "interrupted"
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def copy(started: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(started, tmp_path / "copy"))


def _refused(capsys: pytest.CaptureFixture[str], command: list[str], *words: str, status: int = 2) -> None:
    assert run(command) == status
    message = capsys.readouterr().err
    for word in words:
        assert word in message
    assert "internal error" not in message


PAIRWISE = {
    "method": "prelar", "context.fusion": "none", "rssm.action_dim": 4, "latent_action.consistency_scale": 1.0,
    "data.batch_size": 1, "validation.every": 0, "training.tensorboard": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainng.updates": 1}, ["unknown config key 'trainng.updates'", "training.updates"]),
        ({"method": "contextwn"}, ["method", "contextwm"]),
        ({"data.batch_size": "many"}, ["data.batch_size is 'many'", "a whole number"]),
        ({"training.device": "gpu"}, ["unknown device 'gpu'", "cuda"]),
        ({"training.precision": "fp16", "training.device": "cpu"}, ["fp16", "CUDA", "training.precision=fp32"]),
        ({"data.weights": [1, 2]}, ["data.weights has 2 weights, and data.sets 1 sets"]),
        ({"context.heads": 3}, ["context.heads=3", "divisor"]),
        ({"validation.warmup": 6}, ["validation.warmup 6", "data.length 6"]),
        ({"image.size": 48}, ["32x32 pixels", "image.size 48"]),
        (PAIRWISE, ["consistency_scale", "set data.batch_size=2 or more"]),
        ({"data.length": 40}, ["40 frames or more", "shorter segments"]),
        ({"data.num_videos": 100}, ["100", "fewer videos"]),
        ({"data.labels": ["label9"]}, ["unknown label", "label9", "label0"]),
        ({"data.holdout": 0.999999999}, ["leaves none", "data.holdout=0"]),
    ],
)
def test_wrong_values(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: list[str]
) -> None:
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    _refused(capsys, [*arguments(data, tmp_path / "run"), *sets], *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _refused(capsys, arguments(data, tmp_path / "run", training__device="cuda"), "finds 0 CUDA devices", "device=cpu")


def test_a_set_that_is_named_twice_is_no_mixture(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    (tmp_path / "link").symlink_to(data)
    for again in (str(data), f"{data}/", data.name, f"{data.name}/.", str(tmp_path / "link")):
        command = [*arguments(data, tmp_path / "run"), "--data", again]
        _refused(capsys, command, f"data.sets names {again} twice", "each shard set once", "data.weights")
    remote = [*arguments(data, tmp_path / "run"), "--data", "http://127.0.0.1:9/a", "--data", "http://127.0.0.1:9/a/"]
    _refused(capsys, remote, "data.sets names http://127.0.0.1:9/a/ twice, also as http://127.0.0.1:9/a")
    assert not (tmp_path / "run").exists()


def test_unknown_preset_and_missing_config(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _refused(capsys, ["pretrain", "--preset", "tyni", "--data", str(data)], "unknown pretrain preset 'tyni'", "tiny")
    _refused(capsys, ["pretrain", "--config", str(tmp_path / "no.yaml")], "cannot read the config")


def test_shard_sets_that_cannot_be_used(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _refused(capsys, arguments(tmp_path / "absent", tmp_path / "run"), "absent", "prepare")
    newer = Path(shutil.copytree(data, tmp_path / "newer"))
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    _refused(capsys, arguments(newer, tmp_path / "run"), "format 2", "update ipv-bench")
    damaged = Path(shutil.copytree(data, tmp_path / "damaged"))
    (damaged / SAMPLES_FILE).write_bytes(b"PAR1 no more")
    _refused(capsys, arguments(damaged, tmp_path / "run"), SAMPLES_FILE, "ipv-bench verify")


def test_an_empty_set(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = Path(shutil.copytree(data, tmp_path / "empty"))
    pq.write_table(pq.read_table(empty / SAMPLES_FILE).slice(0, 0), empty / SAMPLES_FILE)
    np.save(empty / FRAMES_FILE, np.zeros(0, np.uint32))
    manifest = json.loads((empty / "manifest.json").read_text())
    manifest["shards"] = []
    manifest["tables"] |= {name: file_sha256(empty / name) for name in (SAMPLES_FILE, FRAMES_FILE)}
    (empty / "manifest.json").write_text(json.dumps(manifest))
    _refused(capsys, arguments(empty, tmp_path / "run"), "has 0 videos", "at least one")


def test_sizes_that_do_not_mix_in_a_batch(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = [Video(f"v{n}", 12, split="", size=(32, 32) if n % 2 else (48, 32)) for n in range(8)]
    mixed = make_shard_set(tmp_path / "mixed", videos)
    own = {"validation__every": 0, "data__holdout": 0, "data__weights": [1000, 1]}
    command = arguments(data, tmp_path / "run", **own)
    command[command.index("--run") : command.index("--run")] = ["--data", str(mixed)]
    _refused(capsys, command, f"{mixed}: 4 of 8 videos have another size (v0 has 32x48 pixels)", "data.crop=32")
    _refused(capsys, [*command, "--set", "data.crop=24"], "data.crop=24 cuts", "image.size 32", "data.crop=32")
    both = ["--set", "data.crop=48", "--set", "image.size=48"]
    _refused(capsys, [*command, *both], f"{data}: 16 of 16 videos are smaller than the crop", "size=short:54")
    assert not (tmp_path / "run").exists()  # a run of the first batches would bind what mends it
    mended = arguments(data, tmp_path / "run", validation__every=0, training__updates=1, rssm__deter=12)
    assert run(mended) == 0
    assert read_record(tmp_path / "run").config["rssm"]["deter"] == 12


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_is_damaged_stops_training_with_its_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    damaged = Path(shutil.copytree(data, tmp_path / "damaged"))
    shard = damaged / "numbers-000001.tar"
    content = bytearray(shard.read_bytes())
    content[1024:] = bytes(len(content) - 1024)
    shard.write_bytes(content)
    command = arguments(damaged, tmp_path / "run", data__workers=workers, validation__every=0)
    _refused(capsys, command, "numbers-000001.tar", "ipv-bench verify")
    record = read_record(tmp_path / "run")
    assert record.status == "failed"
    assert "numbers-000001.tar" in record.failure


def test_another_config_is_refused_with_the_difference(
    data: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(data, copy, validation__every=0)
    _refused(capsys, [*command, "--set", "optimizer.lr=0.5"], "optimizer.lr", "0.001", "0.5", "--run")
    _refused(capsys, [*command, "--seed", "1"], "seed: 0", "1")
    _refused(capsys, arguments(data, copy, validation__every=0, method="apv"), "method", "contextwm", "apv")
    assert checkpoint_steps(copy) == [2]


def test_a_run_that_was_begun_with_a_setting_without_effect_goes_on_with_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, unread = tmp_path / "run", ["--set", "data.weights=[1.0]"]
    command = [*arguments(data, folder, training__updates=2, validation__every=0), *unread]
    with monkeypatch.context() as patch:  # as by a version that did not refuse it
        patch.setattr("models.pretraining.plan.refuse_unread", lambda *found: None)
        assert run(command) == 0
    assert run(command) == 0
    assert "is finished after 2 updates" in capsys.readouterr().out
    new = [*arguments(data, tmp_path / "new", training__updates=2, validation__every=0), *unread]
    _refused(capsys, new, "data.weights is set", "there is one set")


def test_settings_that_say_nothing_about_a_set_are_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told, not refused: sweeps and protocols say them for all sets."""
    small = {"training__updates": 1, "validation__every": 0}
    assert run([*arguments(data, tmp_path / "run", **small), "--set", "data.split=test"]) == 0
    assert "warning: data.split is set, and none of the sets has splits" in capsys.readouterr().err
    splits = ["train", "validation"]
    videos = [Video(f"v{n}", 12, split=splits[n % 2], size=(32, 32)) for n in range(8)]
    parted = make_shard_set(tmp_path / "set", videos)
    assert run([*arguments(parted, tmp_path / "parted", **small), "--set", "data.holdout=0.5"]) == 0
    assert "warning: data.holdout is set, and all sets have a validation split" in capsys.readouterr().err


def test_other_shard_sets_are_refused_and_moved_ones_accepted(
    data: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_shard_set(tmp_path / "other", samples_per_shard=5)
    _refused(capsys, arguments(other, copy, validation__every=0), "other shard sets", "--data")
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    assert run(arguments(moved, copy, validation__every=0, data__workers=1)) == 0
    assert checkpoint_steps(copy)[-1] == 8


def test_checkpoints_that_cannot_be_used(data: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = arguments(data, copy, validation__every=0)
    path = latest_checkpoint(copy)
    assert path is not None
    model = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(model[: len(model) // 2])
    _refused(capsys, command, "model.safetensors is truncated", "delete this checkpoint")
    (path / "model.safetensors").write_bytes(model)
    index = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps(index | {"format": 2}))
    _refused(capsys, command, "checkpoint format 2", "update ipv-bench")


def test_a_checkpoint_of_another_size_is_refused(data: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((copy / "run.json").read_text())
    record["config"]["rssm"]["deter"] = 24
    (copy / "run.json").write_text(json.dumps(record))
    command = arguments(data, copy, validation__every=0, rssm__deter=24)
    _refused(capsys, command, "rssm.deter", "24", "run.json")


def test_a_full_disk_while_saving_keeps_the_last_checkpoint(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, folder = arguments(data, tmp_path / "run"), tmp_path / "run"
    real = checkpoint._write

    def full(path: Path, content: bytes) -> dict[str, Any]:
        if path.parent.name.startswith(".6."):
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write", full)
        _refused(capsys, command, "disk is full", "free some space")
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["2", "4"]
    assert run(command) == 0
    assert [line["updates"] for line in learned(folder) if "loss" in line] == [3, 6]
