"""What a model predicts under: nothing, real actions of the set, or latent actions that it infers itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ipv_bench.errors import ShardSetError
from ipv_bench.tracks import ACTION
from models.analysis.clips import ClipSet
from models.analysis.loaded_model import AnalysedModel
from models.world_models.stacked import StackedWorldModel
from models.world_models.video import VideoWorldModel

Numbers = NDArray[np.int64]

Source = Literal["none", "real", "zero", "latent"]
"""none: no actions; real: those of the set; zero: the model takes actions and the set has none; latent: of its own,
drawn from its prior where it predicts."""


def action_source(model: AnalysedModel, clips: ClipSet) -> Source:
    """What `model` predicts these clips under.

    Raises:
        ShardSetError: the set's actions have another number of components than the model's.
    """
    if _infers(model):
        return "latent"
    wanted = _action_dim(model)
    if not wanted:
        return "none"
    if not clips.has_track(ACTION):
        return "zero"
    found = clips.track_shape(ACTION)
    if found != (wanted,):
        raise ShardSetError(
            f"the actions of {', '.join(clips.names)} have shape {found}",
            expected=f"{wanted} components, which {model.label} was trained with",
            fix="name a set of the agent's own task"
            + (", or take frames one after another: --set every_frames=1" if clips.longest_stride > 1 else ""),
        )
    return "real"


def _infers(model: AnalysedModel) -> bool:
    return hasattr(model.model, "infer") and hasattr(model.model, "predict")


def _action_dim(model: AnalysedModel) -> int:
    return int(getattr(model.model, "action_dim", 0)) if model.record.kind != "pretrain" else 0


SOURCE_WORDS = {
    "zero": "takes actions, and the set has none: predicted under zero actions",
    "latent": "draws latent actions from its prior where it predicts; its shuffle ratio is of predictions that are "
    "told latent actions, inferred from the predicted frames themselves",
    "real": "predicts under the set's own actions",
}


class ActionDriver:
    """Predicts a batch of clips with a model, under its own actions or under another clip's.

    Args:
        model: that predicts.
        source: see `action_source`.
    """

    def __init__(self, model: AnalysedModel, source: Source) -> None:
        self.model, self.source = model, source

    @property
    def shuffles(self) -> bool:
        """Whether there are actions to swap."""
        return self.source in ("real", "latent")

    def actions(self, images: Tensor, tracks: np.ndarray | None) -> Tensor | None:
        """Actions of a batch: (B, T, A) real ones, (B, T - 1, L) latent ones, or None."""
        if self.source == "latent":
            inferred: Any = self.model.model.infer(images)
            mean: Tensor = getattr(inferred, "mean", inferred)
            return mean
        if self.source == "real" and tracks is not None:
            actions = torch.from_numpy(np.array(tracks, np.float32)).to(images.device)
            actions[:, 0] = 0  # led there from a frame that the clip does not hold
            return actions
        return None

    def shuffled(self, actions: Tensor, observed: int, others: Numbers) -> Tensor:
        """Each clip's actions replaced by those of the clip of number `others`, (B,).

        What led to the `observed` frames stays, as in the validation of `pretrain` and `adapt`: a model that carries a
        state would else start from a worse one.
        """
        kept = observed - 1 if self.source == "latent" else observed  # latent ones lie between frames
        return torch.cat([actions[:, :kept], actions[torch.from_numpy(others).to(actions.device)][:, kept:]], 1)

    def predict(
        self, images: Tensor, observed: int, actions: Tensor | None, generator: torch.Generator, first: int = 0
    ) -> Tensor:
        """Frames `first` … of each clip, (B, T - first, 3, H, W) in [0, 1]; latent actions are not told.

        Equal generators give equal draws for any actions. Our models do not decode the frames before `first`.
        """
        model = self.model.model
        if isinstance(model, VideoWorldModel):
            return model.open_loop(images, observed, generator, decode_from=first)
        if isinstance(model, StackedWorldModel):
            return model.open_loop(images, observed, generator, actions, decode_from=first)
        return self._predict_whole(images, observed, actions, generator)[:, first:]

    def told(
        self, images: Tensor, observed: int, actions: Tensor, generator: torch.Generator, first: int = 0
    ) -> Tensor:
        """`predict` under given actions, latent ones too."""
        if self.source != "latent":
            return self.predict(images, observed, actions, generator, first)
        found: Tensor = self.model.model.predict(images, actions, observed, generator)
        return found[:, first:]

    def _predict_whole(
        self, images: Tensor, observed: int, actions: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        found: Tensor
        if self.source in ("none", "latent"):
            found = self.model.model.open_loop(images, observed, generator)
        elif self.model.record.kind == "finetune":
            found = self.model.model.open_loop(images, observed, generator, actions)
        else:  # an adapted model of another package: see `models.methods.base.ActionModel`
            if actions is None:
                actions = images.new_zeros((*images.shape[:2], _action_dim(self.model)), dtype=torch.float32)
            found = self.model.model.open_loop(images, actions, observed, generator)
        return found


def of_other_videos(videos: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """For each clip of a batch the number of one of another video, and whether there is one.

    Each stands in once unless one video has more than half of the batch. (A clip of the same video may be the same
    frames, under whose actions nothing is worse.)

    Args:
        videos: (B,) video of each clip.

    Returns:
        (B,) numbers, a clip's own where there is none; (B,) whether the clip is of another video.
    """
    count = len(videos)
    order = np.argsort(videos, kind="stable")
    largest = int(np.unique(videos, return_counts=True)[1].max())
    found = np.arange(count)
    if 2 * largest <= count:
        found[order] = np.roll(order, largest)
    else:
        for number, video in enumerate(videos):
            choice = np.flatnonzero(videos != video)
            found[number] = choice[number % len(choice)] if len(choice) else number
    return found, videos[found] != videos


def read_actions(clips: ClipSet, sources: Sequence[Source], first: int, end: int) -> np.ndarray | None:
    """The set's actions (n, T, A) of some clips, where a model predicts under them."""
    return clips.track(ACTION, first, end) if "real" in sources else None
