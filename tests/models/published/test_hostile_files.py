"""Published checkpoints that are none: empty, cut, of tensors that claim more than the file holds."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch

from ipv_bench.cli import run
from ipv_bench.errors import CheckpointError
from models.published import import_published as module
from models.published.import_published import import_published, infer_config


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def emptied(data: bytes, name: str) -> bytes:
    """The zip with one member replaced by nothing."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            new.writestr(member, b"" if member.endswith(name) else old.read(member))
    return buffer.getvalue()


GOOD = saved({"a": torch.zeros(3)})
FILES = {
    "empty": b"",
    "zeros": bytes(3000),
    "cut": GOOD[: len(GOOD) // 2],
    "no pickle": emptied(GOOD, "data.pkl"),
    "no storage": emptied(GOOD, "data/0"),
    "a zip of nothing": b"PK\x05\x06" + bytes(18),
    "a pickle of text": b"\x80\x04\x8c\x01x.",
    "half a pickle": b"\x80\x02}q\x00(X",
    "a list": saved([torch.zeros(1)]),
    "numbers as keys": saved({1: torch.zeros(1)}),
    "text in it": saved({"a": "b"}),
    "one number a million million times": saved({"a": torch.zeros(1).expand(10**12)}),
    "sparse": saved({"a": torch.zeros(3, 3).to_sparse()}),
    "complex": saved({"a": torch.zeros(3, dtype=torch.complex64)}),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_checkpoint_is_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "variables.pt"
    file.write_bytes(FILES[kind])
    with pytest.raises(CheckpointError, match=r"variables\.pt"):
        import_published(file, tmp_path / "run")
    assert run(["import-checkpoint", str(file), "--out", str(tmp_path / "run")]) == 2
    assert "internal error" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_shapes_that_claim_a_huge_model_are_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Terabytes, were it made."""
    depth, latents = 20_000, 4
    tensors = {
        "vision.encoder.conv_in.weight": torch.zeros(depth, 3, 1, 1),
        "vision.decoder.dense.weight": torch.zeros(1, 1),
        "vision.decoder.conv_out.weight": torch.zeros(depth // 2, 3, 1, 1),
        "action_free_rssm.img_in.weight": torch.zeros(1, latents + 1),
        "action_free_rssm.gru.norm.weight": torch.zeros(3),
        "action_free_rssm.img_logit.weight": torch.zeros(latents, 1),
        "action_free_rssm.obs_out.weight": torch.zeros(1, 4 * depth * 16 + 1),
    }
    assert infer_config(tensors).encoder.cnn_depth == depth
    monkeypatch.setattr(module, "read_published", lambda _: module.Published({}, tensors, {}))
    with pytest.raises(CheckpointError, match="absent from the checkpoint"):
        import_published(tmp_path / "variables.pt", tmp_path / "run")
