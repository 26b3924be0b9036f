"""Figures 8a, 8b and 11 from analyses: found by data set, drawn with what was measured, missed by name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
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


def write_composition(folder: Path, data_set: str) -> None:
    clips = np.zeros((3, 6, 16, 16, 3), np.uint8)
    arrays = {"grid": np.stack([[clips] * 3] * 2), "grid_motion": clips, "grid_scene": clips[:, 0]}
    numbers = {"models": {"ContextWM": {"without_context": False, "tracked": {"of_a": ONE}}}}
    write_analysis(folder, "compose", data_set, arrays, numbers)


def write_pairs(folder: Path, data_set: str) -> None:
    names = ("observation", "next_observation", "reconstruction", "next_reconstruction", "prediction")
    arrays: dict[str, Any] = {name: np.zeros((4, 16, 16, 3), np.uint8) for name in names}
    arrays |= {f"prediction_mse_to_{to}": np.arange(5) / 10 for to in ("first", "next")}
    write_analysis(folder, "pairs", data_set, arrays, {}, models=1)


def write_prediction(folder: Path, data_set: str) -> None:
    clips = np.zeros((1, 6, 16, 16, 3), np.uint8)
    steps = {key: {"point": [0.5, 0.5], "low": [0.4, 0.4], "high": [0.6, 0.6]} for key in ("per_step",)}
    measured = {key: steps | {"overall": ONE} for key in ("mse", "psnr", "ssim", "copy_ratio")}
    numbers = {
        "lines": {name: measured | {"runs": [name]} for name in ("ContextWM", "APV")}, "copy": measured,
        "clips": [{"set": data_set, "video": "v", "label": "Holding something"}],
    }  # fmt: skip
    arrays = {"shown_truth": clips, "shown_prediction": np.stack([clips] * 2), "shown": [0]}
    write_analysis(folder, "predict", data_set, arrays, numbers)
    record = json.loads((folder / ANALYSIS_FILE).read_text())
    write_json(folder / ANALYSIS_FILE, record | {"config": {"length": 6, "observed": 4, "confidence": 0.95}})


WRITERS = {
    "attention": write_attention, "embed": write_states, "compose": write_composition, "pairs": write_pairs,
    "predict": write_prediction,
}  # fmt: skip


Damage = Callable[[Path], None]


def other_array(name: str, values: Any) -> Damage:
    """Replaces an array, or (None) leaves it out."""

    def damage(folder: Path) -> None:
        with np.load(folder / ARRAYS_FILE) as file:
            arrays = {key: file[key] for key in file.files if key != name}
        np.savez(folder / ARRAYS_FILE, **(arrays | ({} if values is None else {name: values})))

    return damage


def other_numbers(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        record = json.loads((folder / ANALYSIS_FILE).read_text())
        write_json(folder / ANALYSIS_FILE, record | {"numbers": record["numbers"] | changes})

    return damage


def other_record(values: Any) -> Damage:
    return lambda folder: write_json(folder / ANALYSIS_FILE, values)


def cut(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-30])

    return damage


ONE_MODEL = np.zeros((1, 1, 6, 16, 16, 3), np.uint8)
DAMAGES: dict[str, tuple[str, str, Damage]] = {
    "record-cut": ("attention", ANALYSIS_FILE, cut(ANALYSIS_FILE)),
    "record-newer": ("embed", "format 99", other_record({"format": 99})),
    "record-no-object": ("pairs", ANALYSIS_FILE, other_record([1])),
    "arrays-cut": ("compose", ARRAYS_FILE, cut(ARRAYS_FILE)),
    "arrays-gone": ("predict", ARRAYS_FILE, lambda folder: (folder / ARRAYS_FILE).unlink()),
    "array-gone": ("attention", "has no array overlay", other_array("overlay", None)),
    "array-flat": ("compose", "grid_scene is uint8 (3, 16)", other_array("grid_scene", np.zeros((3, 16), np.uint8))),
    "array-words": ("embed", "points is <U1", other_array("points", np.full((2, 8, 2), "a"))),
    "array-short": ("embed", "label is int64 (7,)", other_array("label", np.arange(7) % 2)),
    "array-infinite": ("embed", "not finite", other_array("points", np.full((2, 8, 2), np.inf))),
    "array-reals": ("pairs", "prediction is float64", other_array("prediction", np.zeros((4, 16, 16, 3)))),
    "array-astray": ("attention", "columns holds 0 to 60", other_array("columns", np.array([0, 60]))),
    "array-one-model": ("predict", "shown_prediction", other_array("shown_prediction", ONE_MODEL)),
    "numbers-words": ("attention", "identity is no interval", other_numbers(identity="far")),
    "numbers-list": ("compose", "numbers.models is a list (expected: model", other_numbers(models=[1, 2])),
    "numbers-gone": ("predict", "KeyError", other_numbers(lines={})),
    "labels-words": ("embed", "numbers.labels is 'none' (expected: a list", other_numbers(labels="none")),
    "labels-gone": ("embed", "has no numbers.labels", other_numbers(labels=None)),
}
"""Name → kind of analysis, what the report must say of it, and the damage."""


@pytest.mark.parametrize("figures", ["", "fig8a,fig8b,fig11,uwm_table1,uwm_fig3"])
def test_damaged_analyses_are_named_and_the_whole_ones_drawn(tmp_path: Path, figures: str) -> None:
    for kind, write in WRITERS.items():
        write(tmp_path / "analyses" / f"whole-{kind}", "ssv2")
    for name, (kind, _, damage) in DAMAGES.items():
        folder = tmp_path / "analyses" / name
        WRITERS[kind](folder, "ssv2")
        damage(folder)
    assert report(tmp_path / "analyses", out=tmp_path / "report", figures=figures) == 0
    found = json.loads((tmp_path / "report" / "report.json").read_text())["findings"]
    said = {Path(one["subjects"][0]).name: one for one in found if one["code"] == "bad_analysis"}
    asked = ("attention", "embed", "pairs") if figures else ("attention", "embed", "compose", "predict")
    expected = {name for name, (kind, _, _) in DAMAGES.items() if kind in asked or name.startswith("record")}
    assert set(said) == expected
    for name in expected:
        assert said[name]["level"] == "refusal"
        assert DAMAGES[name][1] in said[name]["text"], said[name]
        assert "(expected: " in said[name]["text"], said[name]
        assert said[name]["fix"]
    drawn = {path.stem for path in (tmp_path / "report" / "figures").glob("*.svg")}
    wanted = (
        {*figures.split(",")} if figures else {"attention", "embed", "compose", "predict_errors", "predict_pictures"}
    )
    assert wanted <= drawn
    page = (tmp_path / "report" / "report.html").read_text()
    assert all(f"../analyses/{name}" in page for name in expected)


def test_figure_8b_shows_another_set_where_ssv2_was_not_analysed(tmp_path: Path) -> None:
    write_states(tmp_path / "analysis" / "states", "human36m")
    assert report(tmp_path / "analysis", out=tmp_path / "report", figures="fig8b") == 0
    assert "Figure 8b: clip-averaged states: Human3.6M" in (tmp_path / "report" / "report.html").read_text()


def test_a_damaged_analysis_that_was_named_alone_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_states(tmp_path / "analysis", "ssv2")
    (tmp_path / "analysis" / ARRAYS_FILE).write_bytes(b"PK")
    assert report(tmp_path / "analysis", out=tmp_path / "report", figures="fig8b") == 2
    message = capsys.readouterr().err
    assert ARRAYS_FILE in message
    assert "analyze" in message
