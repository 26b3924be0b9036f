"""Every file is found once, whatever links and names a release has."""

from __future__ import annotations

import errno
import os

import pytest

from ipv_bench.errors import SourceError
from pipelines.datasets.file_tree import list_files


def test_odd_names_are_listed_as_they_are(tmp_path):
    names = ["a b.webm", 'it\'s "q".webm', "new\nline.webm", "v.1.2.webm", "käse/ü.webm", "-x.webm", "a/b/c.WEBM"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / ".hidden.webm").write_bytes(b"")
    tree = list_files(tmp_path)
    assert [file.path for file in tree.files] == sorted(names)
    assert {file.suffix for file in tree.files} == {".webm"}
    assert {file.size_bytes for file in tree.files} == {5}
    assert next(file for file in tree.files if file.stem == "v.1.2").folder == ""


def test_links_are_followed_once(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "far.mp4").write_bytes(b"1")
    source = tmp_path / "source"
    (source / "z").mkdir(parents=True)
    (source / "z" / "near.mp4").write_bytes(b"1")
    (source / "a").symlink_to("z")  # sorts before the real folder
    (source / "round").symlink_to(source)
    (source / "z" / "up").symlink_to("..")
    (source / "link").symlink_to(outside)
    (outside / "back").symlink_to(source)
    (source / "self.mp4").symlink_to("self.mp4")
    (source / "broken.mp4").symlink_to("nowhere")
    found = {file.path: file.problem and file.problem[0] for file in list_files(source).files}
    assert found == {"z/near.mp4": None, "link/far.mp4": None, "self.mp4": "unreadable", "broken.mp4": "missing"}


def test_a_name_that_is_not_utf8_is_a_problem_of_that_file(tmp_path):
    with open(os.fsencode(tmp_path) + b"/bad\xff.mp4", "wb") as file:
        file.write(b"1")
    (found,) = list_files(tmp_path).files
    assert found.path == "bad\\xff.mp4"
    assert found.problem == ("unreadable", "its name is not UTF-8")


def test_a_source_that_is_no_folder(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        list_files(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="is a file"):
        list_files(tmp_path / "file")


def failing(real, path: str, number: int):
    """A system call that fails for one path."""

    def call(where, *arguments, **options):
        if isinstance(where, str | os.PathLike) and os.fspath(where) == path:
            raise OSError(number, os.strerror(number), path)
        return real(where, *arguments, **options)

    return call


def test_a_folder_that_cannot_be_listed_at_this_moment_stops_the_job(tmp_path, monkeypatch):
    """Its videos would be missing in the plan for good; a folder without permission will be so tomorrow."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "a.mp4").write_bytes(b"1")
    real = os.scandir
    for number in (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENOENT):
        monkeypatch.setattr(os, "scandir", failing(real, str(tmp_path / "videos"), number))
        with pytest.raises(SourceError, match="videos cannot be looked at"):
            list_files(tmp_path)
    monkeypatch.setattr(os, "scandir", failing(real, str(tmp_path / "videos"), errno.EACCES))
    tree = list_files(tmp_path)
    assert [file.path for file in tree.files] == ["a.mp4"]
    assert "videos cannot be read" in tree.warnings[0]


def test_a_source_that_cannot_be_looked_at_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "stat", failing(os.stat, str(tmp_path), errno.EIO))
    with pytest.raises(SourceError, match=r"cannot be looked at|Input/output"):
        list_files(tmp_path)


def test_other_endings_are_counted_and_texts_are_not(tmp_path):
    for name in ("a.mp4", "b.mxf", "c/d.MXF", "c/e.zip", "bare", "README", "notes.txt", "labels.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    tree = list_files(tmp_path)
    (warning,) = tree.left_out({".mp4"})
    assert warning.startswith("4 files have other endings and are left out (.mxf 2, ")
    assert "none 1" in warning
    assert ".zip 1" in warning
    assert tree.left_out({".mp4", ".mxf", ".zip", ""}) == []
