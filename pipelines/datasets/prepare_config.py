"""The config of `prepare`: what determines the bytes, and how the work is supervised."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import ConfigError
from ipv_bench.file_names import shown

Crop = Literal["none", "centre-square"]
Scaling = Literal["area", "bilinear-plain"]


class SupervisionConfig(Config):
    """Limits of the supervised decoders. They never change the bytes of a video that decodes within them."""

    cpu_seconds: float = Field(60.0, gt=0)
    """CPU time that any one source item may use, in seconds; `cpu_seconds_per_megabyte` is added."""
    cpu_seconds_per_megabyte: float = Field(60.0, ge=0)
    """CPU time granted per megabyte of the source item, in seconds."""
    stall_seconds: float = Field(60.0, gt=0)
    """Wall time without a sign of progress after which a decoder counts as hung, in seconds."""
    retry_factor: float = Field(4.0, ge=1)
    """How much larger both limits are for the one retry, which runs alone at the end."""
    recycle_videos: int = Field(2000, ge=1)
    """A decoder process is replaced after this many source items: what a codec library leaks, it leaks no further."""
    memory_megabytes: int = Field(4000, ge=300)
    """Resident memory at which a decoder process is killed, in megabytes."""


class PrepareConfig(Config):
    """Fields of every data set; a data set may subclass it to change defaults or to add its own."""

    name: str = ""
    """What runs and figures call the set, and its default place; empty: as its data set."""
    encoding: Literal["mjpeg", "raw"] = "mjpeg"
    """Storage of a sample: concatenated JPEGs, or uint8 frames in a .npy file."""
    jpeg_quality: int = Field(95, ge=1, le=100)
    """JPEG quality, with full colour resolution (4:4:4)."""
    size: str = "64x64"
    """Frame size: `HxW` stretches to it, `short:N` keeps the aspect with the short side N, `native` keeps the size."""
    crop: Crop = "none"
    """Cut made before scaling; data sets with a box per frame ignore it."""
    scaling: Scaling = "area"
    """`area` is antialiased; `bilinear-plain` samples four neighbours, as some published code does."""
    min_frames: int = Field(1, ge=0)
    """Source items with fewer selected frames are not written; 0 keeps every one that has a frame."""
    skip_frames: int = Field(0, ge=0)
    """Frames dropped at the start of each source item, in decoded order."""
    frame_stride: int = Field(1, ge=1)
    """Every how many frames one is kept."""
    fps: float | None = Field(None, gt=0)
    """Resample to this rate by timestamps, in frames per second; null keeps the native frames."""
    clip_frames: int | None = Field(None, ge=1)
    """Cut longer videos into samples of this many frames, without overlap; storage only, readers join them."""
    shard_videos: int | None = Field(None, ge=1)
    """Source items per shard; null takes a sixteenth of them, at least 4 and at most 256."""
    decoder: Literal["pyav", "decord"] = "pyav"
    """Video decoder."""
    max_failure_rate: float = Field(0.05, ge=0, le=1)
    """Share of source items that may be quarantined before the job stops; one is always allowed unless it is 0."""
    supervision: SupervisionConfig = SupervisionConfig()

    @field_validator("size", mode="before")
    @classmethod
    def _known_size(cls, value: object) -> object:
        if value != "native" and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}|short:[1-9]\d{0,4}", str(value)):
            raise RefusedValueError(
                f"size is {shown(value)}",
                expected="HxW such as 64x64, short:N such as short:256, or native",
                fix="set size to one of these forms, or leave it out",
            )
        return value

    @model_validator(mode="after")
    def _one_time_rule(self) -> PrepareConfig:
        if self.fps is not None and self.frame_stride != 1:
            raise RefusedValueError(
                f"fps is {self.fps:g} and frame_stride is {self.frame_stride}: both choose the frames",
                expected="one of them alone",
                fix="set frame_stride=1 with fps, or fps=null with frame_stride",
            )
        return self

    def options(self) -> dict[str, Any]:
        """The fields that determine bytes: what the plan's hash covers."""
        without_name = {"name"} if not self.name else set()  # as it was before sets had names of their own
        return self.model_dump(mode="json", exclude={"max_failure_rate", "supervision", *without_name})


def refuse_set(config: PrepareConfig, names: Iterable[str], why: str) -> None:
    """Refuse fields that a data set does not heed: they would stand in the manifest and be false.

    Args:
        config: of the job.
        names: of the fields.
        why: they say nothing here.

    Raises:
        ConfigError: one of them has another value than the data set's default.
    """
    for name in names:
        value, default = getattr(config, name), type(config).model_fields[name].default
        if value != default:
            raise ConfigError(
                f"{name}={value}: {why}", expected=f"{name}={'null' if default is None else default}", fix="leave it"
            )
