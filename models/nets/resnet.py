"""Residual image encoder and decoder (widths, order and initialisation of the published ContextWM and APV models)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ipv_bench.config import Config


class EncoderConfig(Config):
    """Image encoder; the context encoder has the same shape and its own weights."""

    cnn_depth: int = Field(48, ge=2)
    """Width of the first stage; later stages have 2 and 4 times as many channels."""
    blocks: Literal[0, 1, 2] = 2
    """Residual layers per stage; 2 as published. 0: one strided convolution per stage (small CPU models)."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation after each convolution of a residual layer."""


class DecoderConfig(Config):
    """Image decoder."""

    cnn_depth: int = Field(48, ge=2)
    """Half of the width at 32x32; must equal the encoder's where context features are fused."""
    blocks: Literal[0, 1, 2] = 2
    """Residual layers per stage; 2 as published. 0: one transposed convolution per stage (small CPU models)."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation after each convolution of a residual layer and after the fusion."""
