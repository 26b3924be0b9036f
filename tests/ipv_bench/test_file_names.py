"""A name from a file is a name, and a joined path stays in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.errors import ShardSetError
from ipv_bench.file_names import folder_inside, is_name, path_inside, relative_path_inside, shown
from tests.hostile_files import HOSTILE_NAMES


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: shown(name, 20))
def test_what_is_no_name_never_becomes_a_path(tmp_path: Path, name: object) -> None:
    with pytest.raises(ShardSetError) as caught:
        path_inside(tmp_path, name, "manifest.json: shards.0.file", ShardSetError)
    assert "manifest.json: shards.0.file" in str(caught.value)
    assert all(character.isprintable() or character == "\n" for character in str(caught.value))
    assert not is_name(name)


def test_names_of_our_formats_are_names(tmp_path: Path) -> None:
    for name in ("ssv2-000000.tar", "ssv2-000000.json", "frames.npy", "model.safetensors", "00000001-500.npy"):
        assert path_inside(tmp_path, name, "index", ShardSetError) == tmp_path / name
    assert is_name("youtube-driving")
    assert not is_name("a.b")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "a/..", "", "a\0b", "a\nb", None, "a/" + "b" * 300]
)
def test_paths_of_several_parts_stay_inside(tmp_path: Path, path: object) -> None:
    with pytest.raises(ShardSetError, match="list line 3"):
        relative_path_inside(tmp_path, path, "list line 3", ShardSetError)
    assert relative_path_inside(tmp_path, "S1/ä b.jpg", "list", ShardSetError) == tmp_path / "S1/ä b.jpg"


def test_links_that_lead_out_are_refused_and_links_inside_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "outside").write_text("mine")
    (folder / "real").write_text("x")
    (folder / "out").symlink_to("../outside")
    (folder / "near").symlink_to("real")
    (folder / "round").symlink_to("round")
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ShardSetError, match="leads out of its folder"):
        path_inside(folder, "out", "index", ShardSetError)
    assert path_inside(folder, "near", "index", ShardSetError).read_text() == "x"
    assert path_inside(tmp_path / "link", "real", "index", ShardSetError).read_text() == "x"
    (folder / "replay").symlink_to(tmp_path)
    with pytest.raises(ShardSetError, match="leads out"):
        folder_inside(folder, folder / "replay", ShardSetError)
