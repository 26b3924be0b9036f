"""Configs of the networks. They stand apart from the networks, so that a config can be read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ipv_bench.config import Config

Norm = Literal["batch", "none"]
Kind = Literal["residual", "plain"]

PLAIN_SIZE = 64
"""Height and width of the only frames that DreamerV2's kernels fit, in pixels."""


class ImageConfig(Config):
    """Size and scaling of the frames."""

    size: int = Field(64, ge=32, multiple_of=16)
    """Height and width in pixels; the encoder halves it four times."""
    offset: Literal["half", "mean_image"] = "half"
    """What is subtracted from x/255: 0.5 as published, or a fixed mean image that is set once from data."""
    gain: float = Field(1.0, gt=0)
    """Factor after the subtraction; 1 as published. The image loss is summed in the scaled space."""


class EncoderConfig(Config):
    """Image encoder; the context encoder has the same shape and its own weights."""

    kind: Kind | None = None
    """residual: that of ContextWM and APV; plain: DreamerV2's four convolutions (`blocks` and `norm` have no meaning
    then, and nothing can be fused). Unset: as the method has it."""
    cnn_depth: int = Field(48, ge=2)
    """Width of the first stage; later stages have 2 and 4 times as many channels."""
    blocks: Literal[0, 1, 2] = 2
    """Residual layers per stage; 2 as published. 0: one strided convolution per stage (small CPU models)."""
    norm: Norm = "batch"
    """Normalisation after each convolution of a residual layer."""


class DecoderConfig(Config):
    """Image decoder."""

    kind: Kind | None = None
    """As the encoder's."""
    cnn_depth: int = Field(48, ge=2)
    """Half of the width at 32x32; must equal the encoder's where context features are fused."""
    blocks: Literal[0, 1, 2] = 2
    """Residual layers per stage; 2 as published. 0: one transposed convolution per stage (small CPU models)."""
    norm: Norm = "batch"
    """Normalisation after each convolution of a residual layer and after the fusion."""


class RSSMConfig(Config):
    """Sizes of a recurrent state-space model (two stacked ones have the same)."""

    deter: int = Field(1024, ge=1)
    """Size of the deterministic (GRU) state."""
    hidden: int = Field(1024, ge=1)
    """Width of the dense layers."""
    stoch: int = Field(32, ge=1)
    """Number of categorical variables."""
    discrete: int = Field(32, ge=2)
    """Classes of each variable."""
    action_dim: int | None = Field(50, ge=1)
    """Width that actions are zero-padded to, so that one set of weights fits every task; the action-free model
    has these columns too, and sees zeros there. null: no padding (dreamerv2; nothing pre-trained can be taken over).
    In a model of latent actions: their size (prelar: 64)."""

    @property
    def feat_size(self) -> int:
        """Size of `State.feat`."""
        return self.stoch * self.discrete + self.deter


class GaussianRSSMConfig(Config):
    """Sizes of a model (all that stand side by side have the same)."""

    deter: int = Field(200, ge=1)
    """Size of the deterministic (GRU) state."""
    hidden: int = Field(200, ge=1)
    """Width of the dense layers."""
    stoch: int = Field(50, ge=1)
    """Size of the Gaussian latent."""
    min_std: float = Field(0.1, gt=0)
    """Added to every standard deviation, 2 sigmoid(raw / 2)."""

    @property
    def feat_size(self) -> int:
        """Size of `GaussianState.feat`."""
        return self.stoch + self.deter


class RewardConfig(Config):
    """Reward heads of the stacked model."""

    dual: bool | None = None
    """Train a second head on the plain reward of all steps, beside the one on reward plus bonus that the actor uses.
    Unset: as the method has it (contextwm: true; apv, dreamerv2: false)."""
    layers: int = Field(4, ge=0)
    """Hidden layers of each head."""
    units: int = Field(400, ge=1)
    """Width of the hidden layers."""
    scale: float = Field(1.0, ge=0)
    """Weight of the loss of the head that the actor uses."""
    dual_scale: float = Field(1.0, ge=0)
    """Weight of the loss of the head on the plain reward."""
    gain: float = Field(1.0, gt=0)
    """Factor on the environment's reward before anything is learned from it; 1 as published."""
    zero_output: bool = False
    """Start the last layer of the heads at zero instead of Xavier."""


class QuantizerConfig(Config):
    """A codebook."""

    codes: int = Field(1024, ge=2)
    """Entries of the codebook (K)."""
    size: int = Field(64, ge=1)
    """Numbers of an entry (D)."""
    commitment: float = Field(0.25, ge=0)
    """Weight of the loss that holds vectors near their codes."""
    restart_below: float = Field(0.03, ge=0, lt=1)
    """A code whose share of use falls below this share of an even one takes the place of a vector of the batch; 0:
    never."""
    usage_decay: float = Field(0.99, ge=0, lt=1)
    """Of the running mean of use."""
