"""Checkpoints are complete or absent, and damage is found when they are read."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from ipv_bench.checkpoint_index import BEST, checkpoint_sha256, checkpoint_steps, find_checkpoint, latest_checkpoint
from ipv_bench.errors import CheckpointError, OutputError, RunError
from models.training import checkpoint as module
from models.training import whole_folder
from models.training.checkpoint import load_checkpoint, refuse_unknown_checkpoints, remove_unfinished, save_checkpoint
from models.training.module_tensors import load_tensors

MODEL = {"weight": torch.arange(6.0).reshape(2, 3), "num_batches_tracked": torch.tensor(3)}
OPTIMIZER = {"weight.exp_avg": torch.ones(2, 3)}


def _save(run: Path, step: int, **options: int) -> Path:
    return save_checkpoint(run, step, MODEL, OPTIMIZER, {"updates": step}, **options)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    shared = torch.arange(8.0)
    path = save_checkpoint(
        tmp_path, 7, MODEL, OPTIMIZER, {"updates": 7}, parts={"queue": {"a": shared[:4], "b": shared[:4]}}
    )
    found = load_checkpoint(path)
    assert (found.step, found.state) == (7, {"updates": 7})
    for name, tensor in MODEL.items():
        assert torch.equal(found.model[name], tensor)
        assert found.model[name].dtype == tensor.dtype
    assert torch.equal(found.optimizer["weight.exp_avg"], torch.ones(2, 3))
    assert torch.equal(found.parts["queue"]["b"], torch.arange(4.0))
    assert latest_checkpoint(tmp_path) == path == find_checkpoint(tmp_path) == find_checkpoint(path)


def test_the_same_contents_give_the_same_hash(tmp_path: Path) -> None:
    assert checkpoint_sha256(_save(tmp_path / "a", 1)) == checkpoint_sha256(_save(tmp_path / "b", 1))
    assert checkpoint_sha256(_save(tmp_path / "a", 1)) != checkpoint_sha256(_save(tmp_path / "a", 2))


def test_keep_last_and_keep_every(tmp_path: Path) -> None:
    for step in range(1, 8):
        _save(tmp_path, step, keep_last=2, keep_every=3)
    assert checkpoint_steps(tmp_path) == [3, 6, 7]


def test_a_full_disk_leaves_the_last_complete_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _save(tmp_path, 1, keep_last=1)
    real = os.fsync
    calls = iter(range(100))

    def full(descriptor: int) -> None:
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        _save(tmp_path, 2, keep_last=1)
    assert latest_checkpoint(tmp_path) == kept
    assert load_checkpoint(kept).state == {"updates": 1}
    assert [entry.name for entry in kept.parent.iterdir()] == ["1"]


def test_what_a_killed_save_left_is_no_checkpoint(tmp_path: Path) -> None:
    left = [tmp_path / "checkpoints" / name for name in (".9.123.tmp", ".9.00ff12cdef345678.tmp")]  # older and today's
    for unfinished in left:
        unfinished.mkdir(parents=True)
        (unfinished / "model.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) is None
    _save(tmp_path, 1)
    assert [entry.name for entry in left[0].parent.iterdir()] == ["1"]


def test_processes_of_one_number_on_two_machines_write_different_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's lock does not reach to the other one: each finishes its own folder, and none deletes the other's."""
    folder, real = tmp_path / "checkpoints", module.fsync_folder
    seen: list[set[str]] = []

    def meanwhile(written: Path) -> None:
        if not seen:
            seen.append({entry.name for entry in folder.iterdir()})
            _save(tmp_path, 5)  # as of another process: it has no part in what this one holds open
            _save(tmp_path, 6)
            seen.append({entry.name for entry in folder.iterdir()})
        real(written)

    monkeypatch.setattr(module, "fsync_folder", meanwhile)
    _save(tmp_path, 5)
    assert seen[1] == {*seen[0], "5", "6"}
    assert checkpoint_steps(tmp_path) == [5, 6]
    assert {entry.name for entry in folder.iterdir()} == {"5", "6"}
    assert load_checkpoint(folder / "5").state == {"updates": 5}


@pytest.mark.parametrize("hidden", [".old-5.123.tmp", ".5.123.tmp", ".old-5.00ff.tmp", ".5.00ff.tmp"])
def test_the_only_complete_checkpoint_is_never_deleted(tmp_path: Path, hidden: str) -> None:
    """What a kill between two renames may leave: it gets its name back."""
    path = _save(tmp_path, 5)
    os.rename(path, path.with_name(hidden))
    remove_unfinished(tmp_path)
    assert latest_checkpoint(tmp_path) == path
    assert load_checkpoint(path).state == {"updates": 5}
    assert [entry.name for entry in path.parent.iterdir()] == ["5"]


def test_the_best_evaluations_weights_get_their_name_back_too(tmp_path: Path) -> None:
    best = save_checkpoint(tmp_path, 5, MODEL, {}, {"score": 1}, name=BEST)
    _save(tmp_path, 6)
    os.rename(best, best.with_name(".old-best.123.tmp"))
    _save(tmp_path, 7, keep_last=1)
    assert load_checkpoint(best).state == {"score": 1}
    assert sorted(entry.name for entry in best.parent.iterdir()) == ["7", "best"]


def test_a_checkpoint_that_is_set_aside_counts_until_its_successor_is_there(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    os.rename(path, path.with_name(".old-5.123.tmp"))
    assert checkpoint_steps(tmp_path) == [5]
    assert load_checkpoint(find_checkpoint(tmp_path)).state == {"updates": 5}
    _save(tmp_path, 6, keep_last=1)
    assert [entry.name for entry in path.parent.iterdir()] == ["6"]


def test_an_unfinished_checkpoint_is_not_taken_for_the_only_one(tmp_path: Path) -> None:
    path = _save(tmp_path, 5)
    (path / "state.json").write_text("{}")
    os.rename(path, path.with_name(".5.123.tmp"))
    remove_unfinished(tmp_path)
    assert latest_checkpoint(tmp_path) is None
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_checkpoint_of_the_same_step_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_one_step: bool
) -> None:
    if not in_one_step:
        monkeypatch.setattr(whole_folder, "exchange", lambda first, second: False)
    path = _save(tmp_path, 5)
    save_checkpoint(tmp_path, 5, MODEL, OPTIMIZER, {"updates": 5, "second": True})
    assert load_checkpoint(path).state == {"updates": 5, "second": True}
    assert [entry.name for entry in path.parent.iterdir()] == ["5"]


def test_checkpoints_without_a_run_record_are_refused(tmp_path: Path) -> None:
    refuse_unknown_checkpoints(tmp_path)
    _save(tmp_path, 5)
    with pytest.raises(RunError, match=r"checkpoints \(5\) and no run\.json"):
        refuse_unknown_checkpoints(tmp_path)
    (tmp_path / "run.json").touch()
    refuse_unknown_checkpoints(tmp_path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = _save(tmp_path, 1)
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
        load_checkpoint(path)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = _save(tmp_path, 1)
    data = bytearray((path / "optimizer.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "optimizer.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="changed after it was saved"):
        load_checkpoint(path)


def test_a_newer_format_and_a_listing_outside_the_folder_are_refused(tmp_path: Path) -> None:
    path = _save(tmp_path, 1)
    index = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps(index | {"format": 2}))
    with pytest.raises(CheckpointError, match="checkpoint format 2"):
        load_checkpoint(path)
    index["files"]["../../x"] = {"size_bytes": 0, "sha256": ""}
    (path / "checkpoint.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="no file name"):
        load_checkpoint(path)


def test_no_checkpoint_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        find_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        find_checkpoint(tmp_path / "absent")


def test_another_model_size_shows_the_shapes(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 4)
    with pytest.raises(CheckpointError) as caught:
        load_tensors(layer, {"weight": torch.zeros(2, 3), "extra": torch.zeros(1)}, tmp_path)
    text = str(caught.value)
    assert "weight: (2, 3) instead of (4, 3)" in text
    assert "bias: absent" in text
    assert "extra: not in the model" in text
