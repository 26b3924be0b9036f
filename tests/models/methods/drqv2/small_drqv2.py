"""A very small DrQ-v2 that the tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.finetune import build_agent
from models.methods.drqv2.agent import DrQv2Agent
from tests.models.finetuning.finetune_runs import TASK

ACTIONS = 3
SMALL: dict[str, Any] = {
    "method": "drqv2", "drqv2.channels": 4, "drqv2.units": 8, "drqv2.feature_dim": 6, "image.size": 32,
    "env.image_size": 32, "replay.batch_size": 4, "replay.capacity": 70, "drqv2.noise.steps": 60,
    "env.action_repeat": 8, "env.time_limit": 160, "evaluation.every": 320, "evaluation.episodes": 1,
    "evaluation.random_episodes": 2, "training.env_steps": 1120, "training.prefill": 40, "training.train_every": 5,
    "training.log_every": 3, "training.checkpoint_episodes": 2, "training.tensorboard": False,
    "training.stop_grace_seconds": 0,
}  # fmt: skip
"""20 agent steps an episode; 7 episodes, 2 of them prefill; 20 updates; evaluations at 320, 640, 960 and 1120."""


def small_agent(**changes: Any) -> DrQv2Agent:
    agent = build_agent("tiny", SMALL | changes, (32, 32, 3), ACTIONS)
    assert isinstance(agent, DrQv2Agent)
    return agent


def batch_of(steps: int, batch: int = 4, size: int = 32, seed: int = 0) -> dict[str, np.ndarray]:
    """Windows of `steps` random records; the last one of the first window ends its episode for good."""
    generator = np.random.default_rng(seed)
    terminal = np.zeros((batch, steps), bool)
    terminal[0, -1] = True
    return {
        "image": generator.integers(0, 256, (batch, steps, size, size, 3), np.uint8),
        "action": generator.uniform(-1, 1, (batch, steps, ACTIONS)),
        "reward": generator.random((batch, steps)),
        "is_first": np.zeros((batch, steps), bool),
        "is_terminal": terminal,
    }


def command_line(folder: Path, *extra: str, task: str = TASK, **changes: Any) -> list[str]:
    """Arguments of `ipv-bench` for such a run."""
    sets = [word for key, value in (SMALL | changes).items() for word in ("--set", f"{key}={value}")]
    return ["finetune", "--preset", "tiny", "--task", task, "--run", str(folder), *sets, *extra]
