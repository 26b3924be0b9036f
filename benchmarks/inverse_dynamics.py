"""A judge of predicted frames that belongs to no method: which action led from one frame to the next?

A small network is trained on true frames with their actions and is then asked about predicted ones. Where a model's
frames move as its actions say, the judge reads these actions off them; where they are blurred, still or moved by
something else, it cannot. What it reads off true frames is the most that any prediction can be given.

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
BATCH, LEARNING_RATE = 64, 1e-3


class InverseDynamics(nn.Module):
    """Two frames, one after the other, to the action between them: four convolutions and two dense layers.

    Args:
        action_dim: A.
        size: height and width of the frames.
    """

    def __init__(self, action_dim: int, size: int = 64) -> None:
        super().__init__()
        channels = (9, *WIDTHS)  # both frames, and their difference
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ELU()]
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(WIDTHS[-1] * (size // 16) ** 2, 128), nn.ELU(), nn.Linear(128, action_dim))

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """uint8 frames (N, H, W, 3) each, to actions (N, A)."""
        first, second = (frames.movedim(-1, 1).float() / 255 - 0.5 for frames in (before, after))
        seen = torch.cat([first, second, 4 * (second - first)], 1)  # (N, 9, H, W)
        found: Tensor = self.dense(self.convolutions(seen).flatten(1))
        return found


def train_judge(
    frames: NDArray[np.uint8], actions: NDArray[np.float32], updates: int, seed: int = 0
) -> InverseDynamics:
    """Fit a judge to labelled sequences.

    Args:
        frames: (N, T, H, W, 3).
        actions: (N, T, A) action that led into each frame.
        updates: of `BATCH` pairs each.
        seed: decides first weights and pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = InverseDynamics(actions.shape[-1], frames.shape[2])
    optimizer = torch.optim.Adam(judge.parameters(), lr=LEARNING_RATE)
    images, labels = torch.from_numpy(frames), torch.from_numpy(actions)
    for _ in range(updates):
        video = torch.randint(len(images), (BATCH,), generator=generator)
        step = torch.randint(1, images.shape[1], (BATCH,), generator=generator)
        loss = F.mse_loss(judge(images[video, step - 1], images[video, step]), labels[video, step])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return judge.eval()


@torch.no_grad()
def action_r2(judge: InverseDynamics, frames: NDArray[np.uint8], actions: NDArray[np.float32]) -> float:
    """R² of the actions that the judge reads off frames (N, T, H, W, 3), against those that led into each (N, T, A).

    The first action, which led from a frame that is not there, is left out. 1 is perfect, 0 no better than the mean.
    """
    images, truth = torch.from_numpy(frames), torch.from_numpy(actions)[:, 1:].flatten(0, 1)
    read = torch.cat([judge(part[:, :-1].flatten(0, 1), part[:, 1:].flatten(0, 1)) for part in images.split(16)])
    return float(1 - (read - truth).square().sum() / (truth - truth.mean(0)).square().sum())
