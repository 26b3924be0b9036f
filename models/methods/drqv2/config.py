"""Config of DrQ-v2; the defaults are the released ones of its tasks of medium difficulty, but for walker and humanoid.

Source: facebookresearch/drqv2, cfgs/config.yaml and cfgs/task/*.yaml.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError, model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import RefusedValueError
from models.methods.drqv2.noise_schedule import NoiseSchedule
from models.nets.config import ImageConfig
from models.training.config import LoopConfig, OptimizerConfig
from models.world_models.config import MethodConfig

_N_STEP: TypeAdapter[int] = TypeAdapter(PositiveInt)


class StackImageConfig(ImageConfig):
    """Size and scaling of the frames of a stack."""

    size: int = Field(84, ge=16)
    """Height and width in pixels."""
    offset: Literal["half"] = "half"
    """What is subtracted from x/255: shifted pictures have no mean image."""


def released_adam() -> OptimizerConfig:
    """torch's Adam at the released learning rate (humanoid: 8e-5): no decay, no clipping."""
    return OptimizerConfig(lr=1e-4, eps=1e-8, weight_decay=0.0, clip=None)


class DrQv2Section(Config):
    """The method's own section."""

    frame_stack: PositiveInt = 3
    """Frames that the agent sees at once, the newest included; its first one where the episode begins later."""
    shift_pad: NonNegativeInt = 4
    """Pixels by which a stack may be shifted to each side; 0 switches the augmentation off."""
    channels: PositiveInt = 32
    """Maps of each of the encoder's layers: kernels 3×3 without padding, ReLU after each."""
    strides: tuple[PositiveInt, ...] = Field((2, 1, 1, 1), min_length=1)
    """Stride of each of the encoder's layers; as many layers as strides."""
    feature_dim: int = Field(50, ge=2)
    """Size of what actor and critics each make of the encoder's maps (humanoid: 100); layer norm leaves nothing of a
    single number."""
    units: PositiveInt = 1024
    """Width of the two hidden layers of the actor and of each critic."""
    penultimate_norm: bool = False
    """Scale what the actor's last layer sees to length 1 (Bjorck et al., 2022; not in the release): against a tanh that
    saturates within the first updates and then passes no gradient."""
    n_step: PositiveInt = 3
    """Agent steps whose rewards are summed before the target critics take over (walker: 1)."""
    discount: float = Field(0.99, gt=0, le=1)
    """γ of one agent step."""
    target_rate: float = Field(0.01, gt=0, le=1)
    """τ: how far the target critics move towards the critics in each update."""
    noise: NoiseSchedule = NoiseSchedule()
    """Standard deviation of the actions' noise, in acting as in learning, by agent steps."""
    noise_clip: float = Field(0.3, ge=0)
    """Noise of the actions that are learned from is clipped to ± this; that of acting is not."""
    encoder_optimizer: OptimizerConfig = Field(default_factory=released_adam)
    """Optimiser of the encoder, which the critics' loss alone trains."""
    actor_optimizer: OptimizerConfig = Field(default_factory=released_adam)
    """Optimiser of the actor."""
    critic_optimizer: OptimizerConfig = Field(default_factory=released_adam)
    """Optimiser of both critics."""

    def map_size(self, image_size: int) -> int:
        """Height and width of the encoder's last maps; below 1 where the pictures are too small."""
        size = image_size
        for stride in self.strides:
            size = (size - 3) // stride + 1
        return size


class DrQv2TrainingConfig(LoopConfig):
    """The training section."""

    recordable: ClassVar[bool] = False
    """The actor's half waits for the critics' outcome on the host."""


class DrQv2Config(MethodConfig):
    """What the agent needs."""

    image: StackImageConfig = StackImageConfig()
    drqv2: DrQv2Section = DrQv2Section()
    training: DrQv2TrainingConfig = DrQv2TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _a_window_is_a_transition(cls, values: Any) -> Any:
        """The replay's windows follow from `drqv2.n_step`: from an observation to the one that is looked ahead to."""
        if not isinstance(values, dict) or "replay" not in cls.model_fields:
            return values
        own, replay = (
            section.model_dump(exclude_unset=True) if isinstance(section, Config) else section
            for section in (values.get("drqv2", {}), values.get("replay", {}))
        )
        if not isinstance(own, dict) or not isinstance(replay, dict):
            return values  # refused below, by the fields' own types
        try:
            steps = _N_STEP.validate_python(own.get("n_step", DrQv2Section().n_step))  # 5 may be written 5.0 or "5"
        except ValidationError:
            return values
        fixed = {"length": steps + 1, "prioritize_ends": False}
        for name, value in fixed.items():
            if replay.get(name, value) != value:
                raise RefusedValueError(
                    f"replay.{name} is {replay[name]}, and drqv2.n_step {steps} makes it {value}",
                    expected=f"no replay.{name}: it follows from drqv2.n_step",
                    fix=f"leave replay.{name} out" + (", and set drqv2.n_step" if name == "length" else ""),
                )
        return {**values, "replay": {**replay, **fixed}}

    @model_validator(mode="after")
    def _can_be_computed(self) -> DrQv2Config:
        if self.training.cuda_graph is True:
            raise RefusedValueError(
                "training.cuda_graph is true, and here the actor's half waits for the critics' outcome on the host",
                expected="training.cuda_graph=false, or auto, which is none here",
                fix="leave training.cuda_graph out",
            )
        if self.drqv2.map_size(self.image.size) < 1:
            raise RefusedValueError(
                f"image.size {self.image.size} leaves nothing after convolutions with drqv2.strides "
                f"{list(self.drqv2.strides)}",
                expected="pictures of which a map of 1x1 is left at least",
                fix="set a larger image.size and env.image_size, or fewer or smaller drqv2.strides",
            )
        return self

    def derived(self) -> tuple[str, ...]:
        """See `MethodConfig.derived`."""
        return ("replay.length", "replay.prioritize_ends")

    def length_key(self) -> str:
        """See `MethodConfig.length_key`."""
        return "drqv2.n_step"

    def lead(self) -> int:
        """See `MethodConfig.lead`: the older frames of the first stack."""
        return self.drqv2.frame_stack - 1

    def beyond(self) -> int:
        """See `MethodConfig.beyond`: the sum of the rewards before a terminal step ends there."""
        return self.drqv2.n_step - 1
