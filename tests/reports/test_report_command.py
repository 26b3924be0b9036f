"""`ipv-bench report` from the command line: what it writes, twice the same, and what it refuses."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from ipv_bench.cli import run
from ipv_bench.run_record import read_record, write_record
from reports.published_places import PublishedPlaces
from tests.reports.page.test_page import HOSTILE, parsed
from tests.reports.synthetic_runs import write_finetuning

QUICK = ("--resamples", "50")


def report(*arguments: object) -> int:
    return run(["report", *map(str, arguments), *QUICK])


@pytest.fixture
def one_task(tmp_path: Path) -> Path:
    """Five seeds of one method on one task."""
    for seed in range(5):
        write_finetuning(tmp_path / "runs", "dmc/cartpole_balance", "apv", seed, data=("ssv2",), points=4)
    return tmp_path / "runs"


def test_page_tables_figures_and_data_are_written(small_report: Path):
    page = parsed((small_report / "report.html").read_text())
    text = " ".join(page.text)
    for heading in ("Summary", "Warnings", "Learning curves", "Comparisons", "Pre-training", "Runs", "Provenance"):
        assert heading in text
    assert "random policy" not in text  # inside the figures only, as paths
    local = [one for one in page.addresses if one.startswith(("figures/", "tables/", "data.", "report."))]
    assert local
    assert all((small_report / one).is_file() for one in local)
    names = {path.name for path in (small_report / "figures").iterdir()}
    assert {"curves_dmc.svg", "aggregate_dmc.pdf", "pretraining_losses.png", "prediction_error.svg"} <= names
    assert len(pd.read_parquet(small_report / "data.parquet")) == 20 * 4


@pytest.mark.parametrize(
    ("seeds", "line"),
    [((5,), "Line: IQM of n = 5 runs;"), ((2,), "Line: mean of n = 2 runs;"),
     ((5, 2), "Line: IQM or mean (n=2) of n = 2 to 5 runs;")],
)  # fmt: skip
def test_a_caption_says_what_a_line_is_of_and_of_how_many_runs_once(tmp_path: Path, seeds: tuple[int, ...], line: str):
    for method, count in zip(("apv", "contextwm"), seeds, strict=False):
        for seed in range(count):
            write_finetuning(tmp_path / "runs", "dmc/cartpole_balance", method, seed, data=("ssv2",), points=4)
    assert report(tmp_path / "runs", "--out", tmp_path / "report") == 0
    assert line in " ".join(parsed((tmp_path / "report" / "report.html").read_text()).text)


def test_the_page_leads_from_scores_to_the_inventory_of_the_videos(small_report: Path):
    text = " ".join(parsed((small_report / "report.html").read_text()).text)
    assert "efefefefefef" in text  # checkpoint
    assert "abababababab" in text  # manifest
    assert "cdcdcdcdcdcd" in text  # inventory
    record = json.loads((small_report / "report.json").read_text())
    tuned = [one for one in record["runs"] if one["parent"]]
    assert len(tuned) == 10
    assert all(one["shard_sets"][0]["inventory_sha256"] == "cd" * 32 for one in tuned)


def test_links_to_runs_lead_to_them(small_report: Path):
    page = parsed((small_report / "report.html").read_text())
    runs = [one for one in page.addresses if one.endswith("seed0")]
    assert runs
    assert all((small_report / one / "run.json").is_file() for one in runs)


def test_the_same_command_gives_the_same_bytes(one_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def written() -> dict[str, bytes]:
        assert report("runs", "--quiet") == 0
        return {str(path): path.read_bytes() for path in sorted(Path("report").rglob("*")) if path.is_file()}

    assert written() == written()


def test_files_of_an_earlier_report_do_not_stay(one_task: Path, tmp_path: Path):
    out = tmp_path / "report"
    assert report(one_task, "--out", out, "--quiet") == 0
    (out / "figures" / "mine.txt").write_text("not ours")
    for seed in range(5):
        (one_task / "dmc/cartpole_balance/apv" / f"seed{seed}").rename(tmp_path / f"gone{seed}")
        write_finetuning(one_task, "metaworld/reach", "apv", seed, data=("ssv2",), points=4)
    assert report(one_task, "--out", out, "--quiet") == 0
    names = {path.name for path in (out / "figures").iterdir()}
    assert "curves_metaworld.svg" in names
    assert "mine.txt" in names
    assert not any("dmc" in name for name in names)


def test_the_terminal_shows_a_table_and_the_page(one_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert report(one_task, "--out", tmp_path / "report") == 0
    shown = capsys.readouterr().out
    assert "IQM" in shown
    assert shown.strip().splitlines()[-1] == str(tmp_path / "report" / "report.html")


def test_strict_fails_with_status_4_after_writing(one_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert report(one_task, "--out", tmp_path / "report", "--strict", "--quiet") == 4
    assert (tmp_path / "report" / "report.html").is_file()
    assert "only task" in capsys.readouterr().err


def test_runs_of_different_environments_are_refused_with_the_difference(
    one_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = {"suite": "dmc", "physics": "mujoco 2.0", "render_profile": "faithful"}
    write_finetuning(one_task, "dmc/cartpole_balance", "apv", 5, data=("ssv2",), points=4, env_fingerprint=other)
    out = tmp_path / "report"
    assert report(one_task, "--out", out, "--quiet") == 2
    error = capsys.readouterr().err
    assert "physics" in error
    assert "mujoco 2.0" in error
    assert "--allow-mixed" in error
    assert report(one_task, "--out", out, "--quiet", "--allow-mixed") == 0
    assert "mixed environments" in (out / "report.html").read_text()


def test_hostile_names_reach_the_page_as_text(tmp_path: Path):
    runs = tmp_path / "runs"
    for seed in range(2):
        folder = runs / f"run{seed}"
        write_finetuning(runs, "dmc/walker_run", "apv", seed, folder=folder, points=3)
        named = read_record(folder).model_copy(update={"task": HOSTILE, "variant": HOSTILE, "method": HOSTILE})
        write_record(folder, named)
    assert report(runs, "--out", tmp_path / "report", "--quiet") == 0
    page = parsed((tmp_path / "report" / "report.html").read_text())
    assert "img" not in page.tags
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", path.name) for path in (tmp_path / "report").rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--figures", "fig55"), "did you mean 'fig5"),
        (("--config", "absent.yaml"), "cannot read the config"),
    ],
)
def test_wrong_options(
    arguments: tuple[str, ...], expected: str, one_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert report(one_task, "--out", tmp_path / "report", *arguments) == 2
    assert expected in capsys.readouterr().err


FIGURE = """
figures:
  mine:
    title: mine
    suite: dmc
    tasks: [{task}]
    methods: [{{label: a, where: {{{where}}}}}]
    seeds: 6
"""


@pytest.mark.parametrize(
    ("task", "where", "expected"),
    [
        ("cartpole_balanc", "method: apv", "did you mean 'cartpole_balance'"),
        ("cartpole_balance", "method: contxtwm", "did you mean 'contextwm'"),
        ("cartpole_balance", "pretraining.dat: [ssv2]", "did you mean 'pretraining.data'"),
    ],
)
def test_names_in_a_figure_are_checked(
    task: str, where: str, expected: str, one_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "own.yaml").write_text(FIGURE.format(task=task, where=where))
    assert report(one_task, "--out", tmp_path / "report", "--config", tmp_path / "own.yaml") == 2
    assert expected in capsys.readouterr().err


def test_a_figure_of_ones_own_names_its_missing_run(one_task: Path, tmp_path: Path):
    (tmp_path / "own.yaml").write_text(FIGURE.format(task="cartpole_balance", where="method: apv"))
    missing = tmp_path / "missing.txt"
    out = tmp_path / "report"
    arguments = (one_task, "--out", out, "--config", tmp_path / "own.yaml", "--missing-commands", missing)
    assert report(*arguments, "--quiet") == 0
    assert (out / "figures" / "mine.pdf").is_file()
    (line,) = missing.read_text().splitlines()
    assert "--task dmc/cartpole_balance" in line
    assert "--seed 5" in line
    assert "mine lacks 1 runs" in (out / "report.html").read_text()


def test_commands_come_before_any_run_exists(tmp_path: Path):
    missing = tmp_path / "missing.txt"
    arguments = (tmp_path / "runs", "--out", tmp_path / "report", "--figures", "fig5b", "--missing-commands", missing)
    assert report(*arguments, "--quiet") == 0
    assert len(missing.read_text().splitlines()) == 3 + 6 * 48
    assert (tmp_path / "report" / "figures" / "fig5b.svg").is_file()


def test_an_empty_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "runs").mkdir()
    assert report(tmp_path / "runs", "--out", tmp_path / "report") == 2
    assert "no runs in" in capsys.readouterr().err


def test_unwritable_outputs(one_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("")
    assert report(one_task, "--out", tmp_path / "file") == 2
    assert report(one_task, "--out", tmp_path / "file" / "report") == 2
    assert report(one_task, "--out", "/proc/report") == 2
    assert report(one_task, "--out", Path(__file__).parents[2] / "reports") == 2
    error = capsys.readouterr().err
    assert "is a file" in error
    assert "Python package" in error
    assert error.count("error:") == 4


def test_config_fields_are_checked(one_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "own.yaml").write_text("grid: {point: union}\n")
    assert report(one_task, "--out", tmp_path / "report", "--config", tmp_path / "own.yaml") == 2
    assert "did you mean 'grid.points'" in capsys.readouterr().err


def test_without_rliable_the_report_is_made_and_says_so(
    one_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Python 3.14, which has no builds of rliable and arch."""
    for name in ("rliable", "arch"):
        monkeypatch.setitem(sys.modules, name, None)
    assert report(one_task, "--out", tmp_path / "report") == 0
    findings = json.loads((tmp_path / "report" / "report.json").read_text())["findings"]
    assert [(one["level"], one["code"]) for one in findings if one["code"] == "no_rliable"] == [("note", "no_rliable")]
    assert "rliable is not installed here" in (tmp_path / "report" / "report.html").read_text()


LINE = "[{label: a, where: {method: apv}}]"


@pytest.mark.parametrize(
    ("text", "found", "expected", "fix"),
    [
        ("width: 30", "width 30 is not between", "two_columns, or 2.5 to 24", "set width"),
        ("width: three", "width is 'three'", "one of one_column, two_columns or a number", "give width such a value"),
        ("columns: {scor: x}", "columns has 'scor'", "ours are method, task", "columns: {score: the table's name}"),
        ("names: abc", "'abc' has no placeholder", "{task}/{method}/{seed}", "name what each part"),
        ("grid: {points: every}", "grid.every is not set", "the distance of two points", "set grid.every"),
        ("grid: {start: 5, stop: 4}", "grid.start 5 is behind grid.stop 4", "start before stop", "swap them"),
        ("normalise: {factors: {sac: -1}}", "normalise.factors of sac", "positive, finite", "give normalise.factors"),
        ("figures: {a: {title: t, suite: dmc, tasks: [x]}}", "panel 1 has no methods", "`methods`", "add `methods`"),
        (f"figures: {{'a b': {{title: t, suite: dmc, tasks: [x], methods: {LINE}}}}}", "'a b'", "letters", "`title`"),
        ("figures: {a: {title: t, panels: [{shw: x}]}}", "'figures.a.panels.0.shw'", "one of methods", "mean 'show'?"),
    ],
)
def test_a_wrong_config_says_what_is_expected_and_what_to_write(
    one_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, found: str, expected: str, fix: str
) -> None:
    (tmp_path / "report.yaml").write_text(text)
    assert report(one_task, "--out", tmp_path / "report", "--config", tmp_path / "report.yaml") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["error:", "expected:", "to"]
    assert all(word in line for word, line in zip((found, expected, fix), lines, strict=True))
    assert not (tmp_path / "report").exists()


HOST, USER = "gpu7.lab.internal", "/home/karla"


@pytest.fixture
def told(one_task: Path) -> Path:
    """Runs whose records tell of a machine."""
    for folder in sorted(one_task.glob("*/*/*/seed*")):
        record = read_record(folder)
        changes = {
            "overrides": {
                "env.host": HOST,
                "env.server_command": f"bash {USER}/run.sh",
                "features.name": f"{USER}/vit",
            },
            "parent": record.parent | {"run": f"{USER}/runs/pretrain/x/seed0", "files": {f"{USER}/w.pt": "ab" * 32}},
            "shard_sets": [{**record.shard_sets[0], "path": f"http://{HOST}:9000/ssv2"}],
        }
        write_record(folder, record.model_copy(update=changes))
    return one_task


def test_a_report_tells_nothing_of_the_machine(told: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    damaged = told / "dmc/cartpole_balance/apv/seed9"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")  # a warning that names it
    assert report(told, "--out", out, "--quiet") == 0
    public = [path for path in out.rglob("*") if path.is_file()]
    kept = (out / ".drawn" / "report.json").read_text()  # hidden, and passed on with the folder all the same
    assert "../runs/dmc/cartpole_balance/apv/seed9" in kept
    assert not [
        (path.name, word)
        for path in public for word in (HOST, USER, str(tmp_path)) if word.encode() in path.read_bytes()
    ]  # fmt: skip
    assert set(pd.read_parquet(out / "data.parquet")["source"]) == {
        f"../runs/dmc/cartpole_balance/apv/seed{seed}" for seed in range(5)
    }
    record = json.loads((out / "report.json").read_text())
    one = record["runs"][0]
    assert one["source"] == "../runs/dmc/cartpole_balance/apv/seed0"
    assert one["parent"]["checkpoint_sha256"] == "ef" * 32
    assert one["parent"]["files"] == {"w.pt": "ab" * 32}
    assert one["shard_sets"][0]["path"] == "ssv2"
    assert run(["trace", str(out / "figures" / "curves_dmc.svg")]) == 0


def test_runs_of_another_disk_are_called_by_the_name_of_their_folder(
    told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They lie in no workspace with the report: its links would lead through folders of the machine."""
    monkeypatch.setattr("ipv_bench.machine_traces.WORKSPACE_DEPTH", 99)
    out = tmp_path / "report"
    assert report(told, "--out", out, "--quiet") == 0
    record = json.loads((out / "report.json").read_text())
    assert record["runs"][0]["source"] == "runs/dmc/cartpole_balance/apv/seed0"
    page = parsed((out / "report.html").read_text())
    assert "runs/dmc/cartpole_balance/apv/seed0" in " ".join(page.text)
    assert not [one for one in page.addresses if "seed0" in one]
    monkeypatch.chdir(tmp_path)
    elsewhere = out.rename(tmp_path.parent / f"{tmp_path.name}-report")
    assert run(["trace", str(elsewhere / "figures" / "curves_dmc.svg")]) == 0
    assert "\u2713 run  " in capsys.readouterr().out


def test_sources_of_one_name_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipv_bench.machine_traces.WORKSPACE_DEPTH", 99)
    places = PublishedPlaces([tmp_path / "a/runs", tmp_path / "b/runs", "given/runs"], tmp_path / "report")
    found = [places.text(f"{tmp_path}/{name}") for name in ("a/runs/x", "b/runs/x", "b/runs2/x")]
    assert found[:2] == ["a/runs/x", "b/runs/x"]
    assert str(tmp_path) not in found[2]
    assert places.text("given/runs/x is odd, 1/2 of it") == "given/runs/x is odd, 1/2 of it"
