"""What DrQ-v2's release is run with on dm-control, its only suite: task by task.

Source: facebookresearch/drqv2 at commit c0c650b: `C` is cfgs/config.yaml, `K` the task's file in cfgs/task/ and the
file of its class there (easy, medium, hard), `A` drqv2.py, each with its line. Budgets and evaluations are counted in
frames, the noise and the random steps in agent steps.
"""

from __future__ import annotations

from typing import Any

SUITE = "dmc"
OWN_RELEASE = "DrQ-v2's release (commit c0c650b)"
_SHARED: dict[str, tuple[Any, str]] = {
    "image.size": (84, "dmc.py:206"),
    "image.offset": ("half", "A:64"),
    "env.action_repeat": (2, "C:8"),
    "drqv2.frame_stack": (3, "C:7"),
    "drqv2.shift_pad": (4, "A:153"),
    "drqv2.channels": (32, "A:55"),
    "drqv2.strides": ([2, 1, 1, 1], "A:55"),
    "drqv2.units": (1024, "C:44"),
    "drqv2.feature_dim": (50, "C:32"),
    "drqv2.n_step": (3, "C:20"),
    "drqv2.discount": (0.99, "C:9"),
    "drqv2.target_rate": (0.01, "C:40"),
    "drqv2.noise.start": (1.0, "K:2"),
    "drqv2.noise.end": (0.1, "K:2"),
    "drqv2.noise_clip": (0.3, "C:47"),
    "replay.capacity": (1_000_000, "C:18"),
    "replay.batch_size": (256, "C:21"),
    "training.prefill": (2000, "C:43 (C:11: 4,000 frames)"),
    "training.train_every": (2, "C:41"),
    "training.updates_per_train": (1, "C:41"),
    "training.pretrain_updates": (0, "none"),
    "training.precision": ("fp32", "torch's own"),
    "evaluation.every": (10_000, "C:13"),
    "evaluation.episodes": (10, "C:14"),
    "evaluation.explore": (False, "A:170"),
}
_OPTIMIZERS = ("encoder", "actor", "critic")
_CLASSES: dict[str, tuple[int, int]] = {
    "easy": (1_100_000, 100_000),
    "medium": (3_100_000, 500_000),
    "hard": (30_100_000, 2_000_000),
}
"""Class of a task → frames of a run, agent steps of the noise's descent."""
TASKS: dict[str, str] = {
    **dict.fromkeys(
        (
            "ball_in_cup_catch", "cartpole_balance", "cartpole_balance_sparse", "cartpole_swingup", "finger_spin",
            "hopper_stand", "pendulum_swingup", "walker_stand", "walker_walk",
        ),
        "easy",
    ),
    **dict.fromkeys(
        (
            "acrobot_swingup", "cartpole_swingup_sparse", "cheetah_run", "finger_turn_easy", "finger_turn_hard",
            "hopper_hop", "quadruped_run", "quadruped_walk", "reacher_easy", "reacher_hard", "walker_run",
        ),
        "medium",
    ),
    **dict.fromkeys(("humanoid_run", "humanoid_stand", "humanoid_walk"), "hard"),
}  # fmt: skip
"""The release's tasks that dm-control's suite has (`cup_catch` there; `reach_duplo` is another suite's) → class."""
_WALKER: dict[str, tuple[Any, str]] = {"drqv2.n_step": (1, "K:6"), "replay.batch_size": (512, "K:7")}


def drqv2_released(task: str = "") -> dict[str, tuple[Any, str]]:
    """Our key → released value and where it stands; empty for a task that the release does not have.

    Args:
        task: without the suite; empty: cheetah_run, which has no values of its own beside its class's.
    """
    task = task or "cheetah_run"
    if task not in TASKS:
        return {}
    rate, rate_from = (8e-5, "K:6") if task.startswith("humanoid") else (1e-4, "C:31")
    frames, noise = _CLASSES[TASKS[task]]
    found = {
        **_SHARED,
        **{f"drqv2.{name}_optimizer.lr": (rate, rate_from) for name in _OPTIMIZERS},
        **{f"drqv2.{name}_optimizer.eps": (1e-8, "torch's own") for name in _OPTIMIZERS},
        "drqv2.noise.steps": (noise, "K:2"),
        "training.env_steps": (frames, "K:1"),
    }
    if task.startswith("walker"):
        found |= _WALKER
    if task.startswith("humanoid"):
        found["drqv2.feature_dim"] = (100, "K:7")
    if task == "quadruped_run":
        found["replay.capacity"] = (100_000, "K:6")
    return found
