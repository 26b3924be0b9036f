"""What frozen features are to a model: tokens of a frame, on a grid, and pictures of tokens where there is a decoder.

Legend: `N` frames, `H W` their size, `E` leading tokens that belong to no place (class token), `P` places, `D` size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Frames = Callable[[int, int], Tensor]
"""Number of a batch, N → uint8 frames (N, H, W, 3) on the model's device."""


class FrozenFeatures(nn.Module, ABC):
    """The protocol, as a base class.

    Attributes:
        places: P; their order is that of the rows of the frame, and the same in every call.
        extra: E.
        width: D.
        has_decoder: whether `decode` makes pictures.
    """

    places: int
    extra: int = 0
    width: int
    has_decoder: bool = False

    @abstractmethod
    def encode(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) in [0, 1] to tokens (N, E + P, D); the same frames give the same tokens."""

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (N, E + P, D) to frames (N, 3, H, W), about [0, 1] and not clipped.

        Raises:
            TypeError: these features have no decoder (`has_decoder`).
        """
        raise TypeError(f"{type(self).__name__} has no decoder")

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        """What of `decode` may be trained, by the names that it has here."""
        return {}

    def unused(self) -> list[nn.Parameter]:
        """Parameters that neither `encode` nor `decode` uses."""
        return []

    def fit(self, frames: Frames, seed: int) -> bool:
        """Train what is to be trained before the features are frozen: nothing, for those that somebody else trained.

        Returns:
            Whether anything was trained.
        """
        return False

    def digest(self) -> Tensor | None:
        """(32,) uint8, sha256 of weights that checkpoints do not hold; None where they do."""
        return None

    def freeze(self) -> FrozenFeatures:
        """No parameter moves, norms stay in evaluation mode."""
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> FrozenFeatures:
        """Always in evaluation mode: what is frozen has no training mode."""
        return super().train(False)


def patches_of(frames: Tensor, side: int) -> Tensor:
    """Frames (N, 3, H, W) to patches (N, P, side · side · 3), row by row."""
    n, _, height, width = frames.shape
    cut = frames.reshape(n, 3, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, side * side * 3)


def frames_of(patches: Tensor, side: int, height: int) -> Tensor:
    """The inverse: patches (N, P, side · side · 3) to frames (N, 3, H, W)."""
    n, count = patches.shape[:2]
    rows = height // side
    cut = patches.reshape(n, rows, count // rows, side, side, 3)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(n, 3, height, -1)
