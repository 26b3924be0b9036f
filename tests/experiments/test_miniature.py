"""The miniature of the paper's claim: its lines, its protocol, its quick form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import miniature_protocol as miniature

from tests.experiments.runs_of_scripts import quick, record


def test_the_miniature_makes_its_lines_and_two_equal_reports() -> None:
    found = quick("miniature.py")
    rows = found["tasks"]["dmcr/cheetah_run"]
    assert set(rows) == {"dreamerv2", "contextwm", "contextwm@random", "random"}
    assert all(row["n"] == 1 for name, row in rows.items() if name != "random")
    assert rows["random"]["n"] == 2
    assert found["two_reports_equal"] is True


def test_the_miniature_has_the_runs_of_its_protocol(tmp_path: Path) -> None:
    whole = replace(miniature.WHOLE, kept=tmp_path)
    runs = miniature.remaining(whole)
    assert len([line for _, line, _ in runs if not line.extra]) == 112
    assert len([line for _, line, _ in runs if line.extra]) == 30
    assert len({miniature.pretrained_path(line, target) for target, line in miniature.remaining_models(whole)}) == 12
    assert not {seed for _, _, seed in runs} & {*miniature.PILOT.seeds, *miniature.GATE.seeds}
    assert all(target not in miniature.videos_of(target, line) for target, line, _ in runs if line.videos == "others")
    target, line, seed = runs[0]
    kept = miniature.kept(whole, miniature.run_path(target, line, seed))
    record(kept)
    assert miniature.remaining(whole) == runs  # the evaluations are not there
    (kept / "evaluations.jsonl").write_text("")
    assert miniature.remaining(whole) == runs[1:]
    models = miniature.remaining_models(whole)
    model = miniature.kept(whole, miniature.pretrained_path(models[0][1], models[0][0]))
    (model / "checkpoints" / ".7.tmp").mkdir(parents=True)  # the copying was ended here
    assert miniature.remaining_models(whole) == models
    (model / "checkpoints" / "7").mkdir()
    record(model)
    assert miniature.remaining_models(whole) == models[1:]
