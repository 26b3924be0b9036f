"""Random numbers of an analysis: each clip has its own, whatever batch it is in, and the same for every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ipv_bench.seeding import derive_seed
from models.analysis.clips import Clip
from models.analysis.loaded_model import AnalysedModel
from models.nets.rssm import Latents


def clip_draws(
    model: AnalysedModel, clips: Sequence[Clip], length: int, seed: int, purpose: str, observed: int | None = None
) -> Any:
    """All random numbers of a pass over clips, as the model's own `draw` makes them; on its device.

    Args:
        model: whose `draw` is called once per clip.
        clips: of the pass, in its order.
        length: frames of each.
        seed: of the analysis.
        purpose: what is drawn.
        observed: the context frame is among the first so many frames; None: all.
    """
    return _joined(
        [model.model.draw(1, length, clip_generator(model, clip, seed, purpose), observed) for clip in clips]
    )


def clip_generator(model: AnalysedModel, clip: Clip, seed: int, purpose: str) -> torch.Generator:
    """The generator of a clip's random numbers, on the model's device; arguments as for `clip_draws`."""
    generator = torch.Generator(model.device)
    return generator.manual_seed(derive_seed(seed, clip.start, f"{purpose} of {clip.video_id}"))


def _joined(parts: Sequence[Any]) -> Any:
    """Draws of single clips as those of a batch: time comes first in latents, clips in everything else."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Latents):
        return Latents(*(_cat(values, 1) for values in zip(*parts, strict=True)))
    if isinstance(first, Tensor):
        return _cat(parts, 0)
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    return type(first)(*(_joined(values) for values in zip(*parts, strict=True)))


def _cat(values: Sequence[Tensor | None], axis: int) -> Tensor | None:
    tensors = [value for value in values if value is not None]
    return torch.cat(tensors, axis) if tensors else None
