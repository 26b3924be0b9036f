"""Latent actions from the features of two frames, and the features that follow from them.

Legend: `N` pairs, `P` places, `D` size of a feature, `C` codes of an action, `K` size of a code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.latent_actions.feature_config import DynamicsConfig, ExtractorConfig, transformer_sizes
from models.nets.transformer import Transformer, learned_tokens, small_linear


class Extractor(nn.Module):
    """Learned queries that look at both frames; what they have seen, on one scale, is the latent action.

    Source: "A Universal World Model Learned from Large Scale and Diverse Videos", section 3; what it leaves open is in
    docs/methods/uwm.md. The scale is fixed by a norm without parameters: else the commitment loss shrinks latent
    actions to one point before anything uses them.

    Args:
        config: sizes.
        places: P.
        features: D.
        size: K.
    """

    def __init__(self, config: ExtractorConfig, places: int, features: int, size: int) -> None:
        super().__init__()
        self.config, self.places = config, places
        apart = config.inputs == "tokens"
        self.embed = nn.Linear(features if apart else 2 * features, config.width)
        self.position = learned_tokens(places, config.width)
        self.frame = learned_tokens(2, config.width) if apart else None
        self.query = learned_tokens(config.num_codes, config.width)
        self.transformer = Transformer(**transformer_sizes(config))
        self.out = nn.Linear(config.width, size)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Features (N, P, D) of two frames each, to latent actions (N, C, K) that are not quantised yet."""
        query = self.query.expand(len(before), -1, -1)
        tokens = torch.cat([query, self._tokens(before, after)], 1)
        seen = self.transformer(tokens)[:, : self.config.num_codes]
        out: Tensor = self.out(seen)
        return on_one_scale(out)

    def _tokens(self, before: Tensor, after: Tensor) -> Tensor:
        if self.frame is None:
            joined: Tensor = self.embed(torch.cat([before, after - before], -1)) + self.position
            return joined
        first, second = (
            self.embed(features) + self.position + frame
            for features, frame in zip((before, after), self.frame, strict=True)
        )
        return torch.cat([first, second], 1)


class FeatureDynamics(nn.Module):
    """The next frame's features from this one's and the codes of what happens between.

    Args:
        config: sizes.
        places: P.
        features: D.
        num_codes: C.
        size: K.
    """

    def __init__(self, config: DynamicsConfig, places: int, features: int, num_codes: int, size: int) -> None:
        super().__init__()
        self.config, self.places = config, places
        self.embed, self.embed_code = nn.Linear(features, config.width), nn.Linear(size, config.width)
        self.position = learned_tokens(places, config.width)
        self.slot = learned_tokens(num_codes, config.width)
        self.transformer = Transformer(**transformer_sizes(config))
        self.out = small_linear(config.width, features)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Features (N, P, D) and codes (N, C, K), to features (N, P, D)."""
        tokens = torch.cat([self.embed(state) + self.position, self.embed_code(action) + self.slot], 1)
        change: Tensor = self.out(self.transformer(tokens)[:, : self.places])
        return state + change if self.config.residual else change


def on_one_scale(x: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the last axis, without parameters."""
    return F.layer_norm(x, x.shape[-1:])
