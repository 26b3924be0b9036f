"""The loop of an analysis: every model over every batch of clips, each part kept until the analysis is finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ipv_bench.progress import progress
from models.analysis.clips import ClipSet
from models.analysis.loaded_model import AnalysedModel
from models.analysis.output import AnalysisOutput, Arrays

Compute = Callable[[AnalysedModel, int, NDArray[np.uint8]], Arrays]
"""(model, number of the batch's first clip, frames (n, T, H, W, 3)) → arrays whose first axis is clips."""


def each_model(
    output: AnalysisOutput, title: str, models: Sequence[AnalysedModel], clips: ClipSet, size: int, compute: Compute
) -> list[dict[str, NDArray[np.generic]]]:
    """What `compute` finds for each model, its batches joined.

    Args:
        output: keeps finished parts.
        title: of the progress bar.
        models: in the order of the result.
        clips: all of them are read once.
        size: clips of a batch.
        compute: see `Compute`; batches may give fewer entries than they have clips.
    """
    parts: list[list[dict[str, NDArray[np.generic]]]] = [[] for _ in models]
    with progress(title, len(models) * len(clips), "clips") as bar:
        for first, frames in clips.batches(size):
            for number, model in enumerate(models):
                name = f"{model.label} {first} {len(frames)}"
                parts[number].append(output.part(name, lambda m=model, n=first, f=frames: compute(m, n, f)))  # type: ignore[misc]
                bar.advance(len(frames))
    return [{name: np.concatenate([part[name] for part in found]) for name in found[0]} for found in parts]
