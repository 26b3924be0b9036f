"""`prepare --set name=…`: sets from one reader have names of their own, in tars, runs and exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import read_manifest
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


@pytest.mark.parametrize("name", ["../up", "", "a.b", "a/b", "-" * 101, "ssv2", "folder"])
def test_what_is_no_name_or_another_data_set_is_refused(
    raw: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert run(["prepare", "episodes", "--source", str(raw / "cheetah"), "--set", f"name={name}"]) == 2
    assert "name" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


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
