"""Numbers and verdicts of `predict`: errors per frame ahead with intervals over videos and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.analysis.action_sources import SOURCE_WORDS, Source
from models.analysis.loaded_model import AnalysedModel
from models.analysis.prediction_errors import BEST, BLURRED, COPY, QUALITY, SHUFFLED, TOLD
from models.metrics.intervals import Interval, VideoBootstrap
from models.metrics.ratios import copy_ratio, shuffle_ratio

Numbers = NDArray[np.float64]
Arrays = Mapping[str, Numbers]


def summarise(arrays: Arrays, models: Sequence[AnalysedModel], bootstrap: VideoBootstrap) -> dict[str, Any]:
    """Means and ratios per frame ahead, and over all of them.

    Args:
        arrays: `copy_*` (N, H), and per measure (runs, N, H), NaN for runs without it.
        models: the runs; those of one line are its seeds.
        bootstrap: of the clips' videos.

    Returns:
        {"copy": {measure: …, "blurred_ratio": the blurred copy's error over the sharp one's}, "lines": {line: {"runs":
        […], measure: …, "copy_ratio": …, "blurred_copy_ratio": over the blurred copy's error, …}}}; each measure is
        {"per_step": {point, low, high}, "overall": {point, low, high}}.
    """
    copied = {name: arrays[f"{COPY}_{name}"][None] for name in QUALITY if f"{COPY}_{name}" in arrays}
    found: dict[str, Any] = {"copy": {name: _mean(bootstrap, values) for name, values in copied.items()}, "lines": {}}
    blurred = arrays[f"{BLURRED}_mse"][None]
    found["copy"]["blurred_ratio"] = _ratio(bootstrap, blurred, copied["mse"])
    lines = list(dict.fromkeys(model.line for model in models))
    first = _of_line(arrays["mse"], models, lines[0])
    for line in lines:
        values: dict[str, Any] = {"runs": [model.label for model in models if model.line == line]}
        mse = _of_line(arrays["mse"], models, line)
        for name in (*QUALITY, *(f"{BEST}_{name}" for name in QUALITY)):
            if name in arrays:
                values[name] = _mean(bootstrap, _of_line(arrays[name], models, line))
        copies = np.broadcast_to(copied["mse"], mse.shape)
        values["copy_ratio"] = _ratio(bootstrap, mse, copies)
        values["blurred_copy_ratio"] = _ratio(bootstrap, mse, np.broadcast_to(blurred, mse.shape))
        if f"{BEST}_mse" in arrays:
            values[f"{BEST}_copy_ratio"] = _ratio(bootstrap, _of_line(arrays[f"{BEST}_mse"], models, line), copies)
        shuffled = arrays.get(f"{SHUFFLED}_mse")
        if shuffled is not None and np.isfinite(other := _of_line(shuffled, models, line)).any():
            own = _of_line(arrays[f"{TOLD}_mse"], models, line)
            values["shuffle_ratio"] = _ratio(bootstrap, other, own)
            values[f"{TOLD}_copy_ratio"] = _ratio(bootstrap, own, copies)
        if line != lines[0] and len(first) == len(mse):
            values["error_against_first"] = _ratio(bootstrap, mse, first)
        values["per_run"] = _per_run(arrays, models, line)
        found["lines"][line] = values
    return found


def _per_run(arrays: Arrays, models: Sequence[AnalysedModel], line: str) -> list[dict[str, Any]]:
    """The ratios of each run by itself, from the one place that defines them."""
    found = []
    for number, model in enumerate(models):
        if model.line != line:
            continue
        mse = arrays["mse"][number]
        values: dict[str, Any] = {"label": model.label, "copy_ratio": copy_ratio(mse, arrays[f"{COPY}_mse"])}
        if f"{SHUFFLED}_mse" in arrays and (known := np.isfinite(other := arrays[f"{SHUFFLED}_mse"][number])).any():
            values["shuffle_ratio"] = shuffle_ratio(arrays[f"{TOLD}_mse"][number][known], other[known])
        found.append(values)
    return found


def _of_line(values: Numbers, models: Sequence[AnalysedModel], line: str) -> Numbers:
    return values[[number for number, model in enumerate(models) if model.line == line]]


def _mean(bootstrap: VideoBootstrap, values: Numbers) -> dict[str, Any]:
    return {"per_step": _json(bootstrap.mean(values)), "overall": _json(bootstrap.mean(values.mean(-1)))}


def _ratio(bootstrap: VideoBootstrap, above: Numbers, below: Numbers) -> dict[str, Any]:
    whole = bootstrap.ratio(above.sum(-1), below.sum(-1))
    return {"per_step": _json(bootstrap.ratio(above, below)), "overall": _json(whole)}


def _json(interval: Interval) -> dict[str, Any]:
    return {name: np.asarray(value).tolist() for name, value in interval._asdict().items()}


def verdicts(numbers: Mapping[str, Any], sources: Mapping[str, Source]) -> list[str]:
    """What the numbers say, one sentence or two per line.

    Args:
        numbers: of `summarise`.
        sources: line → what its models predict under.
    """
    found = []
    for line, values in numbers["lines"].items():
        found.append(f"{line} {_against_copy(values['copy_ratio'], values['blurred_copy_ratio']['overall'])}")
        if "shuffle_ratio" in values:
            told = ""
            if sources[line] == "latent":
                told = (
                    f"; told its own latent actions: copy ratio {interval_text(values['told_copy_ratio']['overall'])}"
                )
            found.append(f"{line} {_with_other_actions(values['shuffle_ratio']['overall'])}{told}")
    return found


def _against_copy(ratio: Mapping[str, Any], over_blurred: Mapping[str, float]) -> str:
    """Squared error rewards blur: what lies below a copy may lie above a blurred one, so both are said."""
    whole = ratio["overall"]
    if not np.isfinite(whole["point"]):
        return "cannot be held against copying: nothing moves in these clips"
    shown = f"copy ratio {interval_text(whole)}"
    if not np.isfinite(whole["low"]):
        better = "is better than copying" if whole["point"] < 1 else "is worse than copying"
        return f"{better} on the only video there is, which is no proof: {shown}"
    steps = _steps_below_one(ratio["per_step"])
    if whole["high"] < 1:
        blurred = f"to a blurred copy {interval_text(over_blurred)}"
        beside = (
            "and than" if over_blurred["high"] < 1 else "and worse than" if over_blurred["low"] > 1
            else "and about as good as"
        )  # fmt: skip
        return f"is better than a copy of the last frame, {beside} a blurred one: {shown}, {blurred}{steps}"
    if whole["low"] > 1:
        return f"is worse than copying the last frame: {shown}{steps}"
    return f"is about as good as copying the last frame: {shown}{steps}"


def _steps_below_one(ratio: Mapping[str, Sequence[float]]) -> str:
    """Where a model is surely better than a copy: steps whose whole interval lies below 1."""
    better = [number for number, high in enumerate(ratio["high"], start=1) if high < 1]
    total = len(ratio["high"])
    if len(better) in (0, total):
        return "" if better else "; at no step is it surely better"
    if better == list(range(better[0], total + 1)):
        return f"; better from step {better[0]} on"
    return f"; better at step{'s' if len(better) > 1 else ''} {', '.join(map(str, better))}"


def _with_other_actions(ratio: Mapping[str, float]) -> str:
    shown = f"shuffle ratio {interval_text(ratio)}"
    if np.isfinite(ratio["low"]) and ratio["low"] > 1:
        return f"uses its actions: {shown}"
    if np.isfinite(ratio["high"]) and ratio["high"] < 1:
        return f"predicts better under other clips' actions than under its own: {shown}"
    return f"ignores its actions, as far as can be told: {shown}"


def interval_text(interval: Mapping[str, float]) -> str:
    """`0.71 [0.66, 0.77]`, without brackets where there is no interval."""
    if not np.isfinite(interval["low"]):
        return f"{interval['point']:.2f} (no interval)"
    return f"{interval['point']:.2f} [{interval['low']:.2f}, {interval['high']:.2f}]"


def source_notes(sources: Mapping[str, Source]) -> list[str]:
    """What a reader must know of models that predict under actions."""
    return [f"{line} {SOURCE_WORDS[source]}" for line, source in sources.items() if source in SOURCE_WORDS]
