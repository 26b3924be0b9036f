"""DreamerV2 (Hafner et al., ICLR 2021, arXiv:2010.02193): one action-conditional world model, no pre-training."""

from __future__ import annotations

from models.agents.config import AgentConfig
from models.methods.world_model_method import WorldModelMethod


class DreamerV2Config(AgentConfig):
    """Agent whose only RSSM sees the image embedding; no context path."""

    stacked = False
    method_values = {"context.fusion": "none"}


METHOD = WorldModelMethod("dreamerv2", "DreamerV2", "none", None, DreamerV2Config)
