"""ContextWM (Wu et al., NeurIPS 2023, arXiv:2305.18499): a context path beside the dynamics, and two reward heads."""

from __future__ import annotations

from models.agents.config import ActionFreeAgentConfig
from models.methods.published_pretraining import CONTEXTWM
from models.methods.world_model_method import RESIDUAL, WorldModelMethod
from models.world_models.config import WorldModelConfig


class ContextWMVideoConfig(WorldModelConfig):
    """World model of videos with a context path."""

    method_values = {**RESIDUAL, "context.fusion": "cross_attention"}


class ContextWMConfig(ActionFreeAgentConfig):
    """Agent with a context path and two reward heads."""

    method_values = {**RESIDUAL, "context.fusion": "cross_attention", "reward.dual": True}


METHOD = WorldModelMethod(
    "contextwm", "ContextWM", "video", ContextWMVideoConfig, ContextWMConfig, published_pretraining=CONTEXTWM
)
