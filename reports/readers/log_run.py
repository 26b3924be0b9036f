"""One run from one log that holds its points and no names: what every reader of such logs does at its end."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ipv_bench.errors import InputError
from reports.readers.base import ReadOptions
from reports.readers.path_layouts import EVALUATION, TRAINING
from reports.readers.run_names import RunNames
from reports.readers.score_names import ScoreName, find_score, known_names
from reports.scores.findings import Finding, note
from reports.scores.score_table import Origin, ScoredRun
from reports.scores.task_names import suite_metric

_NUMBER = re.compile(r"[._-]?\d+$")
"""Behind the name of a log that is one of several (`eval_2.csv`)."""


def choose_score(log: Path, present: list[str], names: RunNames, options: ReadOptions) -> ScoreName:
    """The score to take from a log.

    Args:
        log: for messages.
        present: the names of the log's values.
        names: of the run; `score` of its `run_fields.yaml` goes before everything.
        options: the config's `columns: {score: ...}` goes before what is known, its metric decides among these.

    Raises:
        InputError: the log has none of them; what it has is named.
    """
    asked = names.fields.score or options.columns.get("score")
    if asked and asked in present:
        known = find_score([asked], suite_metric(names.suite))
        return known or ScoreName(asked, "score", "unknown")
    if names.fields.score is None:
        only = options.metric != "auto"
        wanted = suite_metric(names.suite) if options.metric == "auto" else options.metric
        found = find_score(present, wanted, only_wanted=only)
        if found:
            return found
        asked = known_names(wanted, only_wanted=only)
    shown = ", ".join(sorted(present)[:20]) or "none"
    raise InputError(
        f"{log} has no line with a score; its values are {shown}",
        expected=f"one of {asked}",
        fix="name it in run_fields.yaml beside the log (score: ...), or in the report's config (columns: {score: ...})",
    )


def log_run(
    reader: str,
    source: Path,
    names: RunNames,
    score: ScoreName,
    steps: np.ndarray,
    scores: np.ndarray,
    episodes: np.ndarray | None = None,
) -> tuple[ScoredRun, Finding]:
    """The run, and a note that says which value was taken as its score.

    Args:
        reader: the format's name.
        source: the log.
        names: of the run.
        score: what was taken as the score.
        steps: (T,) the log's steps, in the order in which they were written.
        scores: (T,) the scores.
        episodes: (T,) episodes behind each, where the log says so.
    """
    run = ScoredRun(
        method=names.method,
        variant=names.variant,
        suite=names.suite,
        task=names.task,
        seed=names.seed,
        env_steps=np.asarray(steps, dtype=np.float64) * names.step_factor,
        scores=np.asarray(scores, dtype=np.float64),
        metric=score.metric,
        source=str(source),
        format=reader,
        action_repeat=names.action_repeat,
        episodes=episodes,
        origin=origin_of(source, score.origin),
        in_written_order=True,
        env_fingerprint=names.fields.env_fingerprint,
        pretraining=names.fields.pretraining,
        record={"config": dict(names.config.values)} if names.config.values else {},
    )
    return run, note("score_name", f"{source}: the score is {score.name!r}", subjects=[run.name])


def origin_of(source: Path, said: Origin) -> Origin:
    """What is behind a score, when the log lies in a folder or file of that name (`eval/`, `train.csv`)."""
    for part in (_NUMBER.sub("", source.name.split(".")[0]), source.parent.name):
        if EVALUATION.fullmatch(part):
            return "evaluation"
        if TRAINING.fullmatch(part):
            return "training_episode" if said in ("evaluation", "unknown") else said
    return said
