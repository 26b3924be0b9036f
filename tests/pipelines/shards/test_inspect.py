"""`inspect` counts what is there and draws it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from ipv_bench.cli import run
from ipv_bench.errors import OutputError, ShardSetError
from pipelines.shards.inspect_set import inspect
from tests.shard_set_maker import Video, make_shard_set

VIDEOS = [Video(f"v.{n}", 10 + n, "train" if n % 2 else "validation", f"label {n % 3}") for n in range(25)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_shard_set(tmp_path_factory.mktemp("set") / "set", VIDEOS, clip_frames=20)


def test_statistics(folder):
    result = inspect(folder)
    lengths = [video.num_frames for video in VIDEOS]
    assert result.num_videos == 25
    assert result.frames_per_video == {"min": 10, "median": 22, "mean": 22, "max": 34}
    assert sum(count for *_, count in result.histogram) == 25
    assert result.histogram[0] == (10, 12, 3)
    assert result.splits == {"validation": 13, "train": 12}
    assert result.labels == {"label 0": 9, "label 1": 8, "label 2": 8}
    assert result.frame_sizes == {"64x64": result.totals["num_samples"]}
    assert result.hours == pytest.approx(sum(lengths) / 12 / 3600)
    assert result.sources == {"written": 25}
    assert json.loads(json.dumps(result.as_json()))["num_videos"] == 25
    text = "\n".join(result.lines())
    assert "label 0 (9)" in text
    assert "10 … 12" in text


def test_contact_sheet_shows_the_frames(folder, tmp_path):
    inspect(folder, tmp_path / "sheet.png")
    picture = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    height, width = picture.shape[:2]
    assert width > 900
    assert height > 1500  # twelve rows
    assert len(np.unique(picture.astype(int) @ [1, 256, 65536])) > 20
    first = (tmp_path / "sheet.png").read_bytes()
    inspect(folder, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == first


def test_the_command_line_prints_json_and_writes_the_sheet(folder, tmp_path, capsys):
    assert run(["inspect", str(folder), "--json", "--contact-sheet", str(tmp_path / "sheet.png")]) == 0
    assert json.loads(capsys.readouterr().out)["num_videos"] == 25
    assert Image.open(tmp_path / "sheet.png").format == "PNG"
    assert run(["inspect", str(tmp_path / "absent")]) == 2
    assert "ipv-bench prepare" in capsys.readouterr().err


def test_a_sheet_that_cannot_be_written_and_an_absent_set(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        inspect(folder, tmp_path / "file" / "sheet.png")
    with pytest.raises(ShardSetError, match=r"no manifest\.json"):
        inspect(tmp_path)
