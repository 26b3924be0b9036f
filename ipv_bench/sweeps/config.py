"""What a sweep file says."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ipv_bench.config import Config, build, flatten, read_config_file
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import ConfigError
from ipv_bench.file_names import is_name, shown
from ipv_bench.frozen_protocol import PREFIX, Protocol, SampleData, load_protocol

OF_METHODS = ("tasks", "data", "seeds", "pretrain_seed", "preset", "pretrain_preset", "set", "pretrain_set")
"""Fields about runs of `methods`: figures and protocols say these themselves."""


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """The same values, each of which `--set` can say.

    Raises:
        RefusedValueError: a date, bytes or a set, which YAML has and settings have not.
    """
    for name, entry in value.items():
        for key, part in flatten({name: entry}).items():
            try:
                json.dumps(part)
            except TypeError:
                raise RefusedValueError(
                    f"{key} is {shown(str(part))}, of YAML's kind {type(part).__name__}",
                    expected="a number, a text, true, false, null, or a list of such",
                    fix=f"put it in quotes if it is a text: {key}: '{part}'",
                ) from None
    return value


class MethodChoice(Config):
    """One method of a sweep."""

    method: str
    """Its name."""
    set: dict[str, Any] = {}
    """Dotted key → value for its fine-tuning runs."""
    pretrain_set: dict[str, Any] = {}
    """Dotted key → value for its pre-training runs."""
    pretraining: Literal["usual", "none"] = "usual"
    """none: from random weights, whatever the method's agents usually start from."""

    @field_validator("set", "pretrain_set")
    @classmethod
    def _plain_values(cls, value: dict[str, Any]) -> dict[str, Any]:
        return plain(value)


class SlurmConfig(Config):
    """How jobs are submitted to SLURM."""

    cluster: Literal["slurm", "local", "debug"] = "slurm"
    """local and debug run the same jobs on this machine, as submitit does to try things out."""
    partition: str = ""
    """Partition; empty: the cluster's default."""
    timeout_min: int = Field(1440, ge=1)
    """Time limit of a job in minutes; a job that meets it is submitted again and goes on."""
    parameters: dict[str, Any] = {}
    """Further `sbatch` parameters by name, such as `account` or `qos`."""


class SweepConfig(Config):
    """A sweep: methods × tasks × data sets × seeds, or what figures need, or both."""

    methods: list[MethodChoice] = []
    """Methods, by name or with what differs."""
    tasks: list[str] = []
    """Tasks, `<suite>/<task>`."""
    data: list[list[str]] = Field([["ssv2"]], min_length=1)
    """Data sets to pre-train on, one entry per model; several names in an entry are mixed ("assembled")."""
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    """Seeds of the fine-tuning runs; a number N stands for 0 … N-1."""
    pretrain_seed: int = Field(0, ge=0)
    """Seed of each pre-trained model: one model is the start of all seeds, as in the papers."""
    preset: str = "tiny"
    """Preset of the fine-tuning runs."""
    pretrain_preset: str = ""
    """Preset of the pre-training runs; empty: the same name."""
    set: dict[str, Any] = {}
    """Dotted key → value for all fine-tuning runs."""
    pretrain_set: dict[str, Any] = {}
    """Dotted key → value for all pre-training runs."""
    figures: list[str] = []
    """Figures whose missing runs are made."""
    protocol: str = ""
    """Frozen track, such as `v1/cpu-night`, that says everything but the methods; no `methods`: all that there are."""
    samples: dict[str, SampleData] = {}
    """Shard set → tiny release that it is made of where it is not there: for trying things out."""
    prepare: bool = False
    """Make shard sets that are not there, from `data/raw/<name>`."""
    root: str = Field("runs", min_length=1)
    """Folder of the runs."""
    shards: str = Field("data/shards", min_length=1)
    """Folder of the shard sets."""
    max_retries: int = Field(1, ge=0)
    """How often a failed run is started again; it goes on from its last checkpoint."""
    cpus: int = Field(1, ge=1)
    """Cores of a job."""
    gpus: int = Field(0, ge=0)
    """GPUs of a job, on SLURM and Ray; on this machine each job gets one where there are any."""
    slurm: SlurmConfig = SlurmConfig()
    """For `--on slurm`."""

    @field_validator("methods", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return [{"method": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value

    @field_validator("data", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return [[one] if isinstance(one, str) else one for one in value] if isinstance(value, list) else value

    @field_validator("data")
    @classmethod
    def _sets_of_a_model(cls, value: list[list[str]]) -> list[list[str]]:
        for names in value:
            if not names or not all(names) or len(set(names)) < len(names):
                raise RefusedValueError(
                    f"data has the entry {names}",
                    expected="one or more data sets for a model, each once",
                    fix="name what the model is pre-trained on; for a method without pre-training: `pretraining: none`",
                )
        return value

    @field_validator("set", "pretrain_set")
    @classmethod
    def _plain_values(cls, value: dict[str, Any]) -> dict[str, Any]:
        return plain(value)

    @field_validator("samples")
    @classmethod
    def _sets_have_names(cls, value: dict[str, SampleData]) -> dict[str, SampleData]:
        wrong = [name for name in value if not is_name(name)]
        if wrong:
            raise RefusedValueError(
                f"samples names {shown(wrong[0])}",
                expected="names of shard sets: letters, digits, _ and -",
                fix="name the set itself, not its place: sets lie below `shards` (data/shards)",
            )
        return value

    @field_validator("seeds", mode="before")
    @classmethod
    def _a_number_counts(cls, value: Any) -> Any:
        return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("seeds", "tasks")
    @classmethod
    def _once_each(cls, value: list[Any], info: ValidationInfo) -> list[Any]:
        if len(set(value)) < len(value):
            raise RefusedValueError(
                f"{info.field_name} {value} names something twice",
                expected="each once",
                fix="leave the second one out (a number N as `seeds` stands for 0 … N-1)",
            )
        return value

    @model_validator(mode="after")
    def _something(self) -> SweepConfig:
        if self.protocol:
            return self._with_protocol(load_protocol(self.protocol))
        if not self.figures and not (self.methods and self.tasks):
            raise RefusedValueError(
                "it names neither `methods` and `tasks` nor `figures` nor `protocol`: nothing to run",
                expected="`methods` with `tasks`, or `figures`, or `protocol`",
                fix="add lines such as `methods: [contextwm]` and `tasks: [dmc/cheetah_run]`",
            )
        if bool(self.methods) != bool(self.tasks):
            given, other = ("methods", "tasks") if self.methods else ("tasks", "methods")
            raise RefusedValueError(
                f"it names {given} alone", expected="`methods` and `tasks`", fix=f"add `{other}: [...]`"
            )
        said = sorted(self.model_fields_set & set(OF_METHODS))
        if said and not self.methods:
            raise RefusedValueError(
                f"a figure's runs are as the figure says: {', '.join(said)} would not be heeded",
                expected=f"no {' or '.join(said)} beside `figures` alone",
                fix=f"leave {', '.join(said)} out, or name `methods` and `tasks` that they are for",
            )
        for choice in self.methods:
            self._check_choice(choice)
        return self

    def _check_choice(self, choice: MethodChoice) -> None:
        for kind in ("set", "pretrain_set"):
            for_all, own = _keys(getattr(self, kind)), _keys(getattr(choice, kind))
            clash = sorted(key for key in own for other in for_all if _overlap(key, other))
            if clash:
                raise RefusedValueError(
                    f"{', '.join(clash)} is set for all methods and for {choice.method}",
                    expected="each key once",
                    fix=f"leave it out of `{kind}` of the sweep or of {choice.method}",
                )
            pairs = [pair for keys in (own, for_all) for pair in combinations(keys, 2)]
            twice = sorted({one for one, other in pairs if _overlap(one, other)})
            if twice or "method" in own or "method" in for_all:
                what = f"{', '.join(twice)} twice" if twice else "another method"
                raise RefusedValueError(
                    f"the `{kind}` of {choice.method} names {what}",
                    expected="each key once, and the method by `method` alone",
                    fix="leave the second one out" if twice else f"list the other method in `methods`, not in `{kind}`",
                )

    def _with_protocol(self, protocol: Protocol) -> SweepConfig:
        """This sweep with what a protocol fixes filled in."""
        said = sorted(self.model_fields_set & {*OF_METHODS, "figures", "samples"})
        if said:
            raise RefusedValueError(
                f"the protocol says {', '.join(said)} itself",
                expected="methods, and where they run, beside `protocol`",
                fix=f"leave {', '.join(said)} out",
            )
        for choice in self.methods:
            self._check_choice(choice)
            for key in (*flatten(choice.set), *flatten(choice.pretrain_set)):
                if not protocol.is_free(key, choice.method):
                    raise RefusedValueError(
                        f"protocol {self.protocol} does not let {choice.method} change {key}",
                        expected=f"keys that it leaves free: {', '.join(protocol.free)}",
                        fix=f"leave {key} out, or run it in a sweep of its own, without `protocol`",
                    )
        values = {
            "tasks": protocol.tasks, "data": [protocol.data.sets], "seeds": list(range(protocol.seeds)),
            "preset": protocol.preset, "pretrain_preset": protocol.pretrain_preset, "samples": protocol.samples,
            "prepare": self.prepare or bool(protocol.samples),
        }  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the config is frozen once it is built
        return self


def _keys(values: dict[str, Any]) -> list[str]:
    """Dotted keys, one twice where it is said as `a.b` and as `a: {b: …}`."""
    return [key for name, value in values.items() for key in flatten({name: value})]


def _overlap(one: str, other: str) -> bool:
    """Whether one dotted key is the other, or a section of it."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def read_sweep(path: str | Path) -> SweepConfig:
    """Read a sweep file, or make the sweep of `protocol:<name>` with all methods.

    Raises:
        UnknownNameError: there is no such protocol.
        ConfigError: it is missing, no YAML, or says something wrong; the message names the file.
    """
    if str(path).startswith(PREFIX):
        return SweepConfig(protocol=str(path).removeprefix(PREFIX))
    try:
        return build(SweepConfig, read_config_file(path))
    except ConfigError as error:
        if str(path) in error.found:
            raise
        raise ConfigError(f"{path}: {error.found}", expected=error.expected, fix=error.fix) from None
