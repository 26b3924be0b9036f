"""A very small Iso-Dream agent that the tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.finetune import build_agent

ACTION_DIM = 3
SMALL: dict[str, Any] = {
    "method": "isodream", "encoder.cnn_depth": 2, "decoder.cnn_depth": 2, "rssm.deter": 8, "rssm.hidden": 8,
    "rssm.stoch": 4, "isolation.background_frames": 2, "reward.units": 8, "reward.layers": 1, "behavior.units": 8,
    "behavior.layers": 1, "behavior.critic_layers": 2, "behavior.horizon": 3, "behavior.slow_every": 4,
    "replay.batch_size": 2, "replay.length": 6, "replay.capacity": 70,
    "isolation.action_steps": 6, "isolation.free_steps": 5,
}  # fmt: skip
LOOKS_AHEAD: dict[str, Any] = {
    "isolation.free_branch": "posterior", "isolation.use_free": True, "isolation.window": 3,
}  # fmt: skip


def small_agent(**changes: Any) -> Any:
    return build_agent("tiny", {**SMALL, **changes}, (64, 64, 3), ACTION_DIM)


def batch_of(seed: int = 0, batch: int = 2, length: int = 6) -> dict[str, np.ndarray]:
    """Random frames, with an episode that starts in the middle of the second segment."""
    generator = np.random.default_rng(seed)
    first = np.zeros((batch, length), bool)
    first[:, 0], first[1:, length // 2] = True, True
    return {
        "image": generator.integers(0, 255, (batch, length, 64, 64, 3), np.uint8),
        "action": generator.uniform(-1, 1, (batch, length, ACTION_DIM)).astype(np.float32),
        "reward": generator.random((batch, length)).astype(np.float32),
        "is_first": first,
        "is_terminal": np.zeros((batch, length), bool),
    }


def as_double(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
    return {name: value if name == "image" else value.double() for name, value in tensors.items()}


def parameters(agent: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in agent.model_tensors().items()}
