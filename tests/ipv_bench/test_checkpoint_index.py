"""Every room takes the same checkpoint for a run's newest, and a damaged newest one is never passed over silently."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from ipv_bench.checkpoint_index import checkpoint_sha256, checkpoint_steps, latest_checkpoint, newest_as_recorded
from ipv_bench.errors import CheckpointError
from ipv_bench.exports.hf_run import newest_checkpoint
from ipv_bench.run_record import RunRecord, write_record
from ipv_bench.tracing.link import Link
from ipv_bench.tracing.start import trace


def save(run: Path, step: int, *, name: str = "") -> Path:
    """A checkpoint of three small files."""
    folder = run / "checkpoints" / (name or str(step))
    folder.mkdir(parents=True)
    files = {}
    for file in ("model.safetensors", "optimizer.safetensors", "state.json"):
        data = f"{file} of {step}".encode()
        (folder / file).write_bytes(data)
        files[file] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "checkpoint.json").write_text(json.dumps({"format": 1, "step": step, "files": files}))
    return folder


@pytest.fixture
def a_run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    save(folder, 5)
    save(folder, 12)
    record(folder)
    return folder


def outside() -> str:
    """An index that lists a file outside beside those of a checkpoint."""
    names = ("model.safetensors", "optimizer.safetensors", "state.json", "../x.safetensors")
    files = {name: {"size_bytes": 1, "sha256": "0" * 64} for name in names}
    return json.dumps({"format": 1, "step": 12, "files": files})


def record(folder: Path) -> None:
    """Write the record of a finished run with the checkpoint that is the newest now."""
    newest = newest_as_recorded(folder)
    facts = {"kind": "pretrain", "method": "m", "seed": 0, "preset": "tiny", "config": {}}
    write_record(folder, RunRecord(**facts, status="finished", checkpoint=newest))


def own(folder: Path) -> Link:
    """The link of the run's own checkpoint."""
    return next(link for link in trace(str(folder)).made_from if link.kind == "checkpoint")


def test_all_rooms_take_the_highest_step(a_run: Path) -> None:
    newest = a_run / "checkpoints" / "12"
    assert latest_checkpoint(a_run) == newest == newest_checkpoint(a_run)[0]
    assert newest_as_recorded(a_run) == {"step": 12, "sha256": checkpoint_sha256(newest)}
    assert (own(a_run).name, own(a_run).state) == (str(newest), "ok")


def test_one_that_is_being_replaced_counts_in_all_rooms(a_run: Path) -> None:
    aside = (a_run / "checkpoints" / "12").rename(a_run / "checkpoints" / ".old-12.ab01.tmp")
    (a_run / "checkpoints" / ".20.ab02.tmp").mkdir()  # it is being written
    assert checkpoint_steps(a_run) == [5, 12]
    assert latest_checkpoint(a_run) == aside == newest_checkpoint(a_run)[0]
    assert newest_as_recorded(a_run)["step"] == 12
    assert (own(a_run).name, own(a_run).state) == (str(aside), "ok")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (None, "has no checkpoint.json"),
        ("{", "JSON"),
        ('{"format": 1, "step": 12, "files": {}}', "lists"),
        ('{"format": 2, "step": 12, "files": {}}', "checkpoint format 2"),
        ('{"format": 1, "step": 12, "files": {"state.json": {"size_bytes": 1, "sha256": "x"}}}', "sha256"),
        (outside(), "'../x.safetensors' is no file name"),
    ],
)
def test_a_damaged_newest_one_is_told_and_not_passed_over(a_run: Path, damage: str | None, words: str) -> None:
    index = a_run / "checkpoints" / "12" / "checkpoint.json"
    index.unlink()
    if damage is not None:
        index.write_text(damage)
    with pytest.raises(CheckpointError) as refused:
        newest_checkpoint(a_run)  # of an export
    assert words in str(refused.value)
    assert damage is None or "restore it from a backup" in refused.value.fix or "update" in refused.value.fix
    assert own(a_run).state == "broken"
    assert str(index.parent) in own(a_run).name
    with pytest.raises(CheckpointError):
        newest_as_recorded(a_run)


def test_a_run_without_any_says_so_everywhere(a_run: Path) -> None:
    shutil.rmtree(a_run / "checkpoints")
    record(a_run)
    assert latest_checkpoint(a_run) is None
    assert newest_as_recorded(a_run) == {}
    assert own(a_run).state == "not here"
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        newest_checkpoint(a_run)
