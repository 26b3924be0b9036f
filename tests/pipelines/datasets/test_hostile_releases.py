"""Label lists, metadata and HDF5 files of releases, made to break what reads them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import InputError, SourceError
from pipelines.datasets.ego4d import _metadata
from pipelines.datasets.file_tree import list_files
from pipelines.datasets.hdf5_array import _write_array, read_array
from pipelines.datasets.ssv2 import SSv2, SSv2Config
from tests.hostile_files import HOSTILE_JSON

PART = np.arange(2 * 17 * 2, dtype=np.float32).reshape(2, 17, 2)


def test_an_array_comes_back_from_the_other_process(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["part"] = PART
    found = read_array(tmp_path / "a.h5", "part")
    assert found.dtype == np.float64
    assert np.array_equal(found, PART)


def hostile_hdf5(folder: Path) -> dict[str, str]:
    """Write files that must be refused; name → words of the refusal."""
    with h5py.File(folder / "secret.h5", "w") as file:
        file["part"] = PART
    with h5py.File(folder / "external.h5", "w") as file:
        file["part"] = h5py.ExternalLink("secret.h5", "/part")
    with h5py.File(folder / "soft.h5", "w") as file:
        file["part"] = h5py.SoftLink("/part")
    (folder / "raw").write_bytes(PART.tobytes())
    with h5py.File(folder / "outside.h5", "w") as file:
        file.create_dataset("part", PART.shape, np.float32, external=[("raw", 0, PART.nbytes)])
    with h5py.File(folder / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(PART.shape, np.float32)
        layout[:] = h5py.VirtualSource("secret.h5", "part", PART.shape)
        file.create_virtual_dataset("part", layout)
    with h5py.File(folder / "huge.h5", "w") as file:
        file.create_dataset("part", (10**12, 17, 2), np.float32, chunks=(1000, 17, 2))
    with h5py.File(folder / "objects.h5", "w") as file:
        file.create_dataset("part", (2, 17, 2), h5py.string_dtype())
    with h5py.File(folder / "group.h5", "w") as file:
        file.create_group("part")
    (folder / "zeros.h5").write_bytes(bytes(5000))
    (folder / "empty.h5").write_bytes(b"")
    cut = (folder / "secret.h5").read_bytes()
    (folder / "cut.h5").write_bytes(cut[: len(cut) // 2])
    return {
        "external": "is a link to elsewhere", "soft": "is a link to elsewhere", "outside": "lies in other files",
        "virtual": "lies in other files", "huge": "more than a gigabyte", "objects": "expected numbers",
        "group": "has no array", "zeros": "cannot be read", "empty": "cannot be read", "cut": "cannot be read",
    }  # fmt: skip


def test_hostile_hdf5_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in hostile_hdf5(tmp_path).items():
        with pytest.raises(SystemExit) as caught:  # as the other process does; it takes a second to start
            _write_array(str(tmp_path / f"{name}.h5"), "part")
        assert caught.value.code == 3
        assert words in capsys.readouterr().err
    with pytest.raises(InputError, match=r"external\.h5: `part` is a link to elsewhere") as refused:
        read_array(tmp_path / "external.h5", "part")
    assert "the array `part` of numbers in itself" in refused.value.expected
    assert f"download {tmp_path / 'external.h5'} again" in refused.value.fix


@pytest.mark.slow
def test_flipped_bytes_of_hdf5_break_no_more_than_the_other_process(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("part", data=PART, chunks=(1, 17, 2), compression="gzip")
    data = (tmp_path / "a.h5").read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(30):
        changed = bytearray(data)
        for place in generator.integers(len(data), size=3):
            changed[place] = generator.integers(256)
        (tmp_path / "b.h5").write_bytes(changed)
        with contextlib.suppress(InputError):  # anything else fails the test
            assert read_array(tmp_path / "b.h5", "part").dtype == np.float64


@pytest.mark.parametrize(
    "text", [*HOSTILE_JSON.values(), "null", "{}", "3", "[null]", '[{"id": null}]', '[{"id": 1.5}]']
)
def test_label_lists_are_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.webm").write_bytes(b"x")
    for name in ("train", "validation", "labels"):
        (tmp_path / f"{name}.json").write_text("[]" if name != "labels" else "{}")
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(SourceError, match=r"train"):
        SSv2().inventory(tmp_path, SSv2Config())


@pytest.mark.parametrize("text", [*HOSTILE_JSON.values(), "null", "[]", '{"videos": null}', '{"videos": [3]}'])
def test_metadata_that_cannot_be_used_is_a_warning(tmp_path: Path, text: str) -> None:
    (tmp_path / "ego4d.json").write_text(text)
    facts, warnings = _metadata(tmp_path, list_files(tmp_path))
    assert not facts
    assert "ego4d.json" in warnings[0]


def test_pipes_in_place_of_lists_are_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.webm").write_bytes(b"x")
    for name in ("train", "validation", "labels"):
        os.mkfifo(source / f"{name}.json")
    assert run(["prepare", "ssv2", "--source", str(source), "--out", str(tmp_path / "out")]) == 2
    assert "train.json" in capsys.readouterr().err
