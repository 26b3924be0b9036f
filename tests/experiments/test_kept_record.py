"""What is kept of an experiment's runs: complete or absent, and alike within a line."""

from __future__ import annotations

from pathlib import Path

import kept_record
import pytest

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
