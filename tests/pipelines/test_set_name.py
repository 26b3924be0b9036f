"""`prepare --set name=…`: sets from one reader have names of their own, in tars, runs and exports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ipv_bench.atomic_file import TEMPORARY_SUFFIX
from ipv_bench.cli import run
from ipv_bench.run_record import RunRecord, write_record
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import LOG_FILE, read_manifest, write_manifest
from tests.episode_maker import write_episodes
from tests.pipelines.ssv2_maker import file_hashes


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recordings below data/raw/, in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_episodes(tmp_path / "data/raw/cheetah", (6, 7, 8))
    write_episodes(tmp_path / "data/raw/walker", (9, 5))
    return tmp_path / "data/raw"


def test_a_name_decides_places_tars_and_what_runs_call_the_set(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cheetah", "walker"):
        assert run(["prepare", "episodes", "--set", f"name={name}"]) == 0
    shards = tmp_path / "data/shards"
    manifest = read_manifest(shards / "cheetah")
    assert (manifest.name, manifest.dataset) == ("cheetah", "episodes")
    assert manifest.totals["num_frames"] == 21
    assert [path.name for path in sorted((shards / "cheetah").glob("*.tar"))] == ["cheetah-000000.tar"]
    assert run(["verify", str(shards / "cheetah"), "--source", str(raw / "cheetah")]) == 0
    assert run(["inspect", str(shards / "cheetah")]) == 0
    assert "cheetah, a set of episodes (paper profile" in capsys.readouterr().out
    recorded = open_segments([shards / "cheetah", shards / "walker"], 3, seed=0).shard_sets  # as a run records them
    assert [(one["name"], one["dataset"]) for one in recorded] == [("cheetah", "episodes"), ("walker", "episodes")]


def test_without_a_name_a_set_is_what_it_was(raw: Path, tmp_path: Path) -> None:
    command = ["prepare", "episodes", "--source", str(raw / "cheetah")]
    assert run([*command, "--out", "plain"]) == 0
    assert run([*command, "--out", "named", "--set", "name=episodes"]) == 0
    assert file_hashes(tmp_path / "plain") == file_hashes(tmp_path / "named")
    assert "name" not in read_manifest(tmp_path / "plain").options


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_keeps_its_name(raw: Path, tmp_path: Path, finished: bool, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    command = ["prepare", "episodes", "--source", str(raw / "cheetah"), "--out", str(out)]
    assert run([*command, "--set", "name=cheetah"]) == 0
    if not finished:
        (out / "manifest.json").unlink()
    before = file_hashes(out)
    for other in ([], ["--set", "name=walker"]):
        assert run([*command, *other]) == 2
        assert "cheetah" in capsys.readouterr().err
    assert file_hashes(out) == before
    assert run([*command, "--set", "name=cheetah"]) == 0


@pytest.mark.parametrize("name", ["../up", "a.b", "a/b", "-" * 61, "ssv2", "folder", "none", "published", "2026", "on"])
def test_what_is_no_name_or_another_data_set_is_refused(
    raw: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert run(["prepare", "episodes", "--source", str(raw / "cheetah"), "--set", f"name={name}"]) == 2
    assert "name" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_release_under_the_data_sets_name_is_found_and_one_that_is_nowhere_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_episodes(tmp_path / "data/raw/episodes", (6, 7))
    assert run(["prepare", "episodes", "--set", "name=mine"]) == 0
    assert read_manifest(tmp_path / "data/shards/mine").totals["num_frames"] == 13
    capsys.readouterr()
    assert run(["prepare", "folder", "--set", "name=mine2"]) == 2
    assert "name its place with --source" in capsys.readouterr().err


def test_what_a_killed_job_under_another_name_left_is_removed(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    left = out / f".other-000000.tar.part-5ee0{TEMPORARY_SUFFIX}"
    left.write_bytes(b"half")
    mine = out / ".notes.tmp"
    mine.write_bytes(b"not ours")
    assert run(["prepare", "episodes", "--source", str(raw / "walker"), "--out", str(out)]) == 0
    assert not left.exists()
    assert mine.exists()


@pytest.mark.parametrize("text", ["folder\x1b[31m\n## Licence", "", ["ssv2"], 7, None, "x" * 101])
def test_a_foreign_manifest_cannot_name_a_data_set_that_is_none(
    raw: Path, tmp_path: Path, text: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it says there stands in cards, runs and messages, and decides whether a set may be passed on."""
    out = tmp_path / "out"
    assert run(["prepare", "episodes", "--source", str(raw / "walker"), "--out", str(out)]) == 0
    manifest = read_manifest(out)
    write_manifest(out, manifest.model_copy(update={"options": {**manifest.options, "data_set": text}}))
    capsys.readouterr()
    for command in (["inspect", str(out)], ["export", str(out), "--to", "hf", "--out", "hf", "--set", "licence=mit"]):
        assert run(command) == 2
        message = capsys.readouterr().err
        assert "options.data_set" in message
        assert "\x1b" not in message
    assert not (tmp_path / "hf").exists()


def test_a_renamed_set_without_its_log_is_traced_to_the_data_sets_release(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["prepare", "ssv2", "--set", "name=mine", "--source", str(release)]) == 0
    (tmp_path / "data/shards/mine" / LOG_FILE).unlink()
    capsys.readouterr()
    (tmp_path / "runs").mkdir()
    write_record(tmp_path / "runs", RunRecord(
        kind="pretrain", method="apv", seed=0, preset="tiny", config={}, status="finished",
        shard_sets=open_segments("data/shards/mine", 3, seed=0).shard_sets,
    ))  # fmt: skip
    run(["trace", "runs"])
    assert "the ssv2 release" in capsys.readouterr().out
    (tmp_path / "data/raw").mkdir(parents=True, exist_ok=True)
    (tmp_path / "data/raw/ssv2").symlink_to(release)
    run(["trace", "runs"])
    out = capsys.readouterr().out
    assert re.search("✓ source  .*data/raw/ssv2", out)
    assert "2 of 2 decoded again are equal to what is stored" in out


def test_another_name_passes_on_nothing_that_may_not_be(
    prepared: Path, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SSv2 under another name is SSv2, in sets and in runs."""
    out = tmp_path / "mine"
    assert run(["prepare", "ssv2", "--set", "name=mine", "--source", str(release), "--out", str(out)]) == 0
    assert read_manifest(out).inventory_sha256 == read_manifest(prepared).inventory_sha256
    capsys.readouterr()
    assert run(["export", str(out), "--to", "hf", "--out", str(tmp_path / "hf"), "--set", "licence=mit"]) == 2
    assert "may not be passed on" in capsys.readouterr().err
    assert run(["export", str(out), "--to", "hf", "--out", str(tmp_path / "hf"), "--set", "private=true"]) == 0
    assert "`ipv-bench prepare ssv2 --profile paper`" in (tmp_path / "hf/README.md").read_text()
