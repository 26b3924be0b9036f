"""The result of benchmarks/sample_model.py as docs/analysis.md has it: Markdown tables of the kept models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysed_models import RESULT_FILE, SETS_FILE, Models, check_kept
from cpu_seconds import CPU_FILE
from marked_section import read_section, write_section

MARKS = ("<!-- tables: python benchmarks/sample_model.py --page docs/analysis.md -->", "<!-- end of tables -->")
STEPS = (1, 2, 3, 4, 6, 10)
NAMES = {"contextwm": "ContextWM", "apv": "vanilla (APV)"}
KNOWN = "_known"
"""Ends the name of a question that is asked again with the videos that the models' own sample held out of training."""
NEW_LOOKS = "Videos of another sample: objects and backgrounds that the models never saw"
KNOWN_LOOKS = "Held-out videos of the sample that they learned from: objects and backgrounds that they know"
MANY_LOOKS = (
    "Videos of the other sample again, of models that learned from 25 samples of 60 videos instead of one of 1,500"
)


def write_page(few: Models, many: Models, page: Path) -> None:
    """Put the tables of all models between the page's two marks.

    Raises:
        SystemExit: a model is missing, or the page has no such marks; it is as it was.
    """
    read_section(page, MARKS)
    missing = [*few.remaining(), *many.remaining()]
    if missing:
        raise SystemExit(f"{len(missing)} models are missing: make those that `--remaining` lists")
    write_section(page, MARKS, tables(few, many))


def tables(few: Models, many: Models) -> str:
    """What each kept model predicts, and what its states and its context path do; Markdown.

    Args:
        few: models of one sample, asked about another one and about held-out videos of their own.
        many: models of many samples, asked about the other one.
    """
    check_kept(few, {})
    check_kept(many, {})
    _check_one_judge(few, many)
    parts = ((few, NEW_LOOKS, ""), (few, KNOWN_LOOKS, KNOWN), (many, MANY_LOOKS, ""))
    return "\n\n".join(text for part in parts for text in _of_videos(*part))


def _check_one_judge(few: Models, many: Models) -> None:
    seen = [
        json.loads((models.folder(*model) / SETS_FILE).read_text())
        for models in (few, many) for model in models.wanted() if models.is_kept(*model)
    ]  # fmt: skip
    for name in set.intersection(*(set(sets) for sets in seen)) if seen else ():
        if len({sets[name] for sets in seen}) > 1:
            raise SystemExit(
                f"{few.kept} and {many.kept} were asked about other videos of {name}: move one of them away"
            )


def _of_videos(models: Models, name: str, ending: str) -> Iterator[str]:
    yield f"*{name}*:"
    yield "\n".join(_predictions(models, ending))
    yield "\n".join(_states(models, ending))


def _predictions(models: Models, ending: str) -> Iterator[str]:
    steps = ", ".join(map(str, STEPS))
    yield (
        f"| | squared error over a copy's, {steps} frames ahead | over all ten | over a blurred copy's | PSNR (dB) "
        "| SSIM | CPU-minutes |"
    )
    yield "|---|---|---|---|---|---|---|"
    copy: Mapping[str, Any] = {}
    for name, folder in _kept(models):
        numbers = _numbers(folder, "predict" + ending)
        copy, line = numbers["copy"], _only(numbers["lines"])
        ratio = line["copy_ratio"]
        each = " · ".join(_step(ratio["per_step"], step) for step in STEPS)
        psnr, ssim = line["psnr"]["overall"]["point"], line["ssim"]["overall"]["point"]
        blurred = _interval(line["blurred_copy_ratio"]["overall"])
        yield (
            f"| {name} | {each} | {_interval(ratio['overall'])} | {blurred} | {psnr:.1f} | {ssim:.3f} "
            f"| {_minutes(folder)} |"
        )
    if copy:
        psnr, ssim, ratio = copy["psnr"]["overall"]["point"], copy["ssim"]["overall"]["point"], copy["blurred_ratio"]
        each = " · ".join(_step(ratio["per_step"], step) for step in STEPS)
        yield f"| a copy | 1 | 1 | | {psnr:.1f} | {ssim:.3f} | |"
        yield f"| a blurred copy | {each} | {_interval(ratio['overall'])} | 1 | | | |"


def _states(models: Models, ending: str) -> Iterator[str]:
    yield (
        "| | attention's distance from the object (pixels; the same place, everywhere) | A's motion kept (in A's own "
        "reconstruction) | appearance of B, of A | label, background read by a linear probe |"
    )
    yield "|---|---|---|---|---|"
    for name, folder in _kept(models):
        composed = _only(_numbers(folder, "compose" + ending)["models"])
        motion, looks = composed["tracked"], composed["appearance"]
        probe = _only(_numbers(folder, "embed" + ending)["models"])
        label, background = (probe[what]["accuracy"]["point"] for what in ("label", "background"))
        yield (
            f"| {name} | {_attention(folder, ending)} | {_interval(motion['of_a'])} "
            f"({motion['reconstruction']['point']:.2f}) | {looks['of_b']['point']:.2f}, {looks['of_a']['point']:.2f} "
            f"| {label:.1%}, {background:.1%} |"
        )


def _attention(folder: Path, ending: str) -> str:
    numbers = _numbers(folder, "attention" + ending)
    if not numbers:
        return "no context path"
    found = _interval(_only(numbers["models"])["centre"])
    return f"{found} ({numbers['identity']['point']:.2f}, {numbers['uniform']['point']:.2f})"


def _kept(models: Models) -> Iterator[tuple[str, Path]]:
    for method in models.asked:
        for seed in models.seeds:
            if models.is_kept(method, seed):
                yield f"{NAMES[method]}, seed {seed}", models.folder(method, seed)


def _numbers(folder: Path, kind: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((folder / RESULT_FILE).read_text()).get(kind, {}).get("numbers", {})
    return found


def _only(found: Mapping[str, Any]) -> Mapping[str, Any]:
    (one,) = found.values()
    return one


def _step(found: Mapping[str, Any], step: int) -> str:
    """Of so many frames ahead; bold where the interval lies below one."""
    text = f"{found['point'][step - 1]:.2f}"
    return f"**{text}**" if found["high"][step - 1] < 1 else text


def _interval(found: Mapping[str, Any]) -> str:
    return f"{found['point']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _minutes(folder: Path) -> str:
    seconds = json.loads((folder / CPU_FILE).read_text())["cpu_seconds"]
    return "not counted to its end" if seconds is None else f"{seconds / 60:.0f}"
