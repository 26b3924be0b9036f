"""`verify` passes what was written and finds every change to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import ShardSetError, UsageError
from ipv_bench.shard_set import (
    FRAMES_FILE,
    LOG_FILE,
    MANIFEST_FILE,
    QUARANTINE_FILE,
    SAMPLES_FILE,
    file_sha256,
    read_manifest,
    write_manifest,
)
from pipelines.shards.verify import verify
from tests.shard_set_maker import Video, make_shard_set

VIDEOS = [Video("b.1", 9), Video("b.2", 8), Video("a/2", 5), Video("ä ö", 12), Video("z", 4)]


@pytest.fixture(scope="module", params=["mjpeg", "raw"])
def intact(request, tmp_path_factory) -> Path:
    size = (16, 16)
    videos = [Video(video.source_id, video.num_frames, size=size) for video in VIDEOS]
    return make_shard_set(tmp_path_factory.mktemp("set") / "set", videos, encoding=request.param, samples_per_shard=2)


@pytest.fixture
def copy(intact, tmp_path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "copy"))


def kinds(folder: Path, decode="all") -> set[tuple[str, str]]:
    return {(finding.kind, finding.file) for finding in verify(folder, decode).findings}


def test_an_intact_set_has_no_findings(intact):
    result = verify(intact, "all")
    assert result.findings == []
    assert (result.num_shards, result.num_samples, result.num_frames) == (3, 5, 38)
    assert result.num_frames_decoded == 38
    assert result.as_json()["ok"]
    assert verify(intact, 2).num_frames_decoded < 38
    assert verify(intact).num_frames_decoded == 0


def test_any_flipped_bit_in_any_file_is_found(copy):
    generator = np.random.default_rng(0)
    for path in sorted(copy.iterdir()):
        original = path.read_bytes()
        places = {0, len(original) - 1, *generator.integers(len(original), size=12).tolist()} if original else set()
        for place in places:
            changed = bytearray(original)
            changed[place] ^= 1 << int(generator.integers(8))
            path.write_bytes(changed)
            try:
                assert verify(copy).findings, f"bit flip at byte {place} of {path.name}"
            finally:
                path.write_bytes(original)
    assert verify(copy).findings == []


def test_every_byte_of_the_manifest_counts(copy):
    path = copy / MANIFEST_FILE
    original = path.read_bytes()
    for place in range(0, len(original), 7):
        changed = bytearray(original)
        changed[place] ^= 4
        path.write_bytes(changed)
        assert verify(copy).findings, f"byte {place}: {bytes(changed[place - 20 : place + 20])!r}"


def test_missing_and_left_over_files_are_named(copy):
    (copy / "numbers-000001.tar").unlink()
    (copy / "numbers-000007.tar").write_bytes(b"old")
    (copy / FRAMES_FILE).unlink()
    (copy / LOG_FILE).write_text("when and where: no part of the set\n")
    result = verify(copy)
    found = {(finding.kind, finding.file) for finding in result.findings}
    assert found == {
        ("missing", "numbers-000001.tar"),
        ("missing", FRAMES_FILE),
        ("leftover", "numbers-000007.tar"),
    }
    assert all("prepare" in f.repair for f in result.findings if f.kind == "missing")


def resign(folder: Path) -> None:
    """Make the manifest's checksums fit the files, as a faulty writer would."""
    manifest = read_manifest(folder)
    manifest.tables = {name: file_sha256(folder / name) for name in manifest.tables}
    for shard in manifest.shards:
        shard.sha256, shard.size_bytes = file_sha256(folder / shard.file), (folder / shard.file).stat().st_size
    manifest.totals["size_bytes"] = sum(shard.size_bytes for shard in manifest.shards)
    write_manifest(folder, manifest)


def change_column(folder: Path, name: str, values: list) -> None:
    table = pq.read_table(folder / SAMPLES_FILE)
    field = table.schema.field(name)
    position = table.schema.get_field_index(name)
    pq.write_table(table.set_column(position, field, [values]), folder / SAMPLES_FILE)


def test_a_stale_index_is_found_though_checksums_fit(copy):
    table = pq.read_table(copy / SAMPLES_FILE)
    offsets = table["stream_offset"].to_pylist()
    change_column(copy, "stream_offset", [offsets[0] + 512, *offsets[1:]])
    resign(copy)
    assert kinds(copy) == {("tar", "numbers-000000.tar")}
    change_column(copy, "stream_offset", offsets)
    pq.write_table(table.slice(0, 4), copy / SAMPLES_FILE)
    resign(copy)
    assert ("tar", "numbers-000002.tar") in kinds(copy)


def test_shards_in_the_wrong_order_are_found_though_checksums_fit(copy):
    first, second = copy / "numbers-000000.tar", copy / "numbers-000001.tar"
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    resign(copy)
    assert {file for _, file in kinds(copy)} == {first.name, second.name}


def test_a_damaged_frame_is_found_though_checksums_fit(tmp_path):
    folder = make_shard_set(tmp_path / "set", [Video("a", 3), Video("b", 3)])
    path = folder / "numbers-000000.tar"
    data = bytearray(path.read_bytes())
    data[data.rindex(b"\xff\xc0") + 6] = 8  # the last frame's header says 8 pixels high
    path.write_bytes(data)
    resign(folder)
    assert kinds(folder) == {("decode", path.name)}
    assert kinds(folder, decode=1) == set()  # the first sample only


def test_wrong_totals_and_lists_are_found(copy):
    (copy / QUARANTINE_FILE).write_text('{"source_id": "x"}\n')
    resign(copy)
    manifest = read_manifest(copy)
    manifest.totals["num_frames"] += 1
    write_manifest(copy, manifest)
    assert kinds(copy) == {("table", QUARANTINE_FILE), ("table", MANIFEST_FILE)}


def test_what_is_no_shard_set_is_refused(copy, tmp_path):
    with pytest.raises(ShardSetError, match=r"no manifest\.json"):
        verify(tmp_path)
    with pytest.raises(UsageError, match="remote"):
        verify("s3://bucket/set")
    with pytest.raises(UsageError, match="decode is -1") as negative:
        verify(copy, -1)
    assert "decode=0" in negative.value.fix
    manifest = read_manifest(copy)
    manifest.format = 2
    write_manifest(copy, manifest)
    with pytest.raises(ShardSetError, match="format 2"):
        verify(copy)


def test_exit_status_and_json_of_the_command(copy, capsys):
    assert run(["verify", str(copy), "--decode", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    (copy / "numbers-000000.tar").unlink()
    assert run(["verify", str(copy), "--json"]) == 4
    printed = capsys.readouterr()
    (finding,) = json.loads(printed.out)["findings"]
    assert (finding["kind"], finding["file"]) == ("missing", "numbers-000000.tar")
    assert "has 1 defects\n  expected: every file as `prepare` wrote it\n  to do:    " in printed.err
    assert run(["verify", str(copy), "--decode", "some"]) == 2
    message = capsys.readouterr().err
    assert "--decode 'some'\n  expected: all, or a number of samples\n  to do:    `--decode all`" in message
    manifest = read_manifest(copy)
    manifest.format = 2
    write_manifest(copy, manifest)
    assert run(["verify", str(copy)]) == 2
    assert "update ipv-bench" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["{a,b}", "set::two", "$HOME {1..3}"])
def test_folders_may_be_called_as_they_like(intact, tmp_path, name):
    folder = Path(shutil.copytree(intact, tmp_path / name))
    assert verify(folder, "all").findings == []
