"""The context path: which frame conditions the decoder, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ipv_bench.config import Config


class ContextConfig(Config):
    """Context frame and its fusion into the decoder."""

    fusion: Literal["cross_attention", "concat", "none"] | None = None
    """How context features enter the decoder at 8x8 and 16x16; unset: by method (contextwm → cross_attention)."""
    frame: Literal["random", "first", "last"] = "random"
    """Which frame of a segment is the context frame, for all of its time steps."""
    augmentation: Literal["none", "erasing"] = "none"
    """Random erasing of the context frame while training; never in evaluation."""
    mask_ratio: float = Field(0.75, ge=0, lt=1)
    """Share of context tokens dropped in the attention, drawn per frame and scale."""
    mask_at_eval: bool = True
    """Drop tokens in evaluation and open-loop prediction too, as published."""
    heads: int = Field(4, ge=1)
    """Attention heads; must divide the channels at both scales."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout on attention weights and on the attention's output while training."""
