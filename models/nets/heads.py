"""Dense heads on the features: rewards, actor and critic."""

from __future__ import annotations

from pydantic import Field

from ipv_bench.config import Config


class RewardConfig(Config):
    """Reward heads of the stacked model."""

    dual: bool = True
    """Train a second head on the plain reward of all steps, beside the one on reward plus bonus that the actor uses."""
    layers: int = Field(4, ge=0)
    """Hidden layers of each head."""
    units: int = Field(400, ge=1)
    """Width of the hidden layers."""
    scale: float = Field(1.0, ge=0)
    """Weight of the loss of the head that the actor uses."""
    dual_scale: float = Field(1.0, ge=0)
    """Weight of the loss of the head on the plain reward."""
    gain: float = Field(1.0, gt=0)
    """Factor on the environment's reward before anything is learned from it; 1 as published."""
    zero_output: bool = False
    """Start the last layer of the heads at zero instead of Xavier."""
