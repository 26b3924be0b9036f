"""An experiment whose results are all in the repository begins nothing, on any machine: its script reads them."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import forgetting
import pytest

from ipv_bench.run_record import read_record, write_record

WHOLE = ("filmed", "forgetting", "label_efficiency", "learning", "miniature", "public_curves", "sample_model")


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_experiment_begins_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module(name)

    def begun(words: object, **_: object) -> None:
        raise AssertionError(f"{words} was begun")

    monkeypatch.setattr(subprocess, "Popen", begun)
    monkeypatch.setattr(script, "write_json", lambda *_: None, raising=False)  # of the whole result, as it is
    monkeypatch.setattr(sys, "argv", [name, "--out", str(tmp_path / "work")])
    status: object = 0
    try:
        script.main()
    except SystemExit as end:
        status = end.code
    assert not status
    told = capsys.readouterr()
    assert json.loads(told.out.splitlines()[-1])["benchmark"] == name, told.err
    made = {path.name for path in (tmp_path / "work").rglob("*")}
    assert not made & {"clips", "data", "raw", "shards"}


def test_forgetting_reads_what_is_whole_and_refuses_runs_from_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(forgetting.KEPT / "runs", kept / "runs")
    monkeypatch.setattr(forgetting, "KEPT", kept)
    (kept / "runs" / "seed3" / "run.json").unlink()  # the script was killed while it copied
    forgetting.check_kept()
    assert forgetting.remaining() == [3]
    found = read_record(kept / "runs" / "seed4")
    write_record(
        kept / "runs" / "seed4", found.model_copy(update={"parent": found.parent | {"checkpoint_sha256": "a"}})
    )
    with pytest.raises(SystemExit, match=r"seed4 .*checkpoint_sha256"):
        forgetting.check_kept()
    monkeypatch.setattr(forgetting, "PRESET", "small")
    with pytest.raises(SystemExit, match="not made under today's settings"):
        forgetting.check_kept()
