"""Real actions as latent ones: what an adapter infers from the present features and an action.

Legend: `N` steps, `P` places, `D` size of a feature, `A` of an action, `C` codes of a latent action, `K` their size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.latent_actions.extractor import on_one_scale
from models.latent_actions.feature_config import AdapterConfig
from models.nets.transformer import Transformer, learned_tokens


class ActionAdapter(nn.Module):
    """(features, action) to a latent action that is not quantised, like the extractor's.

    Which codes an action means depends on where things are, so that `tokens` look at the places of the frame.

    Args:
        config: which kind, and its sizes.
        action_dim: A.
        features: D.
        places: P.
        num_codes: C.
        size: K.
    """

    def __init__(
        self, config: AdapterConfig, action_dim: int, features: int, places: int, num_codes: int, size: int
    ) -> None:
        super().__init__()
        self.config, self.shape = config, (num_codes, size)
        width = config.size
        if config.kind == "mlp":
            self.mlp = nn.Sequential(
                nn.Linear(features + action_dim, width), nn.GELU(),
                nn.Linear(width, width), nn.GELU(),
                nn.Linear(width, num_codes * size),
            )  # fmt: skip
            return
        self.query = nn.Sequential(nn.Linear(action_dim, width), nn.GELU(), nn.Linear(width, num_codes * width))
        self.slot = learned_tokens(num_codes, width)
        self.embed = nn.Linear(features, width)
        self.position = learned_tokens(places, width)
        self.transformer = Transformer(width, config.heads, config.layers, crossing=True)
        self.out = nn.Linear(width, size)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Features (N, P, D) and actions (N, A), to (N, C, K)."""
        if self.config.kind == "mlp":
            flat: Tensor = self.mlp(torch.cat([state.mean(1), action], -1))
            return on_one_scale(flat.reshape(len(flat), *self.shape))
        query = self.query(action).reshape(len(action), self.shape[0], -1) + self.slot  # (N, C, width)
        memory = self.embed(state) + self.position
        out: Tensor = self.out(self.transformer(query, memory))
        return on_one_scale(out)
