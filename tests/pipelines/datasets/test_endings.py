"""Every ending that is taken for a video or a picture can be read: a file of its kind gives all its frames."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from ipv_bench.cli import run
from tests.pipelines.ssv2_maker import numbered_pictures, write_video

VIDEOS = {
    ".3g2": ("a.3g2", "mpeg4"), ".asf": ("a.asf", "wmv2"), ".divx": ("a.avi", "mpeg4"), ".f4v": ("a.f4v", "libx264"),
    ".m2t": ("a.ts", "mpeg2video"), ".mk3d": ("a.mkv", "libx264"), ".mpe": ("a.mpg", "mpeg2video"),
    ".qt": ("a.mov", "libx264"), ".vob": ("a.vob", "mpeg2video"),
}  # fmt: skip
"""Ending → a name by which the encoder knows the container, and the codec."""
PICTURES = (".jfif", ".jpe", ".pbm", ".pgm", ".pnm", ".ppm", ".tif", ".tiff")


def test_rarer_endings_are_read(tmp_path: Path) -> None:
    source, out = tmp_path / "raw", tmp_path / "set"
    source.mkdir()
    for ending, (name, codec) in VIDEOS.items():
        write_video(tmp_path / name, numbered_pictures(5), codec=codec, fps=25).rename(source / f"film{ending}")
    for ending in PICTURES:
        (source / ending[1:]).mkdir()
        mode, kind = ("1", "PPM") if ending == ".pbm" else ("L", "PPM") if ending == ".pgm" else ("RGB", None)
        kind = kind or {".pnm": "PPM", ".ppm": "PPM"}.get(ending) or ("TIFF" if "tif" in ending else "JPEG")
        for number in range(5):
            Image.new("RGB", (16, 16), (40 * number, 90, 30)).convert(mode).save(
                source / ending[1:] / f"{number}{ending}", kind
            )
    command = ["prepare", "folder", "--source", str(source), "--out", str(out), "--workers", "1", "--strict"]
    assert run(command) == 0
    rows = pq.read_table(out / "sources.parquet").to_pylist()
    assert {row["path"]: row["num_frames_decoded"] for row in rows} == {
        **{f"film{ending}": 5 for ending in VIDEOS},
        **{ending[1:]: 5 for ending in PICTURES},
    }
