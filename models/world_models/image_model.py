"""The visual half of a world model: image encoder, context encoder and decoder, without any recurrence."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.config import DecoderConfig, EncoderConfig, ImageConfig
from models.nets.cross_attention import Fusion, FusionDraws
from models.nets.distributions import full_precision
from models.nets.image_scaling import ImageScaling
from models.nets.plain_cnn import PlainDecoder, PlainEncoder
from models.nets.resnet import FusionFactory, ImageDecoder, ImageEncoder
from models.world_models.config import ContextConfig
from models.world_models.context import ContextDraws, draw_context, erase


class ImageModel(nn.Module):
    """Frames to embeddings, and features (with a context frame) to frames.

    Args:
        image: size and scaling.
        encoder: encoder, and context encoder.
        decoder: decoder.
        context: context path; its `fusion` must be set. That it fits the two is `WorldModelConfig`'s affair.
        feat_size: size of the features that are decoded.
    """

    def __init__(
        self,
        image: ImageConfig,
        encoder: EncoderConfig,
        decoder: DecoderConfig,
        context: ContextConfig,
        feat_size: int,
    ) -> None:
        super().__init__()
        self.context, self.size = context, image.size
        self.has_context = context.fusion not in (None, "none")
        self.scaling = ImageScaling(image)
        self.encoder = image_encoder(encoder, image.size)
        self.context_encoder = ImageEncoder(encoder, image.size) if self.has_context else None

        def fusion(channels: int, tokens: int) -> Fusion:
            return Fusion(
                channels, tokens, str(context.fusion), context.heads, context.dropout, decoder.norm,
                rectify=decoder.blocks > 0,
            )  # fmt: skip

        self.decoder = image_decoder(decoder, feat_size, image.size, fusion if self.has_context else None)
        self._fused_sizes = {
            scale: ((image.size // 2**scale) ** 2, decoder.cnn_depth * 2 ** (scale - 1)) for scale in (3, 2)
        }

    def embed(self, image: Tensor) -> Tensor:
        """Scaled frames (B, T, 3, H, W) to embeddings (B, T, E)."""
        flat: Tensor = self.encoder(image.flatten(0, 1))
        return flat.reshape(*image.shape[:2], -1)

    def draw(
        self, batch: int, length: int, generator: torch.Generator, observed: int | None = None
    ) -> ContextDraws | None:
        """Random choices of the context path (see `draw_context`); None without context."""
        if not self.has_context:
            return None
        return draw_context(
            self.context, self._fused_sizes, batch, length, generator,
            training=self.training, observed=observed, image_size=self.size,
        )  # fmt: skip

    def context_maps(self, image: Tensor, draws: ContextDraws | None) -> dict[int, Tensor]:
        """Features of each segment's context frame: scaled frames (B, T, 3, H, W) to maps by halvings.

        Erasing is applied while training only, whatever `draws` holds.
        """
        if self.context_encoder is None:
            return {}
        assert draws is not None
        frame = image[torch.arange(image.shape[0], device=image.device), draws.frame]  # (B, 3, H, W)
        if self.training and draws.erased is not None:
            frame = erase(frame, draws.erased)
        return self.context_encoder.features(frame)

    def decode(self, feat: Tensor, maps: Mapping[int, Tensor], draws: ContextDraws | None) -> Tensor:
        """Features (B, T, F) to scaled frames (B, T, 3, H, W)."""
        fusion: Mapping[int, FusionDraws] = draws.fusion if draws is not None else {}
        frames: Tensor = self.decoder(feat.flatten(0, 1), maps, fusion)
        return frames.reshape(*feat.shape[:2], *frames.shape[1:])


def image_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """0.5 (prediction - target)², summed over C, H, W and averaged over the frames (B, T, C, H, W)."""
    frames = prediction.shape[0] * prediction.shape[1]
    # Channels last, as both lie in memory: the gradient would be written in the order of the dimensions.
    seen, wanted = (value.movedim(2, -1) for value in (full_precision(prediction), target))
    return 0.5 * F.mse_loss(seen, wanted, reduction="sum") / frames


def image_encoder(config: EncoderConfig, size: int, channels: int = 3) -> ImageEncoder | PlainEncoder:
    """The encoder of the kind that the config names, for images of so many channels."""
    if config.kind == "plain":
        return PlainEncoder(config.cnn_depth, size, channels)
    return ImageEncoder(config, size, channels)


def image_decoder(
    config: DecoderConfig, feat_size: int, size: int, fusion: FusionFactory | None
) -> ImageDecoder | PlainDecoder:
    """The decoder of the kind that the config names."""
    if config.kind == "plain":
        return PlainDecoder(config.cnn_depth, feat_size, size)
    return ImageDecoder(config, feat_size, size, fusion)
