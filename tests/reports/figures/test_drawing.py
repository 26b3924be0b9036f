"""Figures are drawn by several processes, and again only when what they show has changed; the bytes are the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.atomic_file import write_bytes
from reports.figures import drawing as module
from reports.figures.drawing import Drawing, draw
from reports.figures.drawn import DrawnFigure, PlannedFigure
from reports.figures.kept_drawings import FOLDER, KeptDrawings
from reports.figures.panels import Curve, Panel, PanelPlot


def plan(name: str, level: float = 1.0, panels: int = 5) -> PlannedFigure:
    steps = np.arange(4.0)
    line = Curve("method", steps, level * steps, steps / 2, 2 * steps, runs=3)
    return PlannedFigure(name, name, "caption", PanelPlot([Panel(f"panel {i}", [line]) for i in range(panels)]))


def drawn(plans: list[PlannedFigure], *options: object) -> list[DrawnFigure]:
    with Drawing(*options) as drawing:  # type: ignore[arg-type]
        for one in plans:
            drawing.add(one)
        return drawing.finish(plans)


def files(figures: list[DrawnFigure]) -> dict[str, bytes]:
    return {f"{figure.name}.{kind}": data for figure in figures for kind, data in figure.files.items()}


def test_several_processes_draw_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = module._start

    def starting() -> subprocess.Popen[bytes] | None:
        worker = start()
        assert worker is not None
        started.append(worker)
        return worker

    monkeypatch.setattr(module, "_start", starting)
    plans = [plan(f"figure{index}", panels=7) for index in range(3)]
    alone = drawn(plans, ("pdf", "svg", "png"), 1)
    assert not started
    with Drawing(("pdf", "svg", "png"), 2) as drawing:
        for one in plans:
            drawing.add(one)
        drawing._closed.wait(0.2)
        for thread in drawing._threads:  # let the other process draw everything
            drawing._closed.set()
            thread.join()
        together = drawing.finish(plans)
    assert len(started) == 1
    assert started[0].returncode == 0
    assert files(alone) == files(together)
    assert set(files(alone)) == {f"figure{i}.{kind}" for i in range(3) for kind in ("pdf", "svg", "png", "csv")}


def test_what_a_dead_process_had_taken_is_drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead() -> subprocess.Popen[bytes]:
        worker = subprocess.Popen(["false"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        worker.wait()
        return worker

    monkeypatch.setattr(module, "_start", dead)
    plans = [plan("a", panels=7), plan("b", panels=7)]
    assert [figure.name for figure in drawn(plans, ("svg",), 2)] == ["a", "b"]


@pytest.mark.parametrize("formats", [("svg", "pdf"), ("pdf",)])
def test_only_what_changed_is_drawn_again(
    formats: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(one: PlannedFigure, wanted: tuple[str, ...]) -> dict[str, bytes]:
        asked.append(one.name)
        return draw(one, wanted)

    monkeypatch.setattr(module, "draw", counted)

    def report(*plans: PlannedFigure) -> dict[str, bytes]:
        asked.clear()
        kept = KeptDrawings(tmp_path, formats)
        found = drawn(list(plans), formats, 1, kept)
        for name, data in files(found).items():
            write_bytes(tmp_path / "figures" / name, data)
        kept.write()
        return files(found) | {f"{figure.name} on the page": figure.page_svg for figure in found}

    first = report(plan("a"), plan("b"))
    assert asked == ["a", "b"]
    assert report(plan("a"), plan("b")) == first
    assert asked == []
    changed = report(plan("a"), plan("b", level=1.5))
    assert asked == ["b"]
    assert changed["b.csv"] != first["b.csv"]
    (tmp_path / "figures" / "a.pdf").write_bytes(b"somebody else's")
    assert report(plan("a"), plan("b", level=1.5)) == changed
    assert asked == ["a"]
    report(plan("a"))
    assert asked == []
    assert {path.name for path in (tmp_path / FOLDER).glob("*.svg")} == (set() if "svg" in formats else {"a.svg"})
