"""The scripts of experiments and of the rehearsal: their tiny forms run, and their own parts are right."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import filmed, miniature, rehearsal
from pipelines.datasets.split_archive import list_members

ROOT = Path(__file__).resolve().parents[1]


def quick(script: str, *options: str) -> dict:
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_miniature_makes_its_lines_and_two_equal_reports() -> None:
    found = quick("miniature.py")
    rows = found["tasks"]["dmcr/cheetah_run"]
    assert set(rows) == {"dreamerv2", "contextwm", "contextwm@random", "random"}
    assert all(row["n"] == 1 for name, row in rows.items() if name != "random")
    assert rows["random"]["n"] == 2
    assert found["two_reports_equal"] is True


def test_the_miniature_has_the_runs_of_its_protocol(tmp_path: Path) -> None:
    whole = miniature.replace(miniature.WHOLE, kept=tmp_path)
    runs = miniature.remaining(whole)
    assert len([line for _, line, _ in runs if not line.extra]) == 112
    assert len([line for _, line, _ in runs if line.extra]) == 30
    assert len({miniature.pretrained_path(line, target) for target, line in miniature.remaining_models(whole)}) == 12
    assert not {seed for _, _, seed in runs} & {*miniature.PILOT.seeds, *miniature.GATE.seeds}
    assert all(target not in miniature.videos_of(target, line) for target, line, _ in runs if line.videos == "others")
    target, line, seed = runs[0]
    kept = miniature.kept(whole, miniature.run_path(target, line, seed))
    kept.mkdir(parents=True)
    (kept / "run.json").write_text("{}")
    assert miniature.remaining(whole) == runs[1:]


def test_the_rehearsed_archive_is_a_tar_as_others_read_it(tmp_path: Path) -> None:
    found = rehearsal.ssv2_archive(tmp_path / "raw", 0.0005)
    pieces = sorted((tmp_path / "raw").glob(f"{rehearsal.ARCHIVE}-*"))
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
    assert set(found) == set(rehearsal.RELEASES)
    for name, release in found.items():
        assert release["killed_job"]["same_files"], name
        assert release["dry_run"]["says"][-1] == "dry run: nothing was written", name
        assert release["inventory"]["items"] > 0, name


def test_filmed_clips_are_cut_by_shot(tmp_path: Path) -> None:
    filmed.drawn_clips(tmp_path)
    frames = list(filmed.every_other(tmp_path / "train" / "one.mp4"))
    assert filmed.cuts(np.stack([filmed.small(frame) for frame in frames])) == [30]
    filmed.write_shots(tmp_path / "train" / "one.mp4", tmp_path / "shots")
    assert [path.name for path in sorted((tmp_path / "shots").iterdir())] == ["000-000.mp4", "001-000.mp4"]
    still = np.random.default_rng(0).normal(0.5, 0.01, (50, 12, 12))
    assert filmed.cuts(still) == []
    assert filmed.cuts(still[:1]) == []


@pytest.mark.slow
def test_the_filmed_experiment_runs() -> None:
    models = quick("filmed.py")["models"]
    assert set(models) == {"contextwm/seed1", "apv/seed1"}
    assert set(models["contextwm/seed1"]["verdicts"]) == {"predict", "attention"}
