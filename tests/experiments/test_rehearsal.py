"""The rehearsal of the full releases' layouts."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import rehearsal_layouts

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


@pytest.mark.slow
def test_the_rehearsal_runs() -> None:
    found = quick("rehearsal.py")["releases"]
    assert set(found) == set(rehearsal_layouts.RELEASES)
    for name, release in found.items():
        assert release["killed_job"]["same_files"], name
        assert release["dry_run"]["says"][-1] == "dry run: nothing was written", name
        assert release["inventory"]["items"] > 0, name
