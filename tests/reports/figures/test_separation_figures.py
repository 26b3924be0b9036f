"""Figures 8a, 8b and 11 from analyses: found by data set, drawn with what was measured, missed by name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ipv_bench.analysis_record import ANALYSIS_FILE, ARRAYS_FILE
from ipv_bench.atomic_file import write_json
from ipv_bench.cli import run

MODELS = [
    {"label": name, "line": name, "run": f"runs/{method}", "kind": "pretrain", "method": method, "seed": 0, "step": 9}
    | {"checkpoint_sha256": method}
    for name, method in (("ContextWM", "contextwm"), ("APV", "apv"))
]
ONE = {"point": 2.5, "low": 2.0, "high": 3.0}


def write_analysis(
    folder: Path, kind: str, data_set: str, arrays: dict[str, Any], numbers: dict[str, Any], models: int = 2
):
    folder.mkdir(parents=True)
    record = {
        "kind": kind, "seed": 0, "config": {"length": 6, "target": [0, 0, 3]}, "models": MODELS[:models],
        "shard_sets": [{"name": data_set}], "numbers": numbers, "verdicts": [f"a verdict on {data_set}"],
    }  # fmt: skip
    np.savez(folder / ARRAYS_FILE, **arrays)
    write_json(folder / ANALYSIS_FILE, record)


def write_attention(folder: Path, data_set: str, models: int = 2, shade: int = 0) -> None:
    clips = np.full((2, 6, 16, 16, 3), shade, np.uint8)
    arrays = {
        "truth": clips, "boxed": clips, "prediction": np.stack([clips] * models), "overlay": clips[None],
        "looking": [0], "columns": [0, 3, 5], "observed": 4, "context": 3, "side": 4,
    }  # fmt: skip
    numbers = {"identity": ONE, "uniform": ONE, "models": {"ContextWM": {"centre": ONE, "peak": ONE}}}
    write_analysis(
        folder, "attention", data_set, arrays, numbers | {"clips": [{"label": "Holding something"}] * 2}, models
    )


def write_states(folder: Path, data_set: str) -> None:
    random = np.random.default_rng(0)
    arrays = {"points": random.normal(size=(2, 8, 2)), "label": np.arange(8) % 2, "state_0": np.zeros((8, 5))}
    numbers = {"labels": ["Pushing something from left to right", "Pushing something from right to left"]}
    write_analysis(folder, "embed", data_set, arrays, numbers)


def report(*sources: Path, out: Path, figures: str = "") -> int:
    asked = ["--figures", figures] if figures else []
    return run(["report", *map(str, sources), "--out", str(out), *asked, "--resamples", "50", "--quiet"])


def rows(out: Path, name: str) -> list[dict[str, str]]:
    with open(out / "figures" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_papers_figures_are_drawn_from_analyses_of_their_data_sets(tmp_path: Path) -> None:
    for data_set in ("ssv2", "human36m"):
        write_attention(tmp_path / "analysis" / data_set, data_set)
    write_states(tmp_path / "analysis" / "states", "ssv2")
    assert report(tmp_path / "analysis", out=tmp_path / "report", figures="fig8a,fig8b,fig11") == 0
    drawn = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    assert {f"{name}.{kind}" for name in ("fig8a", "fig8b", "fig11") for kind in ("svg", "pdf", "png", "csv")} <= drawn
    page = (tmp_path / "report" / "report.html").read_text()
    assert "a verdict on human36m" in page
    assert "No analysis of YouTube Driving was given" in page
    assert {row["line"] for row in rows(tmp_path / "report", "fig8a")} >= {"identity", "uniform", "ContextWM, centre"}
    assert {float(row["point"]) for row in rows(tmp_path / "report", "fig8a")} == {2.5}
    assert {row["panel"].split(":")[0] for row in rows(tmp_path / "report", "fig11")} == {"ssv2", "human36m"}
    points = rows(tmp_path / "report", "fig8b")
    assert len(points) == 2 * 8
    assert points[0]["panel"] == "APV"  # the vanilla model first, as in the paper


def test_the_analysis_with_both_kinds_of_models_is_taken(tmp_path: Path) -> None:
    write_attention(tmp_path / "a" / "one", "ssv2", models=1, shade=10)
    write_attention(tmp_path / "a" / "two", "ssv2", models=2, shade=200)
    assert report(tmp_path / "a", out=tmp_path / "report", figures="fig8a") == 0
    with Image.open(tmp_path / "report" / "figures" / "fig8a.png") as drawn:
        picture = np.asarray(drawn.convert("RGB"))
    colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert (200, 200, 200) in colours
    assert (10, 10, 10) not in colours


def test_a_report_of_analyses_alone_shows_each_of_them(tmp_path: Path) -> None:
    write_attention(tmp_path / "analysis" / "attention", "ssv2")
    write_states(tmp_path / "analysis" / "embed", "ssv2")
    assert report(tmp_path / "analysis", out=tmp_path / "report") == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "What world models see, predict and separate" in page
    assert {"attention.svg", "embed.svg"} <= {path.name for path in (tmp_path / "report" / "figures").iterdir()}


def test_without_an_analysis_the_message_has_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_states(tmp_path / "analysis", "ssv2")
    assert report(tmp_path / "analysis", out=tmp_path / "report", figures="fig8a") == 0
    findings = json.loads((tmp_path / "report" / "report.json").read_text())["findings"]
    needs = [one for one in findings if one["code"] == "no_material"]
    assert len(needs) == 1
    assert "ipv-bench analyze attention" in json.dumps(needs)


def test_a_damaged_analysis_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_states(tmp_path / "analysis", "ssv2")
    (tmp_path / "analysis" / ARRAYS_FILE).write_bytes(b"PK")
    assert report(tmp_path / "analysis", out=tmp_path / "report", figures="fig8b") == 2
    message = capsys.readouterr().err
    assert ARRAYS_FILE in message
    assert "analyze" in message
