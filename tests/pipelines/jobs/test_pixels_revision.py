"""Sets whose pixels follow older rules: told apart, readable, never completed by newer ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import MANIFEST_FILE, read_manifest, write_manifest
from pipelines.decoding.pixels_revision import PIXELS_REVISION
from tests.pipelines.ssv2_maker import prepare


@pytest.fixture
def older(prepared: Path, tmp_path: Path) -> Path:
    """A finished set as the first revision would have left it: without a number."""
    out = tmp_path / "older"
    shutil.copytree(prepared, out)
    manifest = read_manifest(out)
    assert manifest.options.pop("pixels") == PIXELS_REVISION
    write_manifest(out, manifest)
    for sidecar in out.glob("ssv2-*.json"):
        values = json.loads(sidecar.read_text())
        del values["options"]["pixels"]
        sidecar.write_text(json.dumps(values))
    return out


def test_a_finished_set_of_the_older_revision_is_read_and_named(older: Path, release: Path, capsys) -> None:
    assert open_segments(older, length=8, seed=0)[0].shape == (8, 64, 64, 3)
    assert run(["inspect", str(older), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pixels"] == 1
    assert run(["inspect", str(older)]) == 0
    assert "pixels revision 1: subsampled colour" in capsys.readouterr().out
    before = (older / MANIFEST_FILE).read_bytes()
    assert prepare(release, older) == 2
    text = capsys.readouterr().err
    assert "pixels of revision 1" in text
    assert "stays readable" in text
    assert (older / MANIFEST_FILE).read_bytes() == before


def test_an_unfinished_set_of_the_older_revision_is_not_completed(older: Path, release: Path, capsys) -> None:
    (older / MANIFEST_FILE).unlink()
    (older / "ssv2-000001.tar").unlink()
    assert prepare(release, older) == 2
    text = capsys.readouterr().err
    assert "ssv2-000000.tar has pixels of revision 1 (subsampled colour at half of its horizontal resolution" in text
    assert f"this ipv-bench makes revision {PIXELS_REVISION} (full chroma" in text
    assert not (older / "ssv2-000001.tar").exists()


def test_a_new_set_names_its_revision(prepared: Path, capsys) -> None:
    assert read_manifest(prepared).options["pixels"] == PIXELS_REVISION
    assert run(["inspect", str(prepared)]) == 0
    text = capsys.readouterr().out
    assert f"pixels revision {PIXELS_REVISION}: full chroma" in text
    assert "decoder    pyav" in text
