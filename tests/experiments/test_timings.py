"""Scripts that measure speed: what they refuse, in which order they measure, and what they keep."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import prepare_growth
import prepare_rates
import pytest
import tiny_run
from paired_timing import keep_line


def test_moments_of_other_numbers_are_not_reported_as_todays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_growth, "make_release", lambda folder, *_, **__: folder.mkdir())
    monkeypatch.setattr(prepare_growth, "watch", lambda *_: False)  # the minutes are over
    assert prepare_growth.run(tmp_path, 10, 400, 26, 1.0, 1) is None
    assert prepare_growth.run(tmp_path, 10, 400, 26, 2.0, 1) is None
    for numbers, differs in (((10, 800, 26), "videos: 400 → 800"), ((10, 400, 48), "frames: 26 → 48")):
        with pytest.raises(SystemExit, match=differs):
            prepare_growth.run(tmp_path, *numbers, None, 1)


def test_the_two_checkouts_take_turns_in_coming_first_and_both_commits_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []

    class Checkout:
        def __init__(self, source: Path, workspace: Path) -> None:
            self.name = workspace.name

        def whole_run(self, part: int) -> dict[str, float]:
            order.append(self.name)
            return {"pretrain": 1.0, "finetune": 2.0 if self.name == "now" else 3.0 + len(order)}

    monkeypatch.setattr(tiny_run, "Checkout", Checkout)
    monkeypatch.setattr(tiny_run, "code_of", lambda commit, folder: folder)
    words = ["tiny_run.py", str(tmp_path / "folder"), "--keep", str(tmp_path / "kept.json"), "--pairs"]
    for pairs in "2", "4":  # a command that was stopped after two goes on
        monkeypatch.setattr(sys, "argv", [*words, pairs])
        tiny_run.main()
    assert order == ["now", "start", "start", "now"] * 2
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert kept == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert kept["ratios"] == [2.0, 2.333, 3.333, 3.667]
    assert kept["range"] == [2.0, 3.667]
    git = shutil.which("git")
    assert git is not None
    head = subprocess.run([git, "rev-parse", "HEAD"], cwd=tiny_run.ROOT, capture_output=True, text=True, check=True)
    assert kept["now"].startswith(head.stdout.strip())
    assert kept["start"] == tiny_run.START


def test_pairs_of_another_commit_are_not_pooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"part": 8, "start": tiny_run.START, "now": "0123abcd"}))
    monkeypatch.setattr(sys, "argv", ["tiny_run.py", str(tmp_path), "--part", "8"])
    with pytest.raises(SystemExit, match="now: '0123abcd' → "):
        tiny_run.main()


def test_a_result_is_kept_where_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_line({"ratio": 2}, None)
    assert list(tmp_path.iterdir()) == []
    keep_line({"ratio": 2}, tmp_path / "kept.json")
    assert capsys.readouterr().out.splitlines() == [(tmp_path / "kept.json").read_text().strip()] * 2


def test_a_full_release_is_reckoned_from_the_jobs_on_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs are real; only the CPU seconds that they are said to have taken are given."""
    real, said = prepare_rates.job, iter([1.0, 3.0])

    def job(*words):
        real(*words)
        return next(said), 0.0

    monkeypatch.setattr(prepare_rates, "job", job)
    row = prepare_rates.measured(prepare_rates.RELEASES["rlbench"], tmp_path, 3, 1)
    lengths = [int(path.stem.rsplit("-", 1)[1]) for path in sorted((tmp_path / "raw").rglob("*.npz"))]
    assert len(lengths) == 3
    assert (row["rate"], row["of"]) == (round(sum(lengths[1:]) / 2), "stored")
    size = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert row["bytes_a_frame"] == round(size / sum(lengths))
    assert row["hours"]["2"] == pytest.approx(247_500 / row["rate"] / 2 / 3600, rel=0.05)
    assert "| 247,500 stored | " in prepare_rates.table({"rlbench": row})


def test_rates_of_videos_count_the_frames_that_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([(1.0, 0.0), (2.0, 0.0)])
    monkeypatch.setattr(prepare_rates, "job", lambda *_: next(said))
    monkeypatch.setattr(prepare_rates, "stored_frames", lambda _: 100)
    (tmp_path / "out").mkdir()
    release = prepare_rates.Release("ego4d", "videos", lambda folder, items: None, 1.08e9, 1.8e8, 300)
    row = prepare_rates.measured(release, tmp_path, 4, 1)
    assert (row["rate"], row["of"], row["hours"]["1"]) == (900, "decoded", 330.0)
