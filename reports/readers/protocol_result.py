"""Result files of a frozen protocol: what somebody else's `report --figures protocol:…` wrote, to be merged with ours.

A file holds every run that followed the protocol with its evaluations and with what the protocol is checked against, so
that whoever reads it checks it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from ipv_bench.bounded_json import as_model, read_json
from ipv_bench.config import merge, nested
from ipv_bench.errors import InputError
from reports.readers.base import Read, ReadOptions, check_pretraining, first_bytes
from reports.readers.bounded import check_bounds
from reports.scores.score_table import ScoredRun

FORMAT = "ipv-bench protocol result"
VERSION = 1
MAX_BYTES = 256 << 20
_FIX = "restore the file, or leave it out"


def points_hash(env_steps: np.ndarray, scores: np.ndarray) -> str:
    """SHA-256 of a run's env steps (T,) and scores (T,): what two copies of a run share."""
    return hashlib.sha256(np.stack([env_steps, scores]).astype("<f8").tobytes()).hexdigest()


class ResultRun(BaseModel):
    """One run of a result file; configs are dotted key → value."""

    model_config = ConfigDict(extra="ignore")

    method: str
    variant: str = ""
    display_name: str = ""
    suite: str
    task: str
    seed: int
    metric: Literal["return", "success", "score"]
    env_steps: list[float]
    scores: list[float]
    episodes: list[int]
    sha256: str
    """Of env steps and scores: runs that two files hold are one run."""
    status: str
    exact: bool = True
    preset: str
    overrides: dict[str, Any] = {}
    config: dict[str, Any] = {}
    pretraining: dict[str, Any] = {}
    shard_sets: list[dict[str, Any]] = []
    pretrain: dict[str, Any] | None = None
    """The same of the pre-training run; None where the method has none."""
    env_fingerprint: dict[str, Any] = {}
    packages: dict[str, str] = {}
    hardware: dict[str, Any] = {}
    git_commit: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> ResultRun:
        if not len(self.env_steps) == len(self.scores) == len(self.episodes):
            raise ValueError("env_steps, scores and episodes are not of one length")
        if points_hash(np.array(self.env_steps, np.float64), np.array(self.scores, np.float64)) != self.sha256:
            raise ValueError(f"the scores of seed {self.seed} are not those that its sha256 is of")
        return self


class ResultFile(BaseModel):
    """What a result file must have to be read; its numbers are computed again from the runs."""

    model_config = ConfigDict(extra="ignore")

    format: Literal["ipv-bench protocol result"]
    version: int
    protocol: str
    protocol_sha256: str
    runs: list[ResultRun]


def read_result(path: Path) -> ResultFile:
    """Read a result file.

    Raises:
        InputError: it is damaged, or of a newer version.
    """
    values = read_json(path, expect=dict, limit=MAX_BYTES, fix=_FIX)
    if isinstance(values.get("version"), int) and values["version"] > VERSION:
        raise InputError(f"{path} is of version {values['version']}", expected=f"version {VERSION}",
                         fix="update ipv-bench")  # fmt: skip
    return as_model(ResultFile, values, str(path), error=InputError, fix=_FIX)


class ProtocolResult:
    """Reads the runs of a result file."""

    name = "protocol_result"

    def accepts(self, path: Path) -> bool:
        """A JSON file that names the format at its start."""
        return path.suffix == ".json" and FORMAT.encode() in first_bytes(path)

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read all runs. A file has one metric per suite, so `options` choose nothing here.

        Raises:
            InputError: see `read_result`.
        """
        file = read_result(path)
        return Read(runs=tuple(_scored(run, file, path) for run in file.runs))


def _scored(run: ResultRun, file: ResultFile, path: Path) -> ScoredRun:
    record = run.model_dump(exclude={"env_steps", "scores", "episodes"}) | {
        "kind": "finetune",
        "config": _unflattened(run.config),
        "protocol": {"name": file.protocol, "sha256": file.protocol_sha256},
    }
    check_bounds(record, str(path))
    check_pretraining(run.pretraining, str(path))
    return ScoredRun(
        method=run.method,
        variant=run.variant,
        suite=run.suite,
        task=run.task,
        seed=str(run.seed),
        env_steps=np.array(run.env_steps, np.float64),
        scores=np.array(run.scores, np.float64),
        metric=run.metric,
        source=str(path),
        format=ProtocolResult.name,
        episodes=np.array(run.episodes, np.int64),
        origin="evaluation",
        in_written_order=True,
        status=run.status if run.status in ("finished", "running", "interrupted", "failed") else "unknown",  # type: ignore[arg-type]
        env_fingerprint=run.env_fingerprint,
        pretraining=run.pretraining,
        record=record,
    )


def _unflattened(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found = merge(found, nested(key, value))
    return found


READER = ProtocolResult()
