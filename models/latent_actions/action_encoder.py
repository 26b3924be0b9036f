"""Latent actions from pairs of neighbouring frames ("visual action net" of PreLAR).

Legend: `B` batch, `T` time, `C H W` frame, `L` size of a latent action.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.latent_actions.config import ActionEncoderConfig
from models.latent_actions.gaussian import LatentActions, to_std
from models.nets.config import EncoderConfig
from models.nets.heads import xavier_linear
from models.world_models.image_model import image_encoder

CHANNELS = {"concat": 6, "diff": 3, "catdiff": 9}


class ActionEncoder(nn.Module):
    """An image encoder of its own on what two frames show together, then two dense layers.

    Args:
        config: its inputs and outputs.
        encoder: the image encoder's config: this one has the same shape, and its own weights.
        image_size: height and width of the frames.
        hidden: width of the dense layer between (that of the RSSM's, as published).
        size: L.
    """

    def __init__(
        self, config: ActionEncoderConfig, encoder: EncoderConfig, image_size: int, hidden: int, size: int
    ) -> None:
        super().__init__()
        self.config, self.size = config, size
        self.encoder = image_encoder(encoder, image_size, CHANNELS[config.inputs])
        self.hidden = xavier_linear(self.encoder.embed_size, hidden)
        self.out = xavier_linear(hidden, size if config.posterior == "deterministic" else 2 * size)

    def forward(self, image: Tensor) -> LatentActions:
        """Scaled frames (B, T, C, H, W) to the latent actions between them, (B, T - 1, L).

        Each sees its two frames alone: nothing of the frames after them, and nothing of those before.
        """
        pairs = self.pairs(image)  # (B, T - 1, channels, H, W)
        flat = self.out(F.elu(self.hidden(self.encoder(pairs.flatten(0, 1)))))
        value = flat.reshape(*pairs.shape[:2], -1)
        if self.config.posterior == "deterministic":
            return LatentActions(value, None)
        mean, raw = value.chunk(2, -1)
        return LatentActions(mean, to_std(raw))

    def pairs(self, image: Tensor) -> Tensor:
        """Frames (B, T, C, H, W) to what is seen of each pair: (B, T - 1, channels, H, W)."""
        before, after = image[:, :-1], image[:, 1:]
        if self.config.inputs == "diff":
            return after - before
        both = [before, after] if self.config.inputs == "concat" else [before, after, after - before]
        # Joined with the channels last, as the frames lie in memory: the convolutions are faster on that.
        return torch.cat([frames.movedim(2, -1) for frames in both], -1).movedim(-1, 2)


def led_into(actions: Tensor) -> Tensor:
    """Actions between frames (B, T - 1, L) as actions that led into each frame (B, T, L): a zero vector comes first."""
    return F.pad(actions, (0, 0, 1, 0))
