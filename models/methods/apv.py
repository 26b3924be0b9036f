"""APV (Seo et al., ICML 2022, arXiv:2203.13880), the papers' "vanilla world model": no context path."""

from __future__ import annotations

from models.agents.config import ActionFreeAgentConfig
from models.methods.published_pretraining import APV
from models.methods.world_model_method import RESIDUAL, WorldModelMethod
from models.world_models.config import WorldModelConfig


class APVVideoConfig(WorldModelConfig):
    """World model of videos without a context path."""

    method_values = {**RESIDUAL, "context.fusion": "none"}


class APVConfig(ActionFreeAgentConfig):
    """Agent without a context path, with one reward head (as published; the second one is ContextWM's own)."""

    method_values = {**RESIDUAL, "context.fusion": "none", "reward.dual": False}


METHOD = WorldModelMethod(
    "apv", "APV", "video", APVVideoConfig, APVConfig,
    published_pretraining=APV,
)  # fmt: skip
