"""Attention of a state to what will come whatever is done: the policy of Iso-Dream looks ahead through it.

Source: Iso-Dream (Pan et al., NeurIPS 2022, arXiv:2205.13817), the policy on rolled-out noncontrollable states.
Legend: `N` trajectories, `L` steps, `W` states that each step looks at, `F` feature size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.nets.heads import xavier_linear


class FutureAttention(nn.Module):
    """One head of width 2 F: step t of the query attends to the states t … t + W - 1, and adds what it found to itself.

    Args:
        feat_size: F, of both.
        window: W.
    """

    def __init__(self, feat_size: int, window: int) -> None:
        super().__init__()
        self.window, width = window, 2 * feat_size
        self.query, self.key, self.value = (xavier_linear(feat_size, width) for _ in range(3))
        self.out = xavier_linear(width, feat_size)
        self._scale = width**-0.5

    def memory(self, future: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (N, L + W - 1, 2 F) of states (N, L + W - 1, F)."""
        return self.key(future), self.value(future)

    def attend(self, state: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(N, L, F) from the states (N, L, F), and keys and values (N, L + W - 1, 2 F)."""
        seen, found = keys.unfold(1, self.window, 1), values.unfold(1, self.window, 1)  # (N, L, 2 F, W)
        score = torch.einsum("nlf,nlfw->nlw", self.query(state), seen) * self._scale
        mixed = torch.einsum("nlw,nlfw->nlf", score.softmax(-1).to(found.dtype), found)
        looked: Tensor = state + self.out(mixed)
        return looked

    def forward(self, state: Tensor, future: Tensor) -> Tensor:
        """(N, L, F) from states (N, L, F) and those to look at (N, L + W - 1, F)."""
        return self.attend(state, *self.memory(future))
