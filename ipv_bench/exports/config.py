"""The config of `export`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.file_names import is_name, shown


class LeRobotExportConfig(Config):
    """Fields of `export --to lerobot`."""

    fps: float | None = Field(None, ge=0.01, le=1000)
    """Frames per second of the data set; null takes that of the videos, which must then be one and the same."""
    camera: str = "main"
    """Name of the camera: the frames become `observation.images.<camera>`."""
    codec: Literal["h264", "av1"] = "h264"
    """Of the mp4 files."""
    quality: int | None = Field(None, ge=1, le=50)
    """Constant rate factor of the codec, lower is better; null takes 12 for H.264 and 18 for AV1."""
    key_frame_every: int = Field(2, ge=1)
    """Frames from one key frame to the next: 2 makes random access cheap, as lerobot writes it."""
    video_file_megabytes: int = Field(200, ge=1)
    """A new mp4 is begun after the episode in which the file grows beyond this."""
    data_file_megabytes: int = Field(100, ge=1)
    """The same for the tables of actions and states."""
    robot_type: str = "ipv-bench"
    """What `info.json` calls the robot."""

    @field_validator("camera")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if not is_name(value):
            raise RefusedValueError(
                f"camera is {shown(value)}",
                expected="a name of letters, digits, _ and -",
                fix="set camera to such a name, or leave it out: main",
            )
        return value


class HfExportConfig(Config):
    """Fields of `export --to hf`."""

    private: bool = False
    """The target is private: needed for data whose licence forbids to pass it on."""
    licence: str = Field("", max_length=60)
    """Licence in the card, as the hub names it ("cc-by-4.0", "mit", "other"); needed unless the target is private."""
