"""The result of benchmarks/miniature.py as docs/miniature.md has it: tables of the seeds that all lines have.

A seed counts when every run of it is kept, so that no line is read beside another that has more runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from marked_section import read_section, write_section
from miniature_protocol import LATER_PAIRS, SPEED_SEEDS, Scale, remaining, wanted
from miniature_summary import improvements, pretraining, scores, speeds

BEGIN, END = "<!-- tables: python benchmarks/miniature.py --page docs/miniature.md -->", "<!-- end of tables -->"
FEWEST = 3
"""Seeds that all lines must have before there are tables."""
NAMES = {"dreamerv2": "DreamerV2", "apv": "APV", "contextwm": "ContextWM", "prelar": "PreLAR"}
STARTS = {
    "": "", "random": ", random weights", "in-domain": ", in-domain videos", "quarter": ", a quarter of the updates",
    "sixteenth": ", a sixteenth",
}  # fmt: skip
BETTER, WORSE, OPEN = "the first is better", "the second is better", "no difference seen"


def write_page(scale: Scale, page: Path) -> None:
    """Put the tables of the kept runs between the page's two marks.

    Raises:
        SystemExit: it would be of pilots, the page has no such marks, or too few seeds are whole; it is as it was.
    """
    if scale.named:
        raise SystemExit("pilots of several settings lie in one folder: --page is for the main table alone")
    read_section(page, (BEGIN, END))
    seeds = whole_seeds(scale)
    if len(seeds) < FEWEST:
        raise SystemExit(
            f"{len(seeds)} seeds are whole, and tables stand on the page from {FEWEST} on: make the runs that "
            "`python benchmarks/miniature.py --remaining` lists"
        )
    write_section(page, (BEGIN, END), tables(scale, seeds))


def whole_seeds(scale: Scale) -> tuple[int, ...]:
    """The first seeds of the protocol's order of which no run is missing."""
    missing = {seed for _, _, seed in remaining(scale)}
    seeds = sorted({*scale.seeds, *scale.extra_seeds})
    return tuple(seeds[: next((place for place, seed in enumerate(seeds) if seed in missing), len(seeds))])


def tables(scale: Scale, seeds: tuple[int, ...]) -> str:
    """Every run of these seeds, means and intervals, compared pairs, models; Markdown."""
    part = replace(
        scale,
        seeds=tuple(seed for seed in scale.seeds if seed in seeds),
        extra_seeds=tuple(seed for seed in scale.extra_seeds if seed in seeds),
    )
    tasks = scores(part)
    return "\n\n".join([
        _which(scale, part), "\n".join(_score_rows(part, tasks)), "\n".join(_pair_rows(improvements(tasks))),
        *_later(tasks), *_speed(part), "\n".join(model_rows(part)),
    ])  # fmt: skip


def _later(tasks: Mapping[str, Any]) -> Iterator[str]:
    """What nobody had fixed before the runs were looked at."""
    rows = list(_pair_rows(improvements(tasks, LATER_PAIRS)))
    if rows[2:]:
        yield (
            "Asked later, after tables of five seeds had been read, and so no finding of this protocol: are the two "
            "networks apart without pre-training, too?"
        )
        yield "\n".join(rows)


def _speed(part: Scale) -> Iterator[str]:
    """Which lines learn sooner, once two of the seeds that can say so are whole."""
    seeds = [seed for seed in part.seeds if seed in SPEED_SEEDS]
    if len(seeds) > 1:
        yield (
            f"How soon they learn: the same by the mean of all evaluations of a run, seeds {seeds[0]} to {seeds[-1]} "
            "alone (the curves of those before had been seen):"
        )
        yield "\n".join(_pair_rows(speeds(part)))


def _which(scale: Scale, part: Scale) -> str:
    made, all_of_them = len(wanted(part)), len(wanted(scale))
    seeds = f"seeds {part.seeds[0]} to {part.seeds[-1]}"
    beside = f"; of the lines beside the main table {part.extra_seeds[0]} to {part.extra_seeds[-1]}"
    if made == all_of_them:
        return f"**All {made} runs**, {seeds}{beside}. Mean returns with 95 % bootstrap intervals, and every run:"
    return (
        f"**{made} of the {all_of_them} runs**, {seeds} of every line; the others are being made, and the intervals "
        "will narrow. Mean returns with 95 % bootstrap intervals, and every run:"
    )


def title(line: str) -> str:
    """A line's name for people."""
    method, _, start = line.partition("@")
    return NAMES[method] + STARTS[start]


def _score_rows(part: Scale, tasks: Mapping[str, Any]) -> Iterator[str]:
    yield "| target | line | mean | 95 % interval | runs, by seed |"
    yield "|---|---|---|---|---|"
    for task, rows in tasks.items():
        for line in part.lines:
            row = rows[line.name]
            runs = " ".join(f"{score:.0f}" for score in row["scores"])
            yield f"| `{task}` | {title(line.name)} | {_with_interval(row)} | {runs} |"
        row = rows["random"]
        yield f"| `{task}` | random policy | {_with_interval(row)} | ({row['n']:,} episodes) |"


def _with_interval(row: Mapping[str, Any]) -> str:
    return f"{row['mean']:.1f} | [{row['low']:.1f}, {row['high']:.1f}]"


def _pair_rows(pairs: Iterable[tuple[str, Mapping[str, float]]]) -> Iterator[str]:
    yield "| first > second | probability | 95 % interval | read as |"
    yield "|---|---|---|---|"
    for pair, told in pairs:
        first, second = map(title, pair.split(" > "))
        interval = f"[{told['low']:.2f}, {told['high']:.2f}]"
        yield f"| {first} > {second} | {told['probability']:.2f} | {interval} | {reading(told)} |"


def reading(told: Mapping[str, float]) -> str:
    """What a probability of improvement says: a difference only where its interval leaves a half out."""
    return BETTER if told["low"] > 0.5 else WORSE if told["high"] < 0.5 else OPEN


def model_rows(part: Scale) -> Iterator[str]:
    """Of each kept model, when its prediction beat copying, how it ended and what it took."""
    yield "| model | updates until prediction beats copying | copy ratio at the end | CPU-seconds | latent actions |"
    yield "|---|---|---|---|---|"
    for place, told in pretraining(part):
        _, videos, line, _ = Path(place).parts
        after = told["beats_copying_after"]
        what, task = videos.split("_", 1)
        cells = [
            f"{title(line)}, {'of' if what == 'in' else 'for'} `dmcr/{task}`",
            f"{after['updates']:,}" if after else "never twice in a row",
            "" if told["copy_ratio"] is None else f"{told['copy_ratio']:.2f}",
            "not counted to its end" if told["cpu_seconds"] is None else f"{told['cpu_seconds']:,.0f}",
            told["latent_actions"].get("verdict", ""),
        ]
        yield f"| {' | '.join(cells)} |"
