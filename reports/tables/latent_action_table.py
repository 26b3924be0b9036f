"""Latent actions of pre-training runs: whether they say something, and whether the model uses them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ipv_bench.run_record import METRICS_FILE
from reports.readers.jsonl_blocks import read_lines, whole_number
from reports.scores.score_table import PretrainedRun
from reports.tables.provenance import run_link
from reports.tables.tables import Cell, Table

PREFIX = "latent_action_"
"""Of the names that a validation of latent actions has in `metrics.jsonl`, whatever the method."""
VERDICTS = {
    "collapsed": "the latent actions say nothing",
    "ignored": "the model does as well with another video's",
    "worse_than_copy": "the model needs the right ones, and repeating the last frame still predicts as well or better",
    "cannot_tell": "the number that decides is not finite, as where nothing moves; or the rest holds, and too few "
    "different steps are held out to say how much of the codebook is used",
    "usable": "the model needs the right ones, and predicts better than repeating the last frame",
}
COLUMNS = {
    "copy_ratio": "copy ratio", "shuffle_ratio": "shuffle ratio", "prior_ratio": "prior ratio", "action_kl": "nats",
    "bits": "bits", "r2_action": "R²(a|z)", "r2_action_given_state": "R²(a|z, s)", "r2_state_alone": "R²(a|s)",
}  # fmt: skip

BY_STEP = ("perplexity of each code", "open-loop error", "copy ratio, last step")
MOST_LISTED = 1000
"""Steps, or codes of an action, of a line that are looked at."""


def latent_action_table(runs: Sequence[PretrainedRun], page_folder: Path) -> Table | None:
    """The last validation of each run that has latent actions; None when no run has."""
    rows: list[list[Cell]] = []
    for run, found in _validated(runs):
        rows.append(
            [
                run_link(run.source, run.source, page_folder),
                str(run.record.get("method", "")),
                whole_number(found.get("updates")),
                found[PREFIX + "verdict"],
                _text(found.get(PREFIX + "decided_by")),
                *(_number(found.get(PREFIX + name)) for name in COLUMNS),
                _each(found.get(PREFIX + "perplexity")),
                _from_to(found.get(PREFIX + "open_loop_error")),
                _last(found.get(PREFIX + "copy_ratio_by_step")),
            ]
        )
    if not rows:
        return None
    note = (
        "Measured on held-out videos at each run's last validation, one step ahead. Copy ratio: error over that of "
        "repeating the last frame. Shuffle and prior ratio: error under another video's latent actions, or under drawn "
        "ones, over that under the own. R²: of a linear probe for the true actions, on labelled sets. Open-loop error: "
        "one step ahead, and at the last step predicted without seeing a frame (of pixels in 0 … 1, or of features; "
        "that step's copy ratio can be compared). Perplexity: how much of the codebook each code of an action uses. "
        + " ".join(f"{name}: {meaning}." for name, meaning in VERDICTS.items())
    )
    columns = ["run", "method", "updates", "verdict", "decided by", *COLUMNS.values(), *BY_STEP]
    return Table("latent_actions", "Latent actions of the pre-training runs", columns, rows, note)


def latent_action_verdicts(runs: Sequence[PretrainedRun]) -> list[str]:
    """A sentence for each run that has latent actions."""
    found = []
    for run, line in _validated(runs):
        verdict, decided = line[PREFIX + "verdict"], _text(line.get(PREFIX + "decided_by"))
        number = f" ({decided})" if decided else ""
        found.append(f"{run.name}: latent actions {verdict}{number}: {VERDICTS[verdict]}")
    return found


def _validated(runs: Sequence[PretrainedRun]) -> Iterator[tuple[PretrainedRun, Mapping[str, Any]]]:
    """Runs with the last line of their log that judges latent actions."""
    for run in runs:
        log, last = Path(run.source) / METRICS_FILE, None
        if log.is_file():
            for line in read_lines(log):
                if isinstance(line.get(PREFIX + "verdict"), str) and line[PREFIX + "verdict"] in VERDICTS:
                    last = line
        if last is not None:
            yield run, last


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _listed(values: Any) -> list[float | None]:
    """The values by step or by code; nothing where something else stands there."""
    return [_number(value) for value in values[:MOST_LISTED]] if isinstance(values, list) else []


def _each(values: Any) -> str:
    return ", ".join(_shown(value) for value in _listed(values))


def _from_to(values: Any) -> str:
    found = _listed(values)
    if len(found) < 2:
        return "".join(_shown(value) for value in found)
    return f"{_shown(found[0])} to {_shown(found[-1])} ({len(found)} steps)"


def _last(values: Any) -> float | None:
    return next(reversed(_listed(values)), None)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
