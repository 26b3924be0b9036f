"""Recurrent state-space model with categorical latents."""

from __future__ import annotations

from pydantic import Field

from ipv_bench.config import Config


class RSSMConfig(Config):
    """Sizes of a recurrent state-space model (two stacked ones have the same)."""

    deter: int = Field(1024, ge=1)
    """Size of the deterministic (GRU) state."""
    hidden: int = Field(1024, ge=1)
    """Width of the dense layers."""
    stoch: int = Field(32, ge=1)
    """Number of categorical variables."""
    discrete: int = Field(32, ge=2)
    """Classes of each variable."""
    action_dim: int = Field(50, ge=1)
    """Width that actions are zero-padded to, so that one set of weights fits every task; the action-free model
    has these columns too, and sees zeros there."""
