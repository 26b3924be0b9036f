"""UWM ("A Universal World Model Learned from Large Scale and Diverse Videos"): latent actions between frozen features.

Its paper names reinforcement learning as future work: it has no agent. Real actions come in through `ipv-bench adapt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any, ClassVar

from ipv_bench.errors import ConfigError
from ipv_bench.seeding import derive_seed
from models.features.config import OF_THE_FIT
from models.latent_actions.feature_config import PARTS, AdaptedFeatureModelConfig, FeatureModelConfig
from models.methods.base import OUR_PRESETS, Agent, Pretraining

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.latent_actions.adapted_features import AdaptedFeatureModel
    from models.training.checkpoint import Checkpoint

PAPER_LENGTHS: Mapping[str, dict[str, Any]] = {
    "adapter": {"training.updates": 20_000, "data.batch_size": 128},
    "dynamics": {"training.updates": 5_000},
}
"""What is trained of a model of the preset `paper` → for how long, and in what batches."""


TRAINS_VIDEOS = (
    "optimizer", "state_loss", "quantizer.commitment", "quantizer.restart_below", "quantizer.usage_decay",
)  # fmt: skip
"""Keys that only the training of the model of videos looks at."""


class UWMVideoConfig(FeatureModelConfig):
    """Model of videos."""


class UWMAdaptConfig(AdaptedFeatureModelConfig):
    """The same with an adapter."""


@dataclass(frozen=True)
class UWMAdaptation:
    """See `models.methods.base.Adaptation`."""

    parts: ClassVar[Mapping[str, bool]] = PARTS
    config: ClassVar[type[UWMAdaptConfig]] = UWMAdaptConfig

    def defaults(self, preset: str, parts: str, *, first: bool) -> dict[str, Any]:
        """See `models.methods.base.defaults_of`: lengths that fit models of the paper's size. The paper says of them
        but that a domain needs some 2,000 pairs; see docs/methods/uwm.md."""
        return PAPER_LENGTHS[parts] if preset.split("/")[0] == "paper" and parts in PAPER_LENGTHS else {}

    def held(self, parts: str) -> str:
        """See `models.methods.base.held_by`."""
        return "action extractor, codebook and dynamics" if parts == "adapter" else ""

    def unused(self, config: Any, parts: str) -> dict[str, str]:
        """See `models.methods.base.unused_by`."""
        found = {
            "training.encoder_frozen_updates": "nothing of uwm waits: what parts does not name is frozen throughout"
        }
        if config.weights != "random" and config.features.kind == "own":
            found |= dict.fromkeys(OF_THE_FIT, "the features are those of the run to start from, not trained again")
        if parts == "dynamics":
            return found | {"adapter": "parts=dynamics trains no adapter (and no decoder): set parts=adapter"}
        frozen = "parts=adapter trains by adapter.optimizer and holds the model of videos: set parts=dynamics"
        found |= dict.fromkeys(TRAINS_VIDEOS, frozen)
        if config.adapter.kind == "mlp":
            found |= dict.fromkeys(("adapter.layers", "adapter.heads"), "adapter.kind=mlp has three dense layers")
        return found

    def model(
        self, config: Any, action_dim: int, seed: int, device: torch.device, parts: str, pretrained: Checkpoint | None
    ) -> AdaptedFeatureModel:
        """See `Adaptation.model`."""
        import torch

        from models.latent_actions.adapted_features import AdaptedFeatureModel
        from models.latent_actions.feature_model import FeatureVideoModel
        from models.training.module_tensors import load_tensors

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, 0, "parameters"))
            video = FeatureVideoModel(config)
            if pretrained is not None:
                load_tensors(video, pretrained.model, pretrained.path)
            return AdaptedFeatureModel(config, video, action_dim, parts)


@dataclass(frozen=True)
class UWM:
    """The method; see `models.methods.base.Method`."""

    name: str = "uwm"
    display_name: str = "UWM"
    pretraining: Pretraining = "latent_actions"
    video_config: type[UWMVideoConfig] = UWMVideoConfig
    agent_config: None = None
    presets: Traversable = OUR_PRESETS / "uwm"

    def video_model(self, config: Any) -> nn.Module:
        """See `Method.video_model`."""
        from models.latent_actions.feature_model import FeatureVideoModel

        return FeatureVideoModel(config)

    def agent(self, config: Any, action_dim: int, seed: int, device: torch.device) -> Agent:
        """There is none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "uwm has no agent",
            expected="a method that is fine-tuned, such as contextwm",
            fix="`ipv-bench adapt` trains it on actions",
        )

    @property
    def adaptation(self) -> UWMAdaptation:
        """See `models.methods.base.adaptation_of`."""
        return UWMAdaptation()


METHOD = UWM()
