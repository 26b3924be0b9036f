"""DreamerV2 (Hafner et al., ICLR 2021, arXiv:2010.02193): one action-conditional world model, no pre-training."""

from __future__ import annotations

from models.agents.config import AgentConfig
from models.methods.world_model_method import WorldModelMethod


class DreamerV2Config(AgentConfig):
    """Agent whose only RSSM sees the embedding of the published plain CNN; no context path, one reward head.

    Actions enter as they are: padding them lets one pre-trained model fit every task, and nothing is pre-trained here.
    """

    pretrained = False
    method_values = {
        "context.fusion": "none", "reward.dual": False, "encoder.kind": "plain",
        "decoder.kind": "plain", "rssm.action_dim": None,
    }  # fmt: skip

    @property
    def stacked(self) -> bool:
        """See `StackedConfig.stacked`."""
        return False


METHOD = WorldModelMethod("dreamerv2", "DreamerV2", "none", None, DreamerV2Config)
