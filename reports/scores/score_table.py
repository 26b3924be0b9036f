"""Scored runs, whoever wrote them, and the one tidy table that is made of them.

A `ScoredRun` is one training run with its scores over env steps. Readers make them, `align` puts them on one grid,
`tidy` turns them into the table that is written to `data.parquet`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ipv_bench.config import flatten
from reports.scores.findings import Finding

Status = Literal["finished", "running", "interrupted", "failed", "unknown"]
"""As in `run.json`; "unknown" where the format does not say."""

Metric = Literal["return", "success", "score"]
"""What a score is: an episode's return, the share of successful episodes, or a number that the file calls a score."""

Origin = Literal["evaluation", "training_mean", "training_episode", "unknown"]
"""What is behind a score: an evaluation of the policy, a mean over the last training episodes, one training episode."""


@dataclass(frozen=True)
class Scale:
    """The scale of a run's scores.

    Attributes:
        kind: "human", "range", "share", "percent", "zero" (success that never was more than 0) or "raw": scores of
            two kinds are never pooled.
        text: what a score is, for the page ("return / 1000").
    """

    kind: str
    text: str


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """One seed of one config on one task, with its scores.

    Attributes:
        method: name of the method ("contextwm").
        variant: what distinguishes it from the method's preset; empty for the preset as it is.
        suite: task suite ("dmc"); empty where the format does not say.
        task: the task's name within its suite ("cheetah_run").
        seed: the seed as text (DreamerV3 writes texts, the others numbers).
        env_steps: (T,) simulator control steps of each evaluation, increasing; NaN-free.
        scores: (T,) mean over the episodes of each evaluation; NaN-free once `checks` has cleaned it.
        metric: what the scores are.
        source: the file or folder it was read from, as the user can open it.
        format: name of the reader ("run_format1", "tdmpc2", ...).
        action_repeat: control steps per agent step, or None where the format does not say.
        episodes: (T,) number of episodes behind each score, or None where the format does not say.
        origin: what is behind each score; "unknown" where the format does not say.
        in_written_order: the points are in the order in which a run logged them, so that steps that go back mean that
            it was resumed; rows of a table may stand in any order.
        status: how the run ended.
        env_fingerprint: what the scores depend on besides the method (versions, camera, ...); empty when unknown.
        pretraining: {kind, data, num_videos, updates} of the run, or {} when the format does not say.
        record: the rest of what the run says about itself (config, shard sets, parent, packages, ...).
        mixed: pooled with runs of other environments, because the user asked for it; its label says so.
        scale: what the scores were brought to; None for scores as they were logged.
    """

    method: str
    variant: str
    suite: str
    task: str
    seed: str
    env_steps: np.ndarray
    scores: np.ndarray
    metric: Metric
    source: str
    format: str
    action_repeat: int | None = None
    episodes: np.ndarray | None = None
    origin: Origin = "unknown"
    in_written_order: bool = False
    status: Status = "unknown"
    env_fingerprint: Mapping[str, Any] = field(default_factory=dict)
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    mixed: bool = False
    scale: Scale | None = None

    def __post_init__(self) -> None:
        if self.env_steps.shape != self.scores.shape or self.env_steps.ndim != 1:
            raise ValueError(
                f"env_steps and scores must be of one length. Got {self.env_steps.shape = }, {self.scores.shape = }."
            )

    @property
    def label(self) -> str:
        """`method` or `method@variant`: what curves are named by unless a figure names them."""
        label = f"{self.method}@{self.variant}" if self.variant else self.method
        return f"{label} (mixed environments)" if self.mixed else label

    @property
    def task_id(self) -> str:
        """`suite/task`, or the task alone when the suite is unknown: a column of a score matrix."""
        return f"{self.suite}/{self.task}" if self.suite else self.task

    @property
    def name(self) -> str:
        """`suite/task/method@variant/seedN`, for messages."""
        return f"{self.task_id}/{self.label}/seed{self.seed}"

    @property
    def num_points(self) -> int:
        """Number of evaluations."""
        return len(self.env_steps)

    def value(self, dotted: str) -> Any:
        """The value of a `where` field: an own attribute, `pretraining.data`, or any field of the run's record.

        `config.` may be left out: `context.fusion` finds `config.context.fusion`. None when there is no such field.
        """
        return self.fields.get(dotted)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Dotted name → value of everything that a `where` may ask for."""
        own = {
            name: getattr(self, name)
            for name in ("method", "variant", "suite", "task", "seed", "metric", "source", "format", "status")
        }
        config = self.record.get("config")
        found = flatten(config) if isinstance(config, Mapping) else {}
        found.update(flatten({**self.record, "pretraining": self.pretraining, "env_fingerprint": self.env_fingerprint}))
        return {**found, **own, "label": self.label, "task_id": self.task_id}

    def with_points(self, env_steps: np.ndarray, scores: np.ndarray, episodes: np.ndarray | None) -> ScoredRun:
        """The same run with other points."""
        return replace(self, env_steps=env_steps, scores=scores, episodes=episodes)


@dataclass(frozen=True, eq=False)
class PretrainedRun:
    """A pre-training run: its record, and its logged values over updates.

    Attributes:
        name: `method@variant` with the data sets, for messages.
        source: the run folder.
        record: contents of `run.json`.
        updates: (T,) number of updates at each logged line.
        values: name → (T,) values; NaN where a line does not have the name.
    """

    name: str
    source: str
    record: Mapping[str, Any]
    updates: np.ndarray
    values: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A run that was read and is used nowhere.

    Attributes:
        run: the run.
        reason: why, in words ("ends at 20000, its method's other runs at 100000").
    """

    run: ScoredRun
    reason: str


@dataclass(frozen=True)
class UnknownFile:
    """A file that was given, or found in a given folder, and that no reader could use."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Collection:
    """Everything that was read.

    Attributes:
        runs: scored runs, sorted by suite, task, method, variant and seed.
        pretraining: pre-training runs, sorted by source.
        unknown: files that no reader could use.
        findings: what the readers have to say.
        left_out: runs that the checks did not let through.
    """

    runs: tuple[ScoredRun, ...]
    pretraining: tuple[PretrainedRun, ...] = ()
    unknown: tuple[UnknownFile, ...] = ()
    findings: tuple[Finding, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def matches(run: ScoredRun, where: Mapping[str, Any]) -> bool:
    """Whether a run has the value that `where` asks for in each field.

    A field's wanted value is compared as is, lists as a whole (`pretraining.data: [ssv2]`); a mapping
    `{any: [a, b]}` accepts each of several values. An absent field matches None, "" and [].
    """
    return all(_equal(run.fields.get(key), wanted) for key, wanted in flatten_where(where).items())


def flatten_where(where: Mapping[str, Any]) -> dict[str, Any]:
    """`where` with nested mappings as dotted keys, except `{any: [...]}`."""
    found: dict[str, Any] = {}
    for key, wanted in where.items():
        if isinstance(wanted, Mapping) and set(wanted) != {"any"}:
            found.update({f"{key}.{inner}": value for inner, value in flatten_where(wanted).items()})
        else:
            found[key] = wanted
    return found


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return any(_equal(found, one) for one in wanted["any"])
    if found is None or found == "" or found == []:
        return wanted is None or wanted == "" or wanted == []
    if isinstance(found, list | tuple) and isinstance(wanted, list | tuple):
        return sorted(map(str, found)) == sorted(map(str, wanted))
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    return found == wanted or str(found) == str(wanted)


def select(runs: Iterable[ScoredRun], where: Mapping[str, Any]) -> list[ScoredRun]:
    """The runs that `matches` keeps, in order."""
    return [run for run in runs if matches(run, where)]


def known_values(runs: Iterable[ScoredRun], dotted: str) -> list[str]:
    """The values that a field takes among runs, sorted, for "one of ..." messages."""
    return sorted({str(value) for run in runs if (value := run.value(dotted)) not in (None, "")})


def in_order(runs: Iterable[ScoredRun]) -> list[ScoredRun]:
    """Sorted by suite, task, method, variant, seed (numbers as numbers) and source."""
    return sorted(
        runs,
        key=lambda run: (run.suite, run.task, run.method, run.variant, _seed_order(run.seed), run.source),
    )


def _seed_order(seed: str) -> tuple[int, int, str]:
    return (0, int(seed), "") if re.fullmatch(r"-?[0-9]{1,18}", seed) else (1, 0, seed)


def tidy(runs: Sequence[ScoredRun]) -> Any:
    """One row per evaluation, as a `pandas.DataFrame` with category columns.

    Columns: method, variant, suite, task, seed, env_steps, score, metric, episodes, origin, status, format, source,
    action_repeat, pretraining_kind, pretraining_data (joined by +), pretraining_num_videos, pretraining_updates,
    env_fingerprint (JSON).
    """
    import pandas as pd

    counts = np.array([run.num_points for run in runs], dtype=np.int64)

    def column(values: list[Any]) -> Any:
        found, names = pd.factorize(np.asarray(values, dtype=object), use_na_sentinel=True, sort=True)
        codes: Any = np.repeat(found, counts)
        return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype=object))

    def joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
        return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype)

    texts = {
        name: column([getattr(run, name) for run in runs]) for name in ("method", "variant", "suite", "task", "seed")
    }
    episodes = [np.full(run.num_points, -1) if run.episodes is None else run.episodes for run in runs]
    frame = {
        **texts,
        "env_steps": joined([run.env_steps for run in runs], np.float64),
        "score": joined([run.scores for run in runs], np.float64),
        "metric": column([run.metric for run in runs]),
        "episodes": joined(episodes, np.int64),
        "origin": column([run.origin for run in runs]),
        "status": column([run.status for run in runs]),
        "format": column([run.format for run in runs]),
        "source": column([run.source for run in runs]),
        "action_repeat": np.repeat(np.array([run.action_repeat or 0 for run in runs], np.int64), counts),
        "pretraining_kind": column([str(run.pretraining.get("kind", "")) for run in runs]),
        "pretraining_data": column(["+".join(map(str, run.pretraining.get("data") or [])) for run in runs]),
        "pretraining_num_videos": column([str(run.pretraining.get("num_videos") or "") for run in runs]),
        "pretraining_updates": column([str(run.pretraining.get("updates") or "") for run in runs]),
        "env_fingerprint": column([json.dumps(run.env_fingerprint, sort_keys=True, default=str) for run in runs]),
    }
    return pd.DataFrame(frame)
