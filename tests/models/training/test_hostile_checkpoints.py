"""Checkpoints that somebody made to be loaded by us: refused by name and place, whatever field holds what."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from ipv_bench.checkpoint_index import checkpoint_sha256
from ipv_bench.errors import CheckpointError
from ipv_bench.file_names import shown
from models.training.checkpoint import load_checkpoint, save_checkpoint, state_errors
from tests.hostile_files import HOSTILE_JSON, HOSTILE_NAMES


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "run", 7, {"a": torch.zeros(2)}, {"b": torch.zeros(1)}, {"counters": {}})


def rewrite(path: Path, **changes: object) -> None:
    index = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps(index | changes))


def store(path: Path, name: str, data: bytes) -> None:
    """Put a file into the checkpoint with the size and hash that its index then lists."""
    (path / name).write_bytes(data)
    index = json.loads((path / "checkpoint.json").read_text())
    index["files"][name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rewrite(path, files=index["files"])


@pytest.mark.parametrize(
    "name", [name for name in HOSTILE_NAMES if isinstance(name, str)], ids=lambda name: shown(name, 20)
)
def test_files_are_named_by_names(checkpoint: Path, name: str) -> None:
    (checkpoint.parent / "evil").write_bytes(b"x")
    files = json.loads((checkpoint / "checkpoint.json").read_text())["files"]
    rewrite(checkpoint, files=files | {name: {"size_bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}})
    with pytest.raises(CheckpointError, match=r"checkpoint\.json"):
        load_checkpoint(checkpoint)


def test_a_link_out_of_the_checkpoint_is_not_followed(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes((checkpoint / "state.json").read_bytes())
    (checkpoint / "state.json").unlink()
    (checkpoint / "state.json").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("kind", HOSTILE_JSON)
@pytest.mark.parametrize("file", ["checkpoint.json", "state.json"])
def test_hostile_json_is_refused_by_name(checkpoint: Path, kind: str, file: str) -> None:
    text = HOSTILE_JSON[kind].encode()
    if file == "state.json":
        store(checkpoint, file, text)
    else:
        (checkpoint / file).write_bytes(text)
    with pytest.raises(CheckpointError, match=file) as caught:
        load_checkpoint(checkpoint)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "changes",
    [
        {"format": None}, {"format": "1"}, {"format": [1]}, {"step": None}, {"step": -1}, {"step": "x"},
        {"files": None}, {"files": []}, {"files": {}}, {"files": {"model.safetensors": None}},
        {"files": {"model.safetensors": {"size_bytes": -1, "sha256": ""}}},
        {"files": {"run.py": {"size_bytes": 0, "sha256": ""}}},
    ],
    ids=str,
)  # fmt: skip
def test_fields_of_the_wrong_kind_are_refused(checkpoint: Path, changes: dict[str, object]) -> None:
    rewrite(checkpoint, **changes)
    with pytest.raises(CheckpointError, match=r"checkpoint\.json|checkpoint format"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("data", [b"", b"\x00" * 8, b"\xff" * 8 + b"{}", b"PK\x03\x04", b"\x80\x04K\x01."])
def test_tensors_that_are_none_are_refused(checkpoint: Path, data: bytes) -> None:
    store(checkpoint, "model.safetensors", data)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(checkpoint)


def test_an_absent_index_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint\.json cannot be read"):
        checkpoint_sha256(tmp_path)


def test_a_state_of_another_kind_of_run_is_named(tmp_path: Path) -> None:
    for state in ({}, {"counters": None}, {"counters": [1]}):
        with pytest.raises(CheckpointError, match=r"state\.json is not the state"), state_errors(tmp_path):
            int(state["counters"]["updates"])
