"""Adam with coupled L2, clipping by group, and updates that are skipped whole when a number is not finite."""

from __future__ import annotations

from pydantic import Field

from ipv_bench.config import Config


class OptimizerConfig(Config):
    """One optimiser group."""

    lr: float = Field(3e-4, ge=0)
    """Learning rate."""
    eps: float = Field(1e-5, gt=0)
    """Adam's epsilon."""
    weight_decay: float = Field(1e-6, ge=0)
    """Coupled L2 decay (added to the gradient) of every parameter, biases and norms too."""
    clip: float = Field(100.0, gt=0)
    """Global norm that the group's gradients are clipped to."""
