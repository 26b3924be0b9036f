"""Config of a world model with isolated branches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import RefusedValueError
from models.nets.config import PLAIN_SIZE, GaussianRSSMConfig, ImageConfig
from models.training.config import OptimizerConfig
from models.world_models.config import MethodConfig


class ConvolutionsConfig(Config):
    """DreamerV2's plain convolutions."""

    cnn_depth: int = Field(32, ge=1)
    """Width of the first convolution (of the last but one, in a decoder)."""


class IsolatedImageConfig(ImageConfig):
    """Size and scaling of the frames."""

    size: int = PLAIN_SIZE
    """Height and width in pixels: 64, since encoder and decoders are plain convolutions, whose kernels fit no other."""

    @field_validator("size")
    @classmethod
    def _as_the_kernels_fit(cls, value: int) -> int:
        if value != PLAIN_SIZE:
            raise RefusedValueError(
                f"image.size is {value}, and encoder and decoders are plain convolutions",
                expected=f"image.size={PLAIN_SIZE}, the only size that their kernels fit",
                fix="leave image.size and env.image_size out; other methods take other sizes",
            )
        return value


class IsolationConfig(Config):
    """The action-free branch, what uses it, and the three parts of a frame: the switches that differ by suite."""

    free_branch: Literal["posterior", "predictive"] = "predictive"
    """posterior: a state-space model without actions, corrected by each frame, that can be rolled ahead (released for
    CARLA). predictive: its states foresee each frame from the embeddings of the earlier ones, without a posterior
    (released for dm-control; `autoencoder` there)."""
    use_free: bool = False
    """The reward (and discount) head sees the action-free branch too. Needs free_branch=posterior."""
    window: int = Field(0, ge=0)
    """Action-free states that the policy attends to, the present one first; 0: the policy sees the action-conditional
    branch alone. Needs free_branch=posterior."""
    action_steps: int | None = Field(None, ge=0)
    """Frames of a segment that are decoded from the action-conditional branch's posterior; later ones from its prior,
    one step ahead. null: all from the posterior."""
    free_steps: int | None = Field(None, ge=0)
    """The same for the action-free branch; where it is predictive, so many frames' embeddings enter it. null: all."""
    background_frames: int = Field(10, ge=1)
    """First frames of a segment whose embeddings the static background is decoded from."""

    @model_validator(mode="after")
    def _future_can_be_rolled(self) -> IsolationConfig:
        if self.free_branch == "predictive" and (self.use_free or self.window):
            asks = "isolation.use_free=true" if self.use_free else f"isolation.window={self.window}"
            raise RefusedValueError(
                f"{asks} looks at futures of the action-free branch, and with isolation.free_branch=predictive it has "
                "none",
                expected="isolation.free_branch=posterior, which can be rolled ahead",
                fix="set isolation.free_branch=posterior, or leave out isolation.use_free and isolation.window",
            )
        return self

    @property
    def needs_future(self) -> bool:
        """Whether anything but the decoder looks at the action-free branch."""
        return self.use_free or self.window > 0


class IsolationLossConfig(Config):
    """Weights of the losses."""

    kl_scale: float = Field(1.0, ge=0)
    """Weight of the KL losses; those of both branches are added."""
    kl_balance: float = Field(0.8, ge=0, le=1)
    """Share of a KL loss that trains the prior; the rest trains the posterior."""
    free_nats: float = Field(1.0, ge=0)
    """Each state's KL is clamped below at this value (nats): no gradient under it."""
    image_scale: float = Field(1.0, ge=0)
    """Weight of the image loss."""
    inverse_scale: float = Field(1.0, ge=0)
    """Weight of the inverse dynamics: actions from the change between two frames' embeddings."""
    discount_scale: float = Field(1.0, ge=0)
    """Weight of the discount head's loss, where there is one (`behavior.discount_head`)."""


class DenseHeadConfig(Config):
    """Heads for reward, inverse dynamics and discount."""

    layers: int = Field(2, ge=0)
    """Hidden layers of each head."""
    units: int = Field(400, ge=1)
    """Width of the hidden layers."""
    scale: float = Field(2.0, ge=0)
    """Weight of the reward's loss."""
    gain: float = Field(1.0, gt=0)
    """Factor on the environment's reward before anything is learned from it; 1 as published."""
    zero_output: bool = False
    """Start the last layer of the reward head at zero instead of Xavier."""


def _shorter_or_longer(name: str, steps: int, length: int) -> str:
    """What to do about `isolation.<name>` in windows of `length` frames; a single frame has no room for any."""
    return f"set isolation.{name}={steps}, or a larger replay.length" if length > 1 else "set a larger replay.length"


class IsolatedModelConfig(MethodConfig):
    """Sections of a world model with isolated branches."""

    image: IsolatedImageConfig = IsolatedImageConfig()
    encoder: ConvolutionsConfig = ConvolutionsConfig()
    decoder: ConvolutionsConfig = ConvolutionsConfig()
    rssm: GaussianRSSMConfig = GaussianRSSMConfig()
    isolation: IsolationConfig = IsolationConfig()
    loss: IsolationLossConfig = IsolationLossConfig()
    reward: DenseHeadConfig = DenseHeadConfig()
    optimizer: OptimizerConfig = OptimizerConfig(weight_decay=0.0)

    @model_validator(mode="after")
    def _later_frames_come_from_priors_where_they_should(self) -> IsolatedModelConfig:
        """A window that ends before `action_steps` is decoded from posteriors alone, as if nobody had set them."""
        isolation, replay = self.isolation, getattr(self, "replay", None)
        if isolation.free_branch == "predictive" or isolation.action_steps is None or not replay:
            return self
        acts = min(isolation.action_steps, replay.length if isolation.free_steps is None else isolation.free_steps)
        if replay.length <= acts:
            share = max(round(0.4 * replay.length), 1)
            raise RefusedValueError(
                f"isolation.action_steps {isolation.action_steps} never acts in windows of replay.length "
                f"{replay.length}",
                expected=f"fewer than {replay.length} (released: 20 of 50), or null where every frame is decoded "
                "from what is seen of it",
                fix=_shorter_or_longer("action_steps", share, replay.length),
            )
        return self

    @model_validator(mode="after")
    def _the_free_branch_is_restricted_where_it_should_be(self) -> IsolatedModelConfig:
        """A window that ends before `free_steps` is seen whole: then the free branch draws what it likes of it."""
        steps, replay = self.isolation.free_steps, getattr(self, "replay", None)
        if self.isolation.free_branch == "predictive" and steps is not None and replay and replay.length <= steps:
            share = min(round(0.8 * replay.length), replay.length - 1)
            raise RefusedValueError(
                f"isolation.free_steps {steps} never acts in windows of replay.length {replay.length}",
                expected=f"fewer than {replay.length} (released: 40 of 50), or null for a free branch that sees "
                "every frame",
                fix=_shorter_or_longer("free_steps", share, replay.length),
            )
        return self

    def shortest_segment(self) -> tuple[str, int]:
        """See `MethodConfig.shortest_segment`; the inverse dynamics need two frames."""
        return "isolation.background_frames", max(self.isolation.background_frames, 2)
