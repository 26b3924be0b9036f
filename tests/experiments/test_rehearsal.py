"""The rehearsal of the full releases' layouts."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest
import rehearsal
import rehearsal_layouts

from ipv_bench.atomic_file import write_json
from pipelines.datasets.split_archive import list_members
from tests.experiments.runs_of_scripts import quick


def test_the_rehearsed_archive_is_a_tar_as_others_read_it(tmp_path: Path) -> None:
    found = rehearsal_layouts.ssv2_archive(tmp_path / "raw", 0.0005)
    pieces = sorted((tmp_path / "raw").glob(f"{rehearsal_layouts.ARCHIVE}-*"))
    assert len(pieces) == found["pieces"] > 10
    whole = tmp_path / "whole.tgz"
    whole.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(whole, "r:gz") as tar:
        members = {member.name: member.size for member in tar}
        first = tar.extractfile(next(iter(members)))
        assert first is not None
        assert first.read(4) == b"\x1a\x45\xdf\xa3"  # Matroska
    assert len(members) == found["names"]
    listed = list_members(tmp_path / "raw", [piece.name for piece in pieces], ".webm")
    assert {file.path: file.size_bytes for file in listed} == members


def test_a_note_about_what_was_kept_before_is_not_one_about_what_is_kept_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "RESULT", tmp_path / "rehearsal.json")
    old = {"inventory": 1, "dry_run": 1, "killed_job": 1}
    write_json(rehearsal.RESULT, {"note": "by an older form", "releases": {"a": old, "b": old}})
    rehearsal.keep("a", dict.fromkeys(rehearsal.STEPS, 2), whole=True)
    for _ in range(2):
        kept = json.loads(rehearsal.RESULT.read_text())
        assert "note" not in kept
        assert kept["releases"]["b"] == old | {"note": "by an older form", "lacks": ["killed_inventory"]}
        made = kept["releases"]["a"]
        assert set(made) == {*rehearsal.STEPS, "hardware", "packages", "commit"}
        rehearsal.keep("b", {"inventory": 3})  # was cut short: takes the place of nothing
    assert kept["unfinished"]["b"]["inventory"] == 3


def test_a_rehearsal_that_is_stopped_leaves_no_command_behind(tmp_path: Path) -> None:
    """It removes its folders then; a `prepare` that went on would write into them."""
    (tmp_path / "job").mkdir()
    for number in range(2000):  # so many that `prepare` works until it is ended
        (tmp_path / "job" / f"{number}.mp4").write_bytes(b"no video")
    pids = []

    def stopped(pid: int) -> bool:
        pids.append(pid)
        raise SystemExit(143)  # as the handler of SIGTERM does

    with pytest.raises(SystemExit):
        rehearsal.run("prepare", "folder", "--source", str(tmp_path / "job"), "--out", str(tmp_path / "out"),
                      kill_when=stopped)  # fmt: skip
    (pid,) = pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_the_rehearsal_runs() -> None:
    found = quick("rehearsal.py")["releases"]
    assert set(found) == set(rehearsal_layouts.RELEASES)
    for name, release in found.items():
        assert release["killed_job"]["same_files"], name
        assert release["dry_run"]["says"][-1] == "dry run: nothing was written", name
        assert release["inventory"]["items"] > 0, name
