"""`prepare folder` on data sets of the hub: videos inside Parquet files, or named by them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import ConfigError, SourceError, UnknownNameError
from ipv_bench.segment_source import SegmentSource
from ipv_bench.shard_set import SOURCES_FILE
from ipv_bench.shard_store import LocalStore
from pipelines.datasets.folder import DATA_SET, FolderConfig
from tests.lerobot_maker import marked_frame, read_marks, write_video

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def video(folder: Path, number: int, length: int) -> bytes:
    path = folder / f"v{number}.mp4"
    write_video(path, [marked_frame(number, frame) for frame in range(length)], 10)
    return path.read_bytes()


def write_table(path: Path, cells: list[dict | None], features: dict | None = None, **columns: list) -> Path:
    table = pa.table({"video": pa.array(cells, CELL), **columns})
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


def items(source: Path, **values: object) -> list:
    return list(DATA_SET.inventory(source, FolderConfig.model_validate(values)).items)


def test_videos_inside_tables_are_read_with_labels_and_splits(tmp_path: Path) -> None:
    data = [video(tmp_path / "made", number, 4 + number) for number in range(4)]
    cells = [{"bytes": one, "path": f"v{number}.mp4"} for number, one in enumerate(data)]
    features = {"video": {"_type": "Video"}, "kind": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    source = tmp_path / "hub"
    write_table(source / "data/train-00000-of-00001.parquet", cells[:3], features, kind=[0, 1, 1])
    write_table(source / "data/validation-00000-of-00001.parquet", [cells[3], None], features, kind=[0, 1])
    out = tmp_path / "set"
    command = ["prepare", "folder", "--source", str(source), "--out", str(out), "--workers", "1", "--quiet"]
    assert run([*command, "--set", "size=native", "--set", "label_from=kind"]) == 0
    read = SegmentSource(LocalStore(out))
    found = [read.frames(video, 0, int(length)) for video, length in enumerate(read.index.video_frames)]
    assert [read_marks(frames) for frames in found] == [[(n, f) for f in range(4 + n)] for n in range(4)]
    assert [read.index.label(number) for number in range(4)] == ["cat", "dog", "dog", "cat"]
    assert [read.index.split(number) for number in range(4)] == ["train"] * 3 + ["validation"]
    rows = pq.read_table(out / SOURCES_FILE).to_pylist()
    assert [(row["source_id"], row["reason"]) for row in rows if row["status"] != "written"] == [
        ("data/validation-00000-of-00001.parquet/000001", "missing")
    ]
    assert {row["codec"] for row in rows if row["status"] == "written"} == {"h264"}


def test_tables_that_only_name_videos_give_them_labels(tmp_path: Path) -> None:
    video(tmp_path / "videos", 0, 3)
    video(tmp_path / "videos", 1, 3)
    cells = [{"bytes": None, "path": "videos/v1.mp4"}, {"bytes": None, "path": "../../etc/passwd"}]
    write_table(tmp_path / "metadata.parquet", cells, caption=["a cube", "nothing"])
    found = items(tmp_path, label_from="caption")
    assert [(item.source_id, item.path, item.label) for item in found] == [
        ("metadata.parquet/000000", "videos/v1.mp4", "a cube"),
        ("metadata.parquet/000001", "metadata.parquet", "nothing"),
        ("videos/v0.mp4", "videos/v0.mp4", ""),
    ]
    assert found[1].problem[0] == "missing"
    assert found[0].size_bytes == (tmp_path / "videos/v1.mp4").stat().st_size


def test_a_folder_of_videos_with_its_metadata_table(tmp_path: Path) -> None:
    for number in (0, 1):
        video(tmp_path / "train", number, 3)
    table = pa.table({"file_name": ["v1.mp4", "v2.mp4"], "text": ["one", "two"]})
    pq.write_table(table, tmp_path / "train/metadata.parquet")
    pq.write_table(pa.table({"file_name": ["a.txt"]}), tmp_path / "other.parquet")
    found = items(tmp_path, label_from="text")
    assert [(item.path, item.label, item.problem is None) for item in found] == [
        ("train/v1.mp4", "one", True),
        ("train/metadata.parquet", "two", False),
        ("train/v0.mp4", "", True),
    ]


def test_what_is_unclear_or_damaged_is_named(tmp_path: Path) -> None:
    data = video(tmp_path / "made", 0, 3)
    cell = {"bytes": data, "path": "a.mp4"}
    source = tmp_path / "hub"
    path = write_table(source / "a.parquet", [cell], other=pa.array([cell], CELL), picture=[b"\xff\xd8\xff\xe0"])
    with pytest.raises(ConfigError, match="2 columns: video, other"):
        items(source)
    assert [item.frames.column for item in items(source, video_column="other")] == ["other"]
    with pytest.raises(UnknownNameError, match="vidoe"):
        items(source, video_column="vidoe")
    with pytest.raises(UnknownNameError, match="captoin"):
        items(source, video_column="video", label_from="captoin")
    path.write_bytes(path.read_bytes()[:-40])
    video(source, 1, 2)
    damaged, whole = items(source)
    assert damaged.problem[0] == "corrupt"
    assert whole.path == "v1.mp4"
    (damaged,) = items(source, video_column="video", label_from="caption")[:1]
    assert damaged.problem[0] == "corrupt"
    assert items(source, label_from="caption")[0] == damaged  # and no word that no table holds videos
    (source / "v1.mp4").unlink()
    path.unlink()
    pq.write_table(pa.table({"numbers": [1, 2]}), path)
    (source / "meta").mkdir()
    (source / "meta/info.json").write_text("{}")
    with pytest.raises(SourceError) as caught:
        items(source)
    assert "prepare lerobot" in caught.value.fix
    with pytest.raises(ConfigError, match="label_from=caption"):
        items(tmp_path / "made", label_from="caption")


AVI, WAVE, GIF = b"RIFF\0\0\0\0AVI LIST", b"RIFF\0\0\0\0WAVEfmt ", b"GIF89a\1\0\1\0"
PNG, WEBP = b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 "
AVIF = b"\0\0\0\x1cftypavif\0\0\0\0mif1avif"


@pytest.mark.parametrize("cells", [[None, AVI], [AVI, None], [b"", GIF], [None] * 40 + [AVI]])
def test_a_column_of_videos_is_known_by_its_first_file(tmp_path: Path, cells: list[bytes | None]) -> None:
    pq.write_table(pa.table({"clip": pa.array(cells, pa.binary())}), tmp_path / "a.parquet")
    assert [item.frames.column for item in items(tmp_path)] == ["clip"] * len(cells)


def test_columns_of_files_that_are_not_taken_are_named(tmp_path: Path) -> None:
    video(tmp_path, 0, 2)
    columns = {"still": [PNG], "preview": [WEBP], "sound": [WAVE], "later": pa.array([None], pa.binary())}
    for name in ("a", "b"):
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    inventory = DATA_SET.inventory(tmp_path, FolderConfig())
    assert [item.path for item in inventory.items] == ["v0.mp4"]
    warnings = {warning.split()[2]: warning for warning in inventory.warnings}
    assert set(warnings) == set(columns)
    assert "2 Parquet files is not taken: it holds pictures" in warnings["preview"]
    assert "it is empty; `--set video_column=later`" in warnings["later"]
    with pytest.raises(ConfigError, match="label_from=still"):
        items(tmp_path, label_from="still")


@pytest.mark.parametrize("other", [GIF, b"\x93NUMPY\1\0", PNG, WAVE, AVIF, None])
def test_what_lies_beside_the_one_column_of_videos_is_noted_without_a_warning(
    tmp_path: Path, other: bytes | None
) -> None:
    mp4 = video(tmp_path / "made", 0, 2)
    (tmp_path / "hub").mkdir()
    pq.write_table(pa.table({"aside": pa.array([other], pa.binary()), "clip": [mp4]}), tmp_path / "hub/a.parquet")
    inventory = DATA_SET.inventory(tmp_path / "hub", FolderConfig())
    assert [item.frames.column for item in inventory.items] == ["clip"]
    assert inventory.warnings == ()
    (note,) = inventory.notes
    assert note.startswith("the column aside of 1 Parquet files is not taken")
