"""An experiment whose results are all in the repository begins nothing, on any machine: its script reads them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

WHOLE = ("filmed", "forgetting", "label_efficiency", "learning", "miniature", "public_curves")


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_experiment_begins_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module(name)

    def begun(words: object, **_: object) -> None:
        raise AssertionError(f"{words} was begun")

    monkeypatch.setattr(subprocess, "Popen", begun)
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
