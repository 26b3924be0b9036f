"""What a method is to the commands: configs, presets, the model that videos pre-train, and the agent.

A method is one object that follows `Method`. Ours stand in `ipv_bench.plugins.OURS`; another package names its own as
entry points in `ipv_bench.methods`. No method's name is a condition anywhere but in its own file: whoever needs to know
something about a method asks the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from ipv_bench.errors import UsageError
from ipv_bench.plugins import find_plugin

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from models.training.checkpoint import Checkpoint
    from models.training.optimizer import OptimizerGroup
    from models.world_models.config import MethodConfig

Pretraining = Literal["none", "video", "latent_actions"]
"""What a method's agent starts from: nothing, a model of videos without actions, or one with latent actions."""

OUR_PRESETS = resources.files("ipv_bench") / "presets"
MEMBERS = (
    "name", "display_name", "pretraining", "video_config", "agent_config", "presets", "video_model", "agent",
)  # fmt: skip


class VideoModel(Protocol):
    """A model that videos train; a `torch.nn.Module`. Frames are uint8 (B, T, H, W, 3).

    One that has something to learn before a run's first update also has `prepare(frames, seed)`: `frames` gives, for
    the number of a batch and its size N, uint8 (N, H, W, 3) on its device. It does nothing where a checkpoint brought
    that, and returns whether it did something (then a checkpoint keeps it at once). One that learns from pairs of
    frames has `fewest_frames`, 2: the smallest T of a batch.
    """

    training: bool

    def draw(self, batch: int, length: int, generator: torch.Generator, observed: int | None = None) -> Any:
        """All random numbers of a pass over (batch, length) frames, from `generator`, on its device."""

    def __call__(self, image: Tensor, draws: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (scalar), and metrics (detached scalars): `loss`, and `image_loss`, `kl` (nats) and others
        where there are such."""

    def loss(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The same with draws made by `generator`."""

    def open_loop(
        self, image: Tensor, observed: int, generator: torch.Generator | None = None, *, draws: Any = None
    ) -> Tensor:
        """(B, T, 3, H, W) in [0, 1]: frames decoded with the first `observed` ones seen, and the rest predicted.

        `draws`, of `draw` with the same `observed`, may stand in place of a generator.
        """

    def set_mean_image(self, images: Tensor) -> None:
        """Take the mean of uint8 frames (N, H, W, 3) as the image offset, where the config asks for that."""

    def optimizer_group(self) -> OptimizerGroup:
        """The parameters, and how they are trained."""

    def train(self, mode: bool = True) -> Any:
        """As `torch.nn.Module.train`."""

    def eval(self) -> Any:
        """As `torch.nn.Module.eval`."""

    def parameters(self) -> Any:
        """As `torch.nn.Module.parameters`."""


class Policy(Protocol):
    """Chooses actions for some environments, with a state of its own; see `models.finetuning.rollout.Policy`."""

    def act(self, image: NDArray[np.uint8], is_first: NDArray[np.bool_], index: int) -> NDArray[np.float32]:
        """(N, A) actions for uint8 (N, H, W, 3) frames; `is_first` (N,) resets states; `index` numbers the call."""


class Agent(Protocol):
    """What the loop around an agent needs; everything random comes from (seed, update or call, purpose).

    An agent may have more, which is used where it is there: `examine(episode, number)`, what it expected of an episode
    beside what that brought; `see_steps(agent_steps)`, told after each step of the training's environments, for
    schedules that follow them; `video_model()`, a model that predicts frames.
    """

    action_dim: int

    def update(self, batch: Mapping[str, NDArray[Any] | Tensor]) -> dict[str, float]:
        """One update from image uint8 (B, T, H, W, 3), action (B, T, A), reward (B, T), is_first (B, T), ..."""

    def act(self, obs: Mapping[str, Any]) -> NDArray[np.float32]:
        """Action for one observation or a batch of them; the state is carried from call to call."""

    def policy(self, count: int, seed: int, purpose: str, *, explore: bool) -> Policy:
        """A policy with a state of its own for `count` environments."""

    def see_prefill(self, frames: NDArray[np.uint8]) -> None:
        """Look at the prefill's frames (N, H, W, 3) before the first update."""

    def load_pretrained(self, checkpoint: Checkpoint) -> None:
        """Take over the parts of a pre-trained model that the config names.

        Raises:
            CheckpointError: they do not fit.
        """

    def model_tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, for a checkpoint."""

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Moments and step counts by name, for a checkpoint."""

    def state(self) -> dict[str, Any]:
        """JSON values for a checkpoint, `action_dim` among them."""

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of a fine-tuning run.

        Raises:
            CheckpointError: it is of another model.
        """


class Method(Protocol):
    """A method.

    Attributes:
        name: as in `--set method=...`, in run folders and records.
        display_name: as papers write it.
        pretraining: what its agents start from.
        video_config: sections of its video model, beside those of the loop; None where it is not pre-trained.
        agent_config: sections of its agent, beside those of the loop; has `training` with what the agent needs. None
            for a method without an agent, which `finetune` refuses.
        presets: folder with its presets: `pretrain/<preset>.yaml`, `finetune/<preset>.yaml`, or
            `finetune/<preset>/<suite>.yaml` where they differ by suite.
    """

    name: str
    display_name: str
    pretraining: Pretraining
    video_config: type[MethodConfig] | None
    agent_config: type[MethodConfig] | None
    presets: Traversable

    def video_model(self, config: Any) -> nn.Module:
        """The model that videos train, a `VideoModel`, with first weights drawn from torch's global generator."""

    def agent(self, config: Any, action_dim: int, seed: int, device: torch.device) -> Agent:
        """An agent with first weights that depend on `seed` alone."""


class ActionModel(Protocol):
    """A model that is trained on videos with actions; a `torch.nn.Module`. `state_dict` is what checkpoints hold.

    One of a method with parts that need no actions also has `without_actions()`: the `VideoModel` to validate then.
    One that predicts features, of which pictures are only drawn, also has `targets(image)` and `rollout(image, action,
    observed)`, (B, T, ...) each: features of the frames, and those that follow from actions (`FeaturePredictions`).
    `fewest_frames` as a `VideoModel`'s.
    """

    training: bool
    action_dim: int

    def draw(self, batch: int, length: int, generator: torch.Generator, observed: int | None = None) -> Any:
        """All random numbers of a pass over (batch, length) frames, from `generator`, on its device."""

    def __call__(self, image: Tensor, action: Tensor, draws: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics (`loss`; `image_loss`, `kl` and others where there are such).

        `image` is uint8 (B, T, H, W, 3), `action` (B, T, A).
        """

    def open_loop(self, image: Tensor, action: Tensor, observed: int, generator: torch.Generator) -> Tensor:
        """(B, T, 3, H, W) in [0, 1]: the first `observed` frames are seen, the rest follow from actions alone."""

    def load_adapted(self, tensors: Mapping[str, Tensor], where: Any) -> None:
        """Take over the tensors of an adapted model, whose checkpoint is `where`.

        Raises:
            CheckpointError: it is of another model.
        """

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """What the updates change; a group called `encoder` is held at first where the config asks for that."""

    def set_mean_image(self, images: Tensor) -> None:
        """Take the mean of uint8 frames (N, H, W, 3) as the image offset, where the config asks for that."""

    def train(self, mode: bool = True) -> Any:
        """As `torch.nn.Module.train`."""

    def eval(self) -> Any:
        """As `torch.nn.Module.eval`."""

    def parameters(self) -> Any:
        """As `torch.nn.Module.parameters`."""


class Adaptation(Protocol):
    """How a method's models are trained on labelled videos without an environment (`ipv-bench adapt`).

    Attributes:
        parts: names of what can be trained, the first is the default → whether it needs actions.
        config: sections of the model, beside those of the loop.

    It may have functions `defaults`, `unused` and `held`, see `defaults_of`, `unused_by` and `held_by`.
    """

    parts: Mapping[str, bool]
    config: type[MethodConfig]

    def model(
        self, config: Any, action_dim: int, seed: int, device: torch.device, parts: str, pretrained: Checkpoint | None
    ) -> nn.Module:
        """An `ActionModel` of which `parts` will be trained, with first weights that depend on `seed` alone.

        Args:
            config: resolved.
            action_dim: A; 0 where `parts` needs no actions.
            seed: of the run.
            device: where it computes.
            parts: one of `parts`.
            pretrained: of a pre-training run, whose weights are taken over; None: random weights.

        Raises:
            ConfigError: the actions do not fit the model.
            CheckpointError: the checkpoint is of another model.
        """


def defaults_of(adaptation: Adaptation, preset: str, parts: str, *, first: bool) -> Mapping[str, Any]:
    """What a method's source says of adapting, dotted key → value: `adapt` takes it where nobody sets anything else.

    It comes from `adaptation.defaults(preset, parts, first=...)`, which a method need not have.

    Args:
        adaptation: of the method.
        preset: of the run that is started from.
        parts: what is trained.
        first: pre-trained weights meet real actions for the first time; false of random weights, and of a model that
            was adapted before.
    """
    found = getattr(adaptation, "defaults", None)
    return {} if found is None else cast(Mapping[str, Any], found(preset, parts, first=first))


def unused_by(adaptation: Adaptation, config: Any, parts: str) -> Mapping[str, str]:
    """Config keys, or sections of them, that training `parts` does not look at → why: `adapt` refuses them where they
    are set. It comes from `adaptation.unused(config, parts)`, which a method need not have.

    Args:
        adaptation: of the method.
        config: resolved.
        parts: what is trained.
    """
    found = getattr(adaptation, "unused", None)
    return {} if found is None else cast(Mapping[str, str], found(config, parts))


def held_by(adaptation: Adaptation, parts: str) -> str:
    """What of the model training `parts` leaves as it came, in words; "" where all of it learns. It comes from
    `adaptation.held(parts)`, which a method need not have."""
    found = getattr(adaptation, "held", None)
    return "" if found is None else str(found(parts))


def adaptation_of(method: Method) -> Adaptation:
    """How a method's models are adapted; it says so by an attribute `adaptation`, which it need not have.

    Raises:
        UsageError: it does not.
    """
    found = getattr(method, "adaptation", None)
    if found is None:
        raise UsageError(
            f"{method.name} has no training on labelled videos",
            expected="a method with one, such as apv, contextwm or dreamerv2",
            fix="fine-tune it in an environment: `ipv-bench finetune`",
        )
    return cast(Adaptation, found)


def find_method(name: str) -> Method:
    """The method called `name`.

    Raises:
        UnknownNameError: there is none.
        PluginError: it belongs to another package and does not work.
    """
    return cast(Method, find_plugin("methods", name).load(MEMBERS))
