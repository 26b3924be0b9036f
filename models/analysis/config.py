"""Config of an analysis: what all of them share, and how it is resolved."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import Field, field_validator

from ipv_bench.config import Config, build, check_key, merge, nested, parse_overrides, read_config_file
from ipv_bench.config_faults import RefusedValueError
from models.analysis.analyses import AnalysisRequest


class AnalysisConfig(Config):
    """Fields of every analysis."""

    sets: list[str] = Field(["data/shards/ssv2"], min_length=1)
    """Shard set folders or URLs; `--data` replaces them."""
    length: int = Field(25, ge=2)
    """Frames of a clip (T); shorter videos are left out, and counted."""
    every_frames: int | None = Field(None, ge=1)
    """Clips take every so many-th stored frame; unset, as `every_seconds`: as the models were trained."""
    every_seconds: float | None = Field(None, gt=0)
    """Frames of a clip are so far apart, by the set's rate and to the nearest frame."""
    split: str | None = None
    """Split of the sets; unset: `validation` where a set has one that no run trained on, else the videos that the runs
    held out of their training, else all. `all`: every video, also those that a run trained on."""
    labels: list[str] | None = None
    """Only videos of these labels; unset: all."""
    videos: int | None = Field(None, ge=1)
    """At most this many videos per set, chosen by a hash of their ids; unset: all of the selection."""
    clips_per_video: int = Field(1, ge=1)
    """Clips drawn from each video, each with a start of its own."""
    batch_size: int = Field(32, ge=1)
    """Clips computed at once. The clips stay the same; latents are drawn batch by batch, so numbers change a little."""
    device: str = "auto"
    """cpu, cuda, cuda:N or auto."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 leaves torch's own choice."""

    @field_validator("sets", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


def check_columns(columns: list[int] | None, length: int) -> None:
    """Refuse to show frames that a clip of so many does not have.

    Raises:
        RefusedValueError: one of them is no frame of it, or there are none.
    """
    if columns is not None and not (columns and all(0 <= t < length for t in columns)):
        raise RefusedValueError(
            f"columns={columns}",
            expected=f"frames 0 … {length - 1}, one at least",
            fix="set columns to such numbers, or leave it out",
        )


ConfigT = TypeVar("ConfigT", bound=AnalysisConfig)


def resolve_analysis(config_class: type[ConfigT], request: AnalysisRequest) -> ConfigT:
    """Defaults, then the config file, then `--set`, then `--data`.

    Raises:
        ConfigError: unknown key (the nearest is named), or a wrong value.
    """
    values = read_config_file(request.config_file) if request.config_file else {}
    for key, value in parse_overrides(request.overrides).items():
        check_key(config_class, key)
        values = merge(values, nested(key, value))
    if request.data:
        values = merge(values, {"sets": list(request.data)})
    return build(config_class, values)


RESOURCE_KEYS = ("sets", "device", "threads")
"""Fields that do not change what is found; moved shard sets are recognised by their hashes."""
