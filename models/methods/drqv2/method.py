"""DrQ-v2 as a method of the toolkit."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from ipv_bench.errors import UsageError
from models.methods.base import Agent, Pretraining
from models.methods.drqv2.config import DrQv2Config
from models.methods.released_drqv2 import OWN_RELEASE

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class DrQv2:
    """The method; see `models.methods.base.Method`. Its presets stand beside it: they share no section with others'."""

    name: str = "drqv2"
    display_name: str = "DrQ-v2"
    pretraining: Pretraining = "none"
    video_config: None = None
    agent_config: type[DrQv2Config] = DrQv2Config
    presets: Traversable = resources.files("models.methods.drqv2") / "presets"
    own_release: str = OWN_RELEASE

    def video_model(self, config: Any) -> nn.Module:
        """There is none.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "drqv2 has no model of videos", expected="a method that is pre-trained", fix="fine-tune it without --init"
        )

    def agent(self, config: Any, action_dim: int, seed: int, device: torch.device) -> Agent:
        """See `Method.agent`."""
        from models.methods.drqv2.agent import DrQv2Agent

        return DrQv2Agent(config, action_dim, seed, device)


METHOD = DrQv2()
