"""Damaged videos: none is written with another number of frames, none stops a job, and intact ones are taken."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.faults.fuzz import fuzz
from tests.faults.fuzz_corpus import DAMAGE, FORMATS, make_corpus


def test_one_round_of_damage(tmp_path: Path) -> None:
    found = fuzz(tmp_path, "pyav", rounds=1, seed=0)
    assert found["files"] == len(DAMAGE) * len(FORMATS)
    assert set(found["intact"].values()) == {"same"}
    assert found["wrong_number_of_frames"] == []
    assert found["machine_dependent"] == []
    assert sum(found["outcomes"].values()) == found["files"]
    # A cut file and one without its end can never be whole.
    assert all(what.startswith("quarantined") for kind in ("cut", "tail") for what in found["by_damage"][kind])


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_the_whole_corpus(tmp_path: Path, decoder: str) -> None:
    if decoder == "decord":
        pytest.importorskip("decord")
    found = fuzz(tmp_path, decoder, rounds=13, seed=0)
    assert found["files"] == 715
    assert found["wrong_number_of_frames"] == []
    taken = {path for path, what in found["intact"].items() if what == "same"}
    assert taken >= {path for path in found["intact"] if not (decoder == "decord" and path.endswith(".ts"))}


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    def hashes(folder: Path, seed: int) -> dict[str, str]:
        make_corpus(folder, 1, seed)
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    first = hashes(tmp_path / "a", 1)
    assert first == hashes(tmp_path / "b", 1)
    other = hashes(tmp_path / "c", 2)
    assert sum(first[name] != other[name] for name in first) > len(first) / 2
