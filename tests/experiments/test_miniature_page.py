"""The miniature's page: its tables are of seeds that all lines have, and say what the kept runs say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import miniature_page
import miniature_protocol as miniature
import pytest
from marked_section import read_section

from tests.experiments.runs_of_scripts import ROOT
from tests.experiments.test_miniature import keep_run

PAGE = ROOT / "docs" / "miniature.md"
LINES = tuple(line for line in miniature.LINES if line.name in ("dreamerv2", "contextwm", "contextwm@in-domain"))


def small(kept: Path) -> miniature.Scale:
    return replace(
        miniature.WHOLE, kept=kept, pilots=None, targets=("cheetah_run",), lines=LINES, seeds=(1, 2, 3, 4),
        extra_seeds=(1, 2, 3),
    )  # fmt: skip


def keep(scale: miniature.Scale, line: miniature.Line, seed: int, score: float) -> None:
    folder = miniature.kept(scale, miniature.run_path(scale, "cheetah_run", line, seed))
    keep_run(folder, [score, score], [1.0, 3.0])


def page_at(folder: Path) -> Path:
    page = folder / "page.md"
    page.write_text(f"before\n\n{miniature_page.BEGIN}\nold\n{miniature_page.END}\n\nafter\n")
    return page


def test_tables_are_of_the_seeds_that_all_lines_have(tmp_path: Path) -> None:
    scale, page = small(tmp_path / "kept"), page_at(tmp_path)
    before = page.read_text()
    for seed in (1, 2, 3):
        with pytest.raises(SystemExit, match="seeds are whole, and tables stand on the page from 3 on"):
            miniature_page.write_page(scale, page)
        for line, score in zip(LINES, (10.0, 20.0 + seed, 5.0), strict=True):
            keep(scale, line, seed, score)
    assert page.read_text() == before
    keep(scale, LINES[0], 4, 999.0)  # ContextWM's is not there yet
    miniature_page.write_page(scale, page)
    text = page.read_text()
    assert text.startswith("before\n\n<!--")
    assert text.endswith("-->\n\nafter\n")
    assert "\nold\n" not in text
    assert "**9 of the 11 runs**, seeds 1 to 3 of every line" in text
    assert "999" not in text
    assert "| `dmcr/cheetah_run` | ContextWM | 22.0 | [21.0, 23.0] | 21 22 23 |" in text
    assert "| `dmcr/cheetah_run` | random policy | 2.0 | [" in text
    assert "| ContextWM > DreamerV2 | 1.00 | [1.00, 1.00] | the first is better |" in text
    miniature_page.write_page(scale, page)
    assert page.read_text() == text
    keep(scale, LINES[1], 4, 24.0)
    miniature_page.write_page(scale, page)
    assert "**All 11 runs**, seeds 1 to 4; of the lines beside the main table 1 to 3." in page.read_text()
    assert "| 10 10 10 999 |" in page.read_text()


def test_speed_is_of_all_evaluations_and_of_the_seeds_whose_curves_had_not_been_seen(tmp_path: Path) -> None:
    """Both end alike; ContextWM gets there sooner in all seeds, which only the later ones may say."""
    assert miniature.SPEED_SEEDS == (5, 6, 7, 8)
    scale = replace(small(tmp_path / "kept"), lines=LINES[:2], seeds=(1, 2, 3, 4, 5, 6))
    page = page_at(tmp_path)
    for seed in scale.seeds:
        for line, middle in zip(LINES, (5.0, 40.0), strict=False):
            folder = miniature.kept(scale, miniature.run_path(scale, "cheetah_run", line, seed))
            keep_run(folder, random=[1.0, 3.0])
            lines = [{"env_steps": steps, "returns": [found, found], "wall_seconds": 60}
                     for steps, found in ((4, 2.0), (8, middle), (12, 50.0 + seed))]  # fmt: skip
            (folder / "evaluations.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        if seed > 2:
            miniature_page.write_page(scale, page)
        assert ("How soon they learn" in page.read_text()) == (seed == 6)
    text = page.read_text()
    assert "mean of all evaluations of a run, seeds 5 to 6 alone" in text
    of_ends, of_speed = text.split("How soon they learn")
    assert "| ContextWM > DreamerV2 | 0.50 |" in of_ends
    assert "| ContextWM > DreamerV2 | 1.00 | [1.00, 1.00] | the first is better |" in of_speed


def test_a_page_without_a_place_for_tables_and_pilots_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text")
    with pytest.raises(SystemExit, match="has no place for the tables: expected one line"):
        miniature_page.write_page(small(tmp_path), page)
    assert page.read_text() == "text"
    with pytest.raises(SystemExit, match="pilots of several settings"):
        miniature_page.write_page(miniature.PILOT, page_at(tmp_path))


def test_a_difference_is_read_only_where_the_interval_leaves_a_half_out() -> None:
    read = miniature_page.reading
    assert read({"low": 0.51, "high": 0.9}) == miniature_page.BETTER
    assert read({"low": 0.1, "high": 0.49}) == miniature_page.WORSE
    assert read({"low": 0.5, "high": 0.9}) == read({"low": 0.1, "high": 0.5}) == miniature_page.OPEN


def test_the_models_of_the_page_have_their_names(tmp_path: Path) -> None:
    scale = small(tmp_path / "kept")
    folder = scale.kept / "pretrain" / "in_cheetah_run" / "contextwm@in-domain" / "seed0"
    folder.mkdir(parents=True)
    lines = [{"updates": updates, "wall_seconds": 60, "open_loop_mse": [0.5], "copy_last_mse": [1.0]}
             for updates in (500, 1000)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert list(miniature_page.model_rows(scale))[2:] == [
        "| ContextWM, in-domain videos, of `dmcr/cheetah_run` | 500 | 0.50 | not counted to its end |  |"
    ]


def test_the_page_says_what_the_kept_runs_say() -> None:
    found = read_section(PAGE, (miniature_page.BEGIN, miniature_page.END))
    if not found:
        assert "No table stands here before all lines have at least three seeds" in PAGE.read_text()
        return
    last = re.search(r"seeds 1 to (\d)", found)
    assert last, found.splitlines()[0]
    seeds = tuple(range(1, int(last[1]) + 1))
    assert seeds == miniature_page.whole_seeds(miniature.WHOLE)[: len(seeds)]
    assert found == miniature_page.tables(miniature.WHOLE, seeds), "write it again: --summary --page"
