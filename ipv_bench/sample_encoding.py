"""How the frames of a sample are stored; apart from `shard_set`, so that decoder processes need not load pyarrow."""

from __future__ import annotations

from typing import Literal

Encoding = Literal["mjpeg", "raw"]
STREAM_EXTENSION: dict[str, str] = {"mjpeg": "mjpeg", "raw": "npy"}
"""Encoding → extension of the sample's stream member."""
