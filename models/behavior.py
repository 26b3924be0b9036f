"""Behaviour learned in imagination: actor, critic and slow critic (DreamerV2)."""

from __future__ import annotations

from pydantic import Field

from ipv_bench.config import Config
from models.optimizer import OptimizerConfig


class BehaviorConfig(Config):
    """Actor, critic and imagination."""

    horizon: int = Field(15, ge=2)
    """Imagined steps."""
    discount: float = Field(0.99, gt=0, le=1)
    """Constant discount of each imagined step."""
    lam: float = Field(0.95, ge=0, le=1)
    """λ of the λ-return."""
    entropy: float = Field(1e-4, ge=0)
    """Weight of the actor's entropy."""
    min_std: float = Field(0.1, gt=0)
    """Smallest scale of the truncated normal."""
    layers: int = Field(4, ge=0)
    """Hidden layers of actor and critic."""
    units: int = Field(400, ge=1)
    """Width of the hidden layers."""
    slow_every: int = Field(100, ge=1)
    """Updates between two copies of the critic into the slow critic."""
    slow_fraction: float = Field(1.0, gt=0, le=1)
    """Share of the critic in each copy; 1 copies it whole."""
    zero_output: bool = False
    """Start the critic's last layer at zero instead of Xavier."""
    actor_optimizer: OptimizerConfig = OptimizerConfig(lr=8e-5)
    """Optimiser of the actor."""
    critic_optimizer: OptimizerConfig = OptimizerConfig(lr=8e-5)
    """Optimiser of the critic."""
