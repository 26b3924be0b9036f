"""World model of videos: action-free RSSM, image encoder and decoder, with or without a context path."""

from __future__ import annotations

from pydantic import Field

from ipv_bench.config import Config


class LossConfig(Config):
    """Weights of the world model's losses."""

    kl_scale: float = Field(1.0, ge=0)
    """Weight of the KL loss."""
    kl_balance: float = Field(0.8, ge=0, le=1)
    """Share of the KL loss that trains the prior; the rest trains the posterior."""
    free_nats: float = Field(0.0, ge=0)
    """The batch mean of the KL is clamped below at this value (nats): no gradient under it."""
    image_scale: float = Field(1.0, ge=0)
    """Weight of the image loss."""
    action_free_kl_scale: float = Field(0.0, ge=0)
    """Weight of the action-free RSSM's own KL loss in the stacked model; 0 as published."""
