"""The set's actions for passes over whole clips: compositions, states, attention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ipv_bench.errors import ShardSetError
from ipv_bench.tracks import ACTION
from models.analysis.action_sources import Source, action_source
from models.analysis.clips import ClipSet
from models.analysis.loaded_model import AnalysedModel
from models.world_models.stacked import StackedWorldModel

_WORDS: dict[Source, str] = {
    "real": "is told the set's own actions",
    "zero": "takes actions, and the set has none that fit: it is told zero actions",
}


def told_source(model: AnalysedModel, clips: ClipSet) -> Source:
    """`action_source`, but actions that do not fit the model count as none: its states are of interest all the same."""
    try:
        return action_source(model, clips)
    except ShardSetError:
        return "zero"


def told_actions(model: AnalysedModel, clips: ClipSet, numbers: Iterable[int]) -> dict[str, Tensor]:
    """What a model that takes actions is told with some clips: `action` (n, T, A) of the set; otherwise nothing.

    The first one of a clip is zero, as in training: it came from a frame that the clip does not hold.

    Args:
        model: that is asked.
        clips: the clips of the analysis.
        numbers: of the clips of the pass.
    """
    if not isinstance(model.model, StackedWorldModel) or told_source(model, clips) != "real":
        return {}
    found = np.concatenate([clips.track(ACTION, number, number + 1) for number in numbers])
    action = torch.from_numpy(found.astype(np.float32)).to(model.device)
    action[:, 0] = 0
    return {"action": action}


def action_notes(models: Sequence[AnalysedModel], clips: ClipSet) -> list[str]:
    """What a reader must know of models that take actions."""
    sources = {model.label: told_source(model, clips) for model in models}
    return [f"{label} {_WORDS[source]}" for label, source in sources.items() if source in _WORDS]
