"""The two branches side by side: one under actions, one that no action reaches.

Legend: `B` batch, `T` time, `S` size of a latent, `F` feature size of a branch, `A` action size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.isolation.config import IsolationConfig
from models.nets.config import GaussianRSSMConfig
from models.nets.gaussian_rssm import FramePredictor, GaussianRSSM, GaussianState


class IsolatedState(NamedTuple):
    """States of both branches.

    Attributes:
        action: of the action-conditional branch.
        free: of the action-free branch; None where nothing looks at it.
    """

    action: GaussianState
    free: GaussianState | None

    @property
    def deter(self) -> Tensor:
        """(..., D) GRU state of the action-conditional branch."""
        return self.action.deter

    def map(self, function: Callable[[Tensor], Tensor]) -> IsolatedState:
        """The states with `function` applied to each tensor."""
        return IsolatedState(self.action.map(function), None if self.free is None else self.free.map(function))


class IsolatedBranches(nn.Module):
    """Both branches, each with an embedding of its own.

    Args:
        config: sizes of each branch.
        isolation: of which kind the action-free one is, and who looks at it.
        embed_size: size E of each embedding.
        action_dim: A.
    """

    def __init__(
        self, config: GaussianRSSMConfig, isolation: IsolationConfig, embed_size: int, action_dim: int
    ) -> None:
        super().__init__()
        self.config, self.isolation = config, isolation
        self.action = GaussianRSSM(config, embed_size, action_dim)
        self.free: GaussianRSSM | FramePredictor
        if isolation.free_branch == "posterior":
            self.free = GaussianRSSM(config, embed_size, 0)
        else:
            self.free = FramePredictor(config, embed_size)

    def observe_free(
        self,
        embed: Tensor,
        is_first: Tensor | None,
        noise: Tensor | None,
        state: GaussianState | None = None,
        *,
        known: int | None = None,
    ) -> GaussianState:
        """States (B, T, ...) of the action-free branch, from embeddings (B, T, E); `noise` (B, T, S).

        Where it is predictive, the embeddings of the first `known` frames enter; None: all do.
        """
        if isinstance(self.free, GaussianRSSM):
            return self.free.observe(embed, None, is_first, noise, state)
        return self.free.observe(embed, is_first, noise, known)

    @torch.no_grad()
    def roll_free(self, start: GaussianState | None, noise: Tensor) -> Tensor:
        """Features (N, L + 1, F) of the action-free branch: the start states (N, ...), and `noise` (N, L, S) steps on.

        No action reaches them, so no gradient does.
        """
        assert start is not None
        assert isinstance(self.free, GaussianRSSM)
        features = start.feat[:, None]
        length = noise.shape[1]
        if not length:
            return features
        return torch.cat([features, self.free.imagine(start, None, noise, length).feat], 1)

    def head_features(self, action: Tensor, free: Tensor | None) -> Tensor:
        """What reward and discount heads see of features (..., F) of the branches: (..., F), or both, (..., 2 F)."""
        if not self.isolation.use_free:
            return action
        assert free is not None
        return torch.cat([action, free], -1)
