"""A damaged set is found by `verify` and made whole again, byte for byte, by the same `prepare` command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.shard_set import LOG_FILE, MANIFEST_FILE


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "rlbench"
    assert run(["sample", str(folder), "--dataset", "rlbench", "--videos", "6", "--quiet"]) == 0
    return folder


def prepare(release: Path, out: Path, quiet: bool = True) -> int:
    command = ["prepare", "rlbench", "--source", str(release), "--out", str(out), "--workers", "1"]
    return run([*command, "--set", "shard_videos=3", *(["--quiet"] if quiet else [])])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOG_FILE}


@pytest.fixture(scope="module")
def intact(release, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "set"
    assert prepare(release, out) == 0
    return out


FILES = (
    "manifest.json",
    "samples.parquet",
    "sources.parquet",
    "frames.npy",
    "quarantine.jsonl",
    "rlbench-000000.tar",
    "rlbench-000001.json",
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_repair(release, intact, tmp_path, capsys, name, damage):
    out = Path(shutil.copytree(intact, tmp_path / "set"))
    path = out / name
    if damage == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 1] = bytes([data[len(data) // 2] ^ 1]) if data else b"\n"
        path.write_bytes(data)
    status = run(["verify", str(out)])
    text = capsys.readouterr()
    if name == MANIFEST_FILE and damage == "missing":
        assert status == 2  # not a complete set: prepare has to finish it
        assert "ipv-bench prepare" in text.err
    else:
        assert status == 4
        assert name in text.out
        assert "run the same `ipv-bench prepare` command again" in text.out
    assert prepare(release, out, quiet=False) == 0
    said = capsys.readouterr().out
    assert "complete and intact" not in said
    if (name, damage) != (MANIFEST_FILE, "missing"):
        assert (
            f"making anew, because damaged or missing: {name.replace('.json', '.tar') if '-0' in name else name}"
            in said
        )
    assert run(["verify", str(out), "--decode", "all", "--quiet"]) == 0
    assert contents(out) == contents(intact)


def test_an_empty_quarantine_list_that_grew_is_found(release, intact, tmp_path):
    out = Path(shutil.copytree(intact, tmp_path / "set"))
    (out / "quarantine.jsonl").write_text("{}\n")
    assert run(["verify", str(out), "--quiet"]) == 4
