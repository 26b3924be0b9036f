"""A set that a version began which read fewer endings: the refusal says why the release has grown."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ipv_bench.cli import run


def write_clip(folder: Path, ending: str) -> None:
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (16, 16), (40 * number, 90, 30)).save(folder / f"{number}{ending}")


def test_items_of_endings_that_are_read_only_now_are_told_from_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "raw", tmp_path / "set"
    command = ["prepare", "folder", "--source", str(source), "--out", str(out), "--workers", "1", "--quiet"]
    write_clip(source / "a", ".png")
    assert run(command) == 0
    write_clip(source / "depth", ".tif")
    assert run(command) == 2
    message = capsys.readouterr().err
    assert "begun with 1 source items, the release has 2 now; new: depth" in message
    assert "older versions of ipv-bench left out (.tif)" in message
    write_clip(source / "b", ".png")
    assert run(command) == 2
    message = capsys.readouterr().err
    assert "the release has 3 now; new: b, depth" in message
    assert "older versions" not in message
