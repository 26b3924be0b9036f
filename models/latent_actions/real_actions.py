"""Real actions in the place of latent ones: the network that turns one into the other, and the RSSM that has it.

Legend: `B` batch, `T` time, `A` size of an action of the environment, `L` of a latent one.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.config import RSSMConfig
from models.nets.heads import xavier_linear
from models.nets.rssm import RSSM, Latents, State


class ActionMLP(nn.Module):
    """(..., A) to (..., L): one hidden layer with ELU; the output is used as it is."""

    def __init__(self, action_dim: int, hidden: int, size: int) -> None:
        super().__init__()
        self.hidden = xavier_linear(action_dim, hidden)
        self.out = xavier_linear(hidden, size)

    def forward(self, action: Tensor) -> Tensor:
        embedded: Tensor = self.out(F.elu(self.hidden(action.to(self.hidden.weight.dtype))))
        return embedded


class RealActionRSSM(RSSM):
    """An RSSM of latent actions that is given real ones (..., A) and embeds them itself, in imagination too.

    Args:
        config: sizes; `action_dim` is L.
        embed_size: size of what the posterior sees.
        action_dim: A.
    """

    def __init__(self, config: RSSMConfig, embed_size: int, action_dim: int) -> None:
        super().__init__(config, embed_size, action_free=False)
        assert config.action_dim is not None
        self.embedding = ActionMLP(action_dim, config.hidden, config.action_dim)

    def pretrained(self) -> nn.Module:
        """All of it but the embedding, under the names that the pre-trained RSSM has."""
        return nn.ModuleDict({name: child for name, child in self.named_children() if name != "embedding"})

    def img_step(self, state: State, action: Tensor | None, latents: Latents) -> State:
        """See `RSSM.img_step`, with the action (B, A)."""
        assert action is not None
        return super().img_step(state, self.embedding(action), latents)

    def _action_part(self, action: Tensor | None, keep: Tensor | None) -> Tensor:
        # Where an episode starts the embedding is masked, not the action: as in pre-training, zeros are no action.
        return super()._action_part(None if action is None else self.embedding(action), keep)
