"""A judge of predicted frames that belongs to no method: which action led to a frame?

It sees how three frames differ, not the frames: backgrounds and colours would be learned by heart. A small network is
trained on true frames with their actions and is then asked about predicted ones. Where a model's frames move as its
actions say, the judge reads these actions off them; where they are blurred, still or moved by something else, it
cannot. What it reads off true frames is the most that any prediction can be given.

Legend: `N` sequences, `T` frames, `A` size of an action.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

WIDTHS = (32, 64, 64, 64)
BATCH, LEARNING_RATE, WEIGHT_DECAY = 64, 1e-3, 1e-2
BEFORE = 2
"""Frames that are seen before the one that an action led to: an action changes velocities."""


class InverseDynamics(nn.Module):
    """Three frames, one after the other, to the action that led to the last: four convolutions, two dense layers.

    Args:
        action_dim: A.
        size: height and width of the frames.
    """

    def __init__(self, action_dim: int, size: int = 64) -> None:
        super().__init__()
        channels = (3 * BEFORE, *WIDTHS)  # the differences
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ELU()]
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(WIDTHS[-1] * (size // 16) ** 2, 128), nn.ELU(), nn.Linear(128, action_dim))

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, 3, H, W, 3) to actions (N, A)."""
        scaled = frames.movedim(-1, 2).float() / 255  # (N, 3, 3, H, W)
        seen = 4 * (scaled[:, 1:] - scaled[:, :-1]).flatten(1, 2)  # (N, 6, H, W)
        found: Tensor = self.dense(self.convolutions(seen).flatten(1))
        return found


def train_judge(
    frames: NDArray[np.uint8], actions: NDArray[np.float32], updates: int, seed: int = 0
) -> InverseDynamics:
    """Fit a judge to labelled sequences.

    Args:
        frames: (N, T, H, W, 3).
        actions: (N, T, A) action that led into each frame.
        updates: of `BATCH` actions each.
        seed: decides first weights, and which ones.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = InverseDynamics(actions.shape[-1], frames.shape[2])
    optimizer = torch.optim.AdamW(judge.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    images, labels = torch.from_numpy(frames), torch.from_numpy(actions)
    for _ in range(updates):
        video = torch.randint(len(images), (BATCH,), generator=generator)
        step = torch.randint(BEFORE, images.shape[1], (BATCH,), generator=generator)
        seen = torch.stack([images[video, step - back] for back in range(BEFORE, -1, -1)], 1)  # (BATCH, 3, H, W, 3)
        loss = F.mse_loss(judge(seen), labels[video, step])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return judge.eval()


@torch.no_grad()
def action_r2(judge: InverseDynamics, frames: NDArray[np.uint8], actions: NDArray[np.float32]) -> float:
    """R² of the actions that the judge reads off frames (N, T, H, W, 3), against those that led into each (N, T, A).

    The actions into the first two frames are left out. 1 is perfect, 0 no better than the mean.
    """
    images, truth = torch.from_numpy(frames), torch.from_numpy(actions)[:, BEFORE:].flatten(0, 1)
    windows = images.unfold(1, BEFORE + 1, 1).movedim(-1, 2)  # (N, T - 2, 3, H, W, 3)
    read = torch.cat([judge(part.flatten(0, 1)) for part in windows.split(16)])
    return float(1 - (read - truth).square().sum() / (truth - truth.mean(0)).square().sum())
