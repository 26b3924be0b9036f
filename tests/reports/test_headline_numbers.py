"""What enters the statistics, from the command line: each wrong headline of the past with its right value."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipv_bench.cli import run
from tests.reports.page.test_page import parsed

Row = tuple[str, str, str, int, float, float]


def write_csv(path: Path, rows: Iterator[Row]) -> Path:
    path.write_text("method,suite,task,seed,step,score\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def rising(method: str, tasks: str, seeds: int, end: int, top: float) -> Iterator[Row]:
    """Scores that rise to about `top` at `end`, a little apart for each seed."""
    for task in tasks:
        for seed in range(seeds):
            for index in range(1, 11):
                yield method, "dmc", task, seed, index * end / 10, top * index / 10 + seed


def report(source: Path, config: str = "", *options: str) -> Path:
    out = source.parent / "report"
    (source.parent / "config.yaml").write_text(config + "\nformats: [svg]\n")
    arguments = ["report", str(source), "--out", str(out), "--config", str(source.parent / "config.yaml")]
    assert run([*arguments, "--resamples", "200", *options]) == 0
    return out


def table(out: Path, name: str = "aggregates") -> dict[str, dict[str, str]]:
    with open(out / "tables" / f"{name}.csv") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def codes(out: Path) -> dict[str, str]:
    return {one["code"]: one["text"] for one in json.loads((out / "report.json").read_text())["findings"]}


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., Path]:
    return lambda *parts: write_csv(tmp_path / "scores.csv", (row for part in parts for row in part))


def test_one_crashed_seed_of_a_baseline_decides_nobodys_headline(rows: Callable[..., Path]) -> None:
    crashed = [("base", "dmc", "a", 4, 10_000, 3.0)]
    out = report(rows(rising("ours", "abc", 5, 100_000, 900), rising("base", "bc", 5, 100_000, 630),
                      rising("base", "a", 4, 100_000, 630), crashed), "baseline: base")  # fmt: skip
    found = table(out)
    assert float(found["ours"]["IQM"]) == pytest.approx(0.902)
    assert float(found["base"]["IQM"]) == pytest.approx(0.632, abs=0.001)
    assert found["ours"]["env steps"] == "100k"
    assert found["base"]["runs"] == "14"
    assert "seed4 ends at 10000" in codes(out)["short_runs"]
    with open(out / "tables" / "left_out.csv") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["dmc/a/base/seed4"]
    with open(out / "tables" / "runs.csv") as file:
        read = {(row["method"], row["task"], row["seed"]): row["read from"] for row in csv.DictReader(file)}
    assert read["ours", "a", "0"] == "the evaluation at 100000"
    assert read["base", "a", "4"].startswith("ends at 10000")
    page = (out / "report.html").read_text()
    assert "Lines end where the tables read the final scores: base 100k, ours 100k env steps." in page
    against = table(out, "differences")["ours"]
    assert float(against["IQM difference"]) == pytest.approx(float(found["ours"]["IQM"]) - float(found["base"]["IQM"]))
    assert float(against["IQM difference low"]) < 0.27 < float(against["IQM difference high"]) + 0.01
    assert float(against["P(improvement)"]) == 1.0
    assert table(out, "ranking")["ours"]["rank"] == "1.0"
    switches = [tag for tag in parsed(page).tags if tag == "input"]
    assert len(switches) == 2


def test_methods_of_unequal_training_are_read_at_their_own_ends(rows: Callable[..., Path]) -> None:
    out = report(rows(rising("long", "ab", 5, 100_000, 900), rising("brief", "ab", 5, 20_000, 300)))
    found = table(out)
    assert (found["long"]["env steps"], found["brief"]["env steps"]) == ("100k", "20k")
    assert float(found["long"]["IQM"]) == pytest.approx(0.902)
    assert "brief at 20000, long at 100000" in codes(out)["unequal_ends"]


def test_one_seed_has_no_interval_anywhere(rows: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = report(rows(rising("ours", "ab", 1, 1000, 900), rising("base", "ab", 1, 1000, 600)))
    assert "0.900 (n = 1)" in capsys.readouterr().out
    assert "0.900 (n = 1)" in (out / "tables" / "aggregates.tex").read_text()
    assert "0.900 (n = 1)" in (out / "report.html").read_text()
    found = table(out)["ours"]
    assert (found["IQM low"], found["IQM high"], found["IQM statistic"]) == ("", "", "n = 1")
    with open(out / "figures" / "aggregate_dmc.csv") as file:
        assert {row["low"] for row in csv.DictReader(file)} == {""}
    assert "n = 1, so no band" in (out / "report.html").read_text()
    assert "zero_width" not in codes(out)


def test_a_task_without_a_human_score_is_not_pooled_raw(rows: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "human.csv").write_text("task,random,human\na,0,1000\nb,0,1000\nC,0,2000\n")
    source = rows((m, "atari", t, s, n, v) for m, _, t, s, n, v in rising("ours", "abc", 5, 1000, 500))
    out = report(source, "normalise: {human: human.csv}")  # beside the config, wherever the command is run
    found = table(out)["ours"]
    assert float(found["mean"]) == pytest.approx(0.502)
    assert found["tasks"] == "2 of 3"
    assert "nearest: C" in codes(out)["other_scale"]


def test_an_unchanged_report_is_not_made_again(
    rows: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = rows(rising("ours", "ab", 5, 1000, 900))
    out = report(source)
    shown = capsys.readouterr().out

    def everything() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    first = everything()
    with monkeypatch.context() as patched:
        patched.setattr("reports.full_report.write_report", lambda request: pytest.fail("made again"))
        report(source)
    assert capsys.readouterr().out == shown
    assert everything() == first
    page = out / "report.html"
    page.write_text("changed by hand")
    report(source)
    assert everything() == first
    source.write_text(source.read_text().replace("904", "905"))
    report(source)
    changed = everything()
    assert changed != first
    report(source, "final_window: 100")
    assert everything() != changed


def test_an_unknown_baseline_is_refused(rows: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    source = rows(rising("ours", "ab", 5, 1000, 900))
    (source.parent / "config.yaml").write_text("baseline: our\n")
    out, config = str(source.parent / "report"), str(source.parent / "config.yaml")
    assert run(["report", str(source), "--out", out, "--config", config]) == 2
    assert "did you mean 'ours'" in capsys.readouterr().err
