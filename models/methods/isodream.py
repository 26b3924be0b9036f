"""Iso-Dream (Pan et al., NeurIPS 2022, arXiv:2205.13817): controllable and noncontrollable dynamics, each by itself."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from ipv_bench.errors import UsageError
from models.agents.config import IsolatedAgentConfig
from models.methods.base import OUR_PRESETS, Pretraining
from models.methods.released_isodream import OWN_RELEASE

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.agents.isolated_agent import IsolatedAgent


@dataclass(frozen=True)
class IsoDream:
    """The method; see `models.methods.base.Method`. Its presets have a folder: none of the sections is another's."""

    name: str = "isodream"
    display_name: str = "Iso-Dream"
    pretraining: Pretraining = "none"
    video_config: None = None
    agent_config: type[IsolatedAgentConfig] = IsolatedAgentConfig
    presets: Traversable = OUR_PRESETS / "isodream"
    own_release: str = OWN_RELEASE

    def video_model(self, config: object) -> nn.Module:
        """See `Method.video_model`.

        Raises:
            UsageError: always; it is not pre-trained.
        """
        raise UsageError(
            "isodream has no model of videos without actions",
            expected="a method that is pre-trained",
            fix="fine-tune it without --init",
        )

    def agent(self, config: IsolatedAgentConfig, action_dim: int, seed: int, device: torch.device) -> IsolatedAgent:
        """See `Method.agent`."""
        from models.agents.isolated_agent import IsolatedAgent

        return IsolatedAgent(config, action_dim, seed, device)


METHOD = IsoDream()
