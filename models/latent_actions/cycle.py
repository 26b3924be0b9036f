"""FICC's objective on features that are learned along.

Source: Ye et al., "Become a Proficient Player with Limited Data through Watching Pure Videos" (FICC, ICLR 2023), as
"A Universal World Model Learned from Large Scale and Diverse Videos" states it in its Eq. 6: cosine consistency of the
predicted state, reconstruction of the difference of the two frames from state and code, reconstruction of the frame.
Gaussians of one variance stand for p: their -ln is a squared error, here the mean over pixels, so that pictures do not
drown a cosine. The real state is no target that moves towards the prediction: its gradient is stopped, as in FICC's
own code; there the consistency is between projections, here between the states, as Eq. 6 has it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from models.features.config import PixelDecoderConfig
from models.features.pixels import PixelDecoder
from models.nets.distributions import full_precision


class CycleConsistency(nn.Module):
    """The two losses of a pair of frames that need their code; the frame's own reconstruction is the decoder's.

    Args:
        config: of the decoder of differences.
        places: P.
        width: D.
        size: height and width of frames.
    """

    def __init__(self, config: PixelDecoderConfig, places: int, width: int, size: int) -> None:
        super().__init__()
        self.decoder = PixelDecoder(config, places, width, size)

    def difference(self, change: Tensor) -> Tensor:
        """What changes between two frames, (N, 3, H, W) in [-1, 1], from the predicted change of state (N, P, D)."""
        drawn: Tensor = self.decoder(change) - 0.5  # which the decoder adds, for frames in [0, 1]
        return drawn

    def forward(self, before: Tensor, after: Tensor, predicted: Tensor, difference: Tensor) -> dict[str, Tensor]:
        """Losses of states (N, P, D) before, after, and predicted, and of the frames' true difference (N, 3, H, W)."""
        cosine = F.cosine_similarity(full_precision(predicted).flatten(1), full_precision(after).detach().flatten(1))
        drawn = full_precision(self.difference(predicted - before))
        return {"consistency_loss": -cosine.mean(), "difference_loss": F.mse_loss(drawn, difference)}
