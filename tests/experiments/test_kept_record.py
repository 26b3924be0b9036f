"""What is kept of an experiment's runs: complete or absent, and alike within a line."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import kept_model
import kept_record
import pytest

from ipv_bench.run_record import read_record, write_record
from tests.experiments.runs_of_scripts import record


def test_what_is_kept_is_complete_or_absent_and_the_record_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, goal = tmp_path / "run", tmp_path / "kept" / "run"
    (run / "7").mkdir(parents=True)
    for name in ("run.json", "evaluations.jsonl", "7/model", "7/optimizer"):
        (run / name).write_text(name)
    written: list[str] = []
    write = kept_record.write_bytes
    monkeypatch.setattr(kept_record, "write_bytes", lambda path, data: (written.append(path.name), write(path, data)))
    kept_record.keep_files(run, goal, ("run.json", "evaluations.jsonl"))
    assert written == ["evaluations.jsonl", "run.json"]
    assert (goal / "run.json").read_text() == "run.json"

    def ended(source: str, target: str) -> None:
        Path(target).write_text("hal")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kept_record.shutil, "copytree", lambda source, target: (target.mkdir(), ended("", target / "x")))
        with pytest.raises(KeyboardInterrupt):
            kept_record.keep_folder(run / "7", goal / "7")
    assert not (goal / "7").exists()
    for text in ("first", "second"):  # over the leftover, then over a whole one
        (run / "7" / "model").write_text(text)
        kept_record.keep_folder(run / "7", goal / "7")
        assert {path.name: path.read_text() for path in (goal / "7").iterdir()} == {
            "model": text, "optimizer": "7/optimizer",
        }  # fmt: skip
    assert {path.name for path in goal.iterdir()} == {"7", "run.json", "evaluations.jsonl"}


def test_a_run_is_kept_when_it_was_finished_and_a_line_is_made_alike(tmp_path: Path) -> None:
    running, one = record(tmp_path / "a", "running"), record(tmp_path / "b", explore=True, training={"threads": 1})
    assert not kept_record.is_kept(running, ["run.json"])
    assert kept_record.is_kept(one, ["run.json"])
    assert not kept_record.is_kept(one, ["run.json", "evaluations.jsonl"])
    two = record(tmp_path / "c", explore=True, training={"threads": 4})
    kept_record.check_alike([one, two])
    with pytest.raises(SystemExit, match="explore: True → False"):
        kept_record.check_alike([one, two, record(tmp_path / "d", explore=False, training={"threads": 1})])


def test_runs_in_another_environment_are_of_no_line_and_an_inexact_one_is_of_none(tmp_path: Path) -> None:
    one, other = (record(tmp_path / name, horizon=5) for name in "ab")
    kept_record.check_alike([one, other])
    kept_record.check_settings(one, {"horizon": 5})
    write_record(other, read_record(other).model_copy(update={"env_fingerprint": {"mujoco": "3.4.0"}}))
    with pytest.raises(SystemExit, match=r"env_fingerprint\.mujoco"):
        kept_record.check_alike([one, other])
    inexact = {"exact": False, "inexact_because": ["a worker was lost"]}
    write_record(one, read_record(one).model_copy(update=inexact))
    with pytest.raises(SystemExit, match="is not exact: a worker was lost; remove it"):
        kept_record.check_settings(one, {"horizon": 5})


def test_runs_of_before_and_after_a_field_came_are_alike(tmp_path: Path) -> None:
    """Absent says the same as the value of before there was the field; another value does not."""
    before, after = record(tmp_path / "a", horizon=5), record(tmp_path / "b", horizon=5, init_allow=[])
    kept_record.check_alike([before, after])
    kept_record.check_alike([after, before])
    with pytest.raises(SystemExit, match="init_allow"):
        kept_record.check_alike([before, record(tmp_path / "c", horizon=5, init_allow=["heads"])])


def test_a_run_of_other_settings_than_todays_is_refused_and_fields_come_and_go(tmp_path: Path) -> None:
    run = record(tmp_path / "a", training={"updates": 3, "threads": 1}, dropped_since=True)
    same = {"training.updates": 3, "training.threads": 4, "data.every_frames": 1}  # frames: a field that came later
    kept_record.check_settings(run, same)
    kept_record.check_settings(run, ["training.updates=3"])
    with pytest.raises(SystemExit, match=r"a was not made .*training\.updates is 3, not 4; .*move it away"):
        kept_record.check_settings(run, same | {"training.updates": 4})
    with pytest.raises(SystemExit, match="data.every_frames is 1, not 2"):
        kept_record.check_settings(run, same | {"data.every_frames": 2})


def test_a_folder_made_with_other_settings_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "videos" / "settings.json"
    kept_record.note_settings(file, {"clips": 3, "record": ("a",)})
    kept_record.note_settings(file, {"clips": 3, "record": ("a",)})
    with pytest.raises(SystemExit, match=r"videos was made with other settings: clips: 3 → 4; undo"):
        kept_record.note_settings(file, {"clips": 4, "record": ("a",)})
    assert "3" in file.read_text()


def test_a_line_has_one_model(tmp_path: Path) -> None:
    kept, here = tmp_path / "kept", tmp_path / "work"
    for folder, weights in ((kept, b"one"), (here, b"other")):
        (folder / "checkpoints" / "7").mkdir(parents=True)
        (folder / "checkpoints" / "7" / "checkpoint.json").write_bytes(weights)
        record(folder, place=folder.name)
    run = record(tmp_path / "run")
    write_record(run, read_record(run).model_copy(update={"parent": {"checkpoint_sha256": sha256(b"one").hexdigest()}}))
    kept_model.check_one_model(kept, [run])
    with pytest.raises(kept_model.OtherModelError, match=r"run started from other weights than .*work"):
        kept_model.check_one_model(here, [run])
    kept_model.place_model(kept, here)  # though the one that was there had been finished
    kept_model.check_one_model(here, [run])
    assert kept_model.is_model_kept(here)
