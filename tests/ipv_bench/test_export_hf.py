"""`export --to hf` of shard sets: a checked copy with a card, and what may not be shared is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ipv_bench.cli import run
from ipv_bench.errors import RunError
from ipv_bench.exports.checked_copy import checked_copy
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import LOG_FILE, MANIFEST_FILE, read_manifest, write_manifest
from pipelines.shards.verify import verify
from tests.shard_set_maker import Video, make_shard_set, read_numbers

DATASETS_PYTHON = os.environ.get("IPV_BENCH_LEROBOT_PYTHON")
"""A Python with the lerobot package, which brings `datasets`."""
VIDEOS = [Video(f"clip{number}", 30 + number, label="Pulling [something]") for number in range(6)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shard_set(tmp_path_factory.mktemp("sets") / "numbers", VIDEOS)


def export(source: Path, out: Path, *options: str) -> int:
    return run(["export", str(source), "--to", "hf", "--out", str(out), "--quiet", *options])


def card_of(folder: Path) -> tuple[dict, str]:
    _, top, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(top), body


def test_the_copy_is_the_set_with_a_card(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "hf"
    assert export(shards, out, "--set", "licence=cc-by-4.0") == 0
    copied = {path.name: path.read_bytes() for path in out.iterdir()}
    original = {path.name: path.read_bytes() for path in shards.iterdir() if path.name != LOG_FILE}
    assert {name: data for name, data in copied.items() if name != "README.md"} == original
    top, body = card_of(out)
    assert top["license"] == "cc-by-4.0"
    assert top["configs"][0]["data_files"] == [{"split": "train", "path": "*.tar"}]
    assert "6 samples, 195 frames" in body
    assert read_manifest(shards).inventory_sha256 in body
    assert not verify(str(out), 0).findings
    one, two = (open_segments(folder, 5, 3)[0] for folder in (shards, out))
    assert read_numbers(one) == read_numbers(two)


def test_a_set_that_may_not_be_passed_on_needs_a_private_target(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forbidden = shutil.copytree(shards, tmp_path / "ssv2")
    manifest = read_manifest(forbidden).model_copy(update={"name": "ssv2", "licence": "only on application"})
    write_manifest(forbidden, manifest)
    assert export(forbidden, tmp_path / "out", "--set", "licence=mit") == 2
    message = capsys.readouterr().err
    assert "may not be passed on" in message
    assert "private=true" in message
    assert not (tmp_path / "out").exists()
    assert export(forbidden, tmp_path / "out", "--set", "private=true") == 0
    top, body = card_of(tmp_path / "out")
    assert top["license"] == "other"
    assert "only on application" in body
    assert "private target" in body


@pytest.mark.parametrize("name", ["human36m", "ego4d", "youtube-driving"])
def test_other_releases_that_may_not_be_passed_on(name: str) -> None:
    from ipv_bench.exports.licence import not_to_be_passed_on

    assert not_to_be_passed_on(name)
    assert not not_to_be_passed_on("folder")
    assert not not_to_be_passed_on("a-plug-in-that-is-not-installed")


def test_what_is_not_whole_or_has_no_licence_is_refused(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(source: Path, *words: str, options: tuple[str, ...] = ("--set", "licence=mit")) -> None:
        assert export(source, tmp_path / "out", *options) == 2
        message = capsys.readouterr().err
        assert all(word in message for word in words), message
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".out*"))

    refused(shards, "without a licence", "licence=", options=())
    unfinished = shutil.copytree(shards, tmp_path / "unfinished")
    (unfinished / MANIFEST_FILE).unlink()
    (unfinished / LOG_FILE).write_text("{}\n")
    refused(unfinished, "unfinished")
    damaged = shutil.copytree(shards, tmp_path / "damaged")
    tar = damaged / "numbers-000001.tar"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    refused(damaged, "numbers-000001.tar", "verify")
    tar.unlink()
    refused(damaged, "numbers-000001.tar")
    linked = shutil.copytree(shards, tmp_path / "linked")
    (linked / "numbers-000001.tar").unlink()
    (linked / "numbers-000001.tar").symlink_to("/etc/hostname")
    refused(linked, "leads out")
    refused(tmp_path / "none", "does not exist")


def test_text_of_others_cannot_break_the_card(shards: Path, tmp_path: Path) -> None:
    hostile = shutil.copytree(shards, tmp_path / "hostile")
    words = "free\n---\nlicense: mit\n<script>alert(1)</script> | [x](http://y)"
    manifest = read_manifest(hostile).model_copy(
        update={
            "licence": words,
            "counts": [{"rule": words, "ours": 1, "paper": None, "official": None, "note": words}],
        }
    )
    write_manifest(hostile, manifest)
    assert export(hostile, tmp_path / "out", "--set", "licence=other") == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.count("\n---\n") == 1
    assert "<script>" not in text
    assert "[x](" not in text


@pytest.mark.skipif(not DATASETS_PYTHON, reason="IPV_BENCH_LEROBOT_PYTHON names no Python with datasets")
def test_the_datasets_library_reads_it(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "hf"
    assert export(shards, out, "--set", "licence=mit") == 0
    code = (
        "import sys, json, datasets\n"
        "one = datasets.load_dataset('webdataset', data_files={'train': sys.argv[1] + '/*.tar'}, split='train',\n"
        "    cache_dir=sys.argv[2])\n"
        "two = datasets.load_dataset(sys.argv[1], split='train', cache_dir=sys.argv[2])\n"
        "print(json.dumps([[[row['__key__'], row['json']['num_frames'], len(row['mjpeg'])] for row in rows]\n"
        "    for rows in (one, two)]))\n"
    )
    done = subprocess.run(
        [str(DATASETS_PYTHON), "-c", code, str(out), str(tmp_path / "cache")], capture_output=True, text=True,
        timeout=600, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    assert one == two
    assert [row[:2] for row in one] == [[video.source_id, video.num_frames] for video in VIDEOS]


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file that even root cannot read")
def test_a_source_that_cannot_be_read_is_not_called_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.symlink_to("/proc/self/mem")  # its first byte cannot be read
    with pytest.raises(RunError, match="source cannot be read: Input/output error"):
        checked_copy(source, tmp_path / "target", "", error=RunError, fix="restore the file")
