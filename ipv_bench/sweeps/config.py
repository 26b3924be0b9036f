"""What a sweep file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ipv_bench.config import Config, build, read_config_file
from ipv_bench.errors import ConfigError


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
    seeds: list[int] = Field([0], min_length=1)
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
    prepare: bool = False
    """Make shard sets that are not there, from `data/raw/<name>`."""
    root: str = "runs"
    """Folder of the runs."""
    shards: str = "data/shards"
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

    @field_validator("seeds", mode="before")
    @classmethod
    def _a_number_counts(cls, value: Any) -> Any:
        return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("seeds", "tasks")
    @classmethod
    def _once_each(cls, value: list[Any]) -> list[Any]:
        if len(set(value)) < len(value):
            raise ValueError(f"{value} names something twice")
        return value

    @model_validator(mode="after")
    def _something(self) -> SweepConfig:
        if not self.figures and not (self.methods and self.tasks):
            raise ValueError("it names neither `methods` and `tasks` nor `figures`: there is nothing to run")
        for choice in self.methods:
            clash = sorted(self.set.keys() & choice.set.keys()) or sorted(
                self.pretrain_set.keys() & choice.pretrain_set.keys()
            )
            if clash:
                raise ValueError(f"{', '.join(clash)} is set for all methods and for {choice.method}: say it once")
            if "method" in choice.set or "method" in choice.pretrain_set:
                raise ValueError(f"the `set` of {choice.method} names another method")
        return self


def read_sweep(path: str | Path) -> SweepConfig:
    """Read a sweep file.

    Raises:
        ConfigError: it is missing, no YAML, or says something wrong; the message names the file.
    """
    try:
        return build(SweepConfig, read_config_file(path))
    except ConfigError as error:
        if str(path) in error.found:
            raise
        raise ConfigError(f"{path}: {error.found}", expected=error.expected, fix=error.fix) from None
