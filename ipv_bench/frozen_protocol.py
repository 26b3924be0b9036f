"""The frozen protocols of the benchmark: data, tasks, seeds, budgets and metric of a track, and what may be changed.

A protocol is a YAML of the package, `presets/protocols/<version>/<track>.yaml`, called `v1/cpu-night`. A track that is
out is never changed: results name its hash, and a change is another version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from ipv_bench.config import Config, build
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import UnknownNameError

PREFIX = "protocol:"
"""What a protocol's name begins with where a file or a figure might stand as well."""
OWN_SECTION = "a method's own section"
"""Entry of `free` for the config section that bears the method's name."""


class SampleData(Config):
    """A tiny release in a data set's own layout, as `ipv-bench sample` makes it."""

    dataset: str
    """Data set whose layout it has."""
    videos: int = Field(64, ge=1)
    """Number of videos."""
    seed: int = Field(0, ge=0)
    """Seed of their contents."""


class ProtocolData(Config):
    """What is pre-trained on."""

    sets: list[str] = Field(min_length=1)
    """Folders of shard sets below the sweep's `shards`."""
    names: list[str] = Field(min_length=1)
    """Names of the data sets, as runs record them."""
    num_samples: int = Field(0, ge=0)
    """Samples of all sets together; 0: whatever the release gives."""


class FixedValues(Config):
    """Config values that every run must have: dotted key → value."""

    finetune: dict[str, dict[str, Any]]
    """Suite → values of its agents' runs."""
    pretrain: dict[str, Any] = {}
    """Values of pre-training runs."""


class ProtocolScore(Config):
    """What is compared: one number per run, and their IQM over all runs and tasks."""

    evaluations: int = Field(1, ge=1)
    """A run's score is the mean of its last so many evaluations."""
    metrics: dict[str, Literal["return", "success"]]
    """Suite → what an evaluation's score is: the mean return of its episodes, or the share that succeeded."""
    ranges: dict[str, tuple[float, float]]
    """Suite or `suite/task` → scores that count as 0 and as 1."""

    def range_of(self, task: str) -> tuple[float, float]:
        """Scores of `<suite>/<task>` that count as 0 and as 1."""
        return self.ranges[task] if task in self.ranges else self.ranges[task.partition("/")[0]]


class Protocol(Config):
    """A frozen track."""

    title: str
    """Name with its version."""
    hardware: str
    """What it is meant for, and whether that was measured."""
    about: str
    """What it shows."""
    tasks: list[str] = Field(min_length=1)
    """Tasks, `<suite>/<task>`."""
    seeds: int = Field(ge=1)
    """Runs per task and method: seeds 0 … seeds-1."""
    preset: str
    """Preset of the agents' runs."""
    pretrain_preset: str
    """Preset of the pre-training runs."""
    data: ProtocolData
    """What is pre-trained on."""
    samples: dict[str, SampleData] = {}
    """Shard set → sample release that it is made of; others are real."""
    fixed: FixedValues
    """What may not be changed, whatever a preset says."""
    free: list[str]
    """Keys, or sections, that may differ from the preset; every other difference is a deviation."""
    score: ProtocolScore
    """What is compared."""

    @model_validator(mode="after")
    def _suites_are_whole(self) -> Protocol:
        for task in self.tasks:
            suite = task.partition("/")[0]
            ranged = task in self.score.ranges or suite in self.score.ranges
            if suite not in self.fixed.finetune or suite not in self.score.metrics or not ranged:
                raise RefusedValueError(
                    f"{task} has no fixed values, metric or range",
                    expected="all three for its suite, or a range for the task",
                    fix=f"add {suite} to fixed.finetune, score.metrics and score.ranges",
                )
        return self

    def is_free(self, key: str, method: str) -> bool:
        """Whether a run of `method` may set a dotted key otherwise than the preset."""
        own = method.replace("-", "_") if OWN_SECTION in self.free else None
        return any(key == one or key.startswith(f"{one}.") for one in (*self.free, own) if one) and not any(
            key == one or key.startswith(f"{one}.") or one.startswith(f"{key}.") for one in self._fixed_keys()
        )

    def _fixed_keys(self) -> set[str]:
        return set(self.fixed.pretrain).union(*self.fixed.finetune.values())


def _folder() -> Traversable:
    return resources.files("ipv_bench") / "presets" / "protocols"


def protocol_names() -> list[str]:
    """Names of all tracks, `v1/cpu-night`."""
    versions = [entry for entry in _folder().iterdir() if entry.is_dir()]
    return sorted(
        f"{version.name}/{track.name.removesuffix('.yaml')}"
        for version in versions
        for track in version.iterdir()
        if track.name.endswith(".yaml")
    )


def _text(name: str) -> bytes:
    if name not in protocol_names():
        raise UnknownNameError("protocol", name, protocol_names())
    return (_folder() / f"{name}.yaml").read_bytes()


def load_protocol(name: str) -> Protocol:
    """A track by name, with or without `protocol:` in front.

    Raises:
        UnknownNameError: there is none; the nearest is named.
    """
    values: Mapping[str, Any] = yaml.safe_load(_text(name.removeprefix(PREFIX)))
    return build(Protocol, values)


def protocol_hash(name: str) -> str:
    """SHA-256 of a track's file: results of another hash are not compared.

    Raises:
        UnknownNameError: there is no such track.
    """
    return hashlib.sha256(_text(name.removeprefix(PREFIX))).hexdigest()
