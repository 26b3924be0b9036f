"""APV (Seo et al., ICML 2022, arXiv:2203.13880), the papers' "vanilla world model": no context path."""

from __future__ import annotations

from models.agents.config import AgentConfig
from models.methods.world_model_method import WorldModelMethod
from models.world_models.config import WorldModelConfig


class APVVideoConfig(WorldModelConfig):
    """World model of videos without a context path."""

    method_values = {"context.fusion": "none"}


class APVConfig(AgentConfig):
    """Agent without a context path."""

    method_values = {"context.fusion": "none"}


METHOD = WorldModelMethod("apv", "APV", "video", APVVideoConfig, APVConfig)
