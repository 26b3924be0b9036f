"""Predictions of single clips: each with random numbers of its own, whatever batch the clip is in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.analysis.action_sources import ActionDriver
from models.analysis.clips import Clip
from models.analysis.draws import clip_generator


@torch.no_grad()
def predict_clips(
    driver: ActionDriver,
    images: Tensor,
    clips: Sequence[Clip],
    actions: Tensor | None,
    observed: int,
    seed: int,
    purpose: str,
) -> Tensor:
    """Clips predicted open loop, one after the other.

    Args:
        driver: predicts, as in `predict`: a model of any method.
        images: uint8 (n, T, H, W, 3).
        clips: whose frames these are.
        actions: (n, T, A) of the set; None where the model takes none, or the set has none.
        observed: frames that the model sees.
        seed: of the analysis.
        purpose: what is drawn.

    Returns:
        (n, T, 3, H, W) in [0, 1].
    """
    found = [images.new_zeros((0, *images.shape[1:2], 3, *images.shape[2:4]), dtype=torch.float32)]
    for number, clip in enumerate(clips):
        one = slice(number, number + 1)
        generator = clip_generator(driver.model, clip, seed, purpose)
        led = None if actions is None else actions[one]
        found.append(driver.predict(images[one], observed, led, generator).float())
    return torch.cat(found)
