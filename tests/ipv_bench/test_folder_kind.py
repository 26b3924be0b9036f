"""A command writes into a folder of its own kind or a new one, never among another's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.errors import OutputError, RunError
from ipv_bench.folder_kind import KINDS, refuse_other_kind
from tests.reports.synthetic_runs import write_finetuning


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release, runs, and a folder of each kind; we are in it."""
    monkeypatch.chdir(tmp_path)
    assert run(["sample", "raw", "--dataset", "ssv2", "--videos", "2", "--quiet"]) == 0
    for seed in (0, 1):
        write_finetuning(tmp_path / "runs", "dmc/cheetah_run", "dreamerv2", seed)
    for name, what in KINDS.items():
        (tmp_path / what).mkdir()
        (tmp_path / what / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "own"),
    [(["prepare", "ssv2", "--source", "raw", "--workers", "1"], "a shard set"), (["report", "runs"], "a report")],
    ids=["prepare", "report"],
)
def test_nothing_is_written_among_files_of_another_kind(
    command: list[str], own: str, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, what in KINDS.items():
        if what == own:
            continue
        assert run([*command, "--out", what]) == 2, what
        said = capsys.readouterr().err
        assert f"{what} is {what}: it holds {name}" in said
        assert f"a new folder, or {own}" in said
        assert [path.name for path in (lab / what).iterdir()] == [name]
    assert run([*command, "--out", "new", "--quiet"]) == 0
    assert run([*command, "--out", "new", "--quiet"]) == 0  # its own kind now


def test_the_error_is_the_caller_s_and_a_folder_of_two_kinds_goes_on(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match="is a shard set") as caught:
        refuse_other_kind(tmp_path, "run.json", "--run", RunError)
    assert "choose another --run" in caught.value.fix
    with pytest.raises(OutputError, match="is a shard set"):
        refuse_other_kind(tmp_path, "record.json")
    (tmp_path / "run.json").write_text("{}")
    refuse_other_kind(tmp_path, "run.json")
    refuse_other_kind(tmp_path / "nothing", "run.json")
