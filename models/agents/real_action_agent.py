"""The agent on a model of latent actions: real actions take their place, after a warm start where the config asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from models.agents.agent import BATCH_FIELDS, Agent
from models.agents.config import RealActionAgentConfig
from models.latent_actions.agent_model import RealActionWorldModel
from models.training.entry_check import check_update_batch
from models.training.optimizer import OptimizerGroup, apply_update, assign_gradients


class RealActionAgent(Agent):
    """An agent whose world model is a `RealActionWorldModel`.

    With align=warmstart the first `latent_action.align_updates` updates fit the network of real actions to the
    pre-trained action encoder, and leave everything else as it is; the updates of the agent come after them.
    """

    model: RealActionWorldModel
    config: RealActionAgentConfig

    def __init__(self, config: RealActionAgentConfig, action_dim: int, seed: int, device: torch.device) -> None:
        super().__init__(config, action_dim, seed, device)
        self._alignment: OptimizerGroup | None = None
        if config.latent_action.align == "warmstart":
            parameters = dict(self.model.rssm.embedding.named_parameters())
            self._alignment = OptimizerGroup("alignment", parameters, config.optimizer)
            self._first_update = config.latent_action.align_updates

    def make_model(self, config: Any, action_dim: int, discount: float | None) -> RealActionWorldModel:
        """See `Agent.make_model`."""
        return RealActionWorldModel(config, action_dim, discount)

    def update(self, batch: Mapping[str, NDArray[Any] | Tensor]) -> dict[str, float]:
        """See `Agent.update`; an update of the warm start returns its own loss and norm alone."""
        if self._alignment is None or self.updates >= self._first_update:
            return super().update(batch)
        return self._align(self._alignment, batch)

    def _align(self, group: OptimizerGroup, batch: Mapping[str, NDArray[Any] | Tensor]) -> dict[str, float]:
        check_update_batch(batch, self.config.image.size, self.action_dim, 2)
        image, action, _, is_first = (self._tensor(batch[name]) for name in BATCH_FIELDS)
        self.mode.set(training=True)
        # In full precision: it is one small network, and the targets are what matters.
        loss = self.model.alignment(self.model.vision.scaling(image), action.float(), is_first)
        assign_gradients(loss, [group])
        result = apply_update([group], [loss])
        self.updates += 1
        self._count(result.applied)
        if not result.applied:
            return {"skipped_updates": 1.0}
        return {"alignment_loss": loss.item(), "alignment_norm": result.norms[group.name], "skipped_updates": 0.0}

    @property
    def _groups(self) -> list[OptimizerGroup]:
        return [*super()._groups, *([] if self._alignment is None else [self._alignment])]
