"""Exploration bonus: novelty of short stretches of video in a random projection of the action-free features."""

from __future__ import annotations

from pydantic import Field

from ipv_bench.config import Config


class IntrinsicConfig(Config):
    """Intrinsic bonus."""

    beta: float = Field(1.0, ge=0)
    """Weight of the bonus in the reward that the actor's head learns; 0 switches it off."""
    window: int = Field(5, ge=1)
    """Consecutive features that are averaged; the last window - 1 steps of a segment have no bonus."""
    queue_size: int = Field(4096, ge=1)
    """Rows that are remembered, newest first."""
    queue_dim: int = Field(128, ge=1)
    """Columns of the random projection."""
    neighbours: int = Field(16, ge=1)
    """Nearest rows whose mean distance is the bonus."""
    norm_momentum: float = Field(0.99, ge=0, le=1)
    """Momentum of the running magnitude that the bonus is divided by; 1 switches the division off."""
    norm_init: float = Field(1.0, gt=0)
    """First value of that magnitude."""
    norm_eps: float = Field(1e-8, gt=0)
    """Added to the magnitude."""
