"""What Iso-Dream's release is run with on its two suites: dm-control with videos as backgrounds, and CARLA.

Source: panmt/Iso-Dream at commit b59d51e: `C` is dmc_carla_iso/configs.yaml by its sections (`defaults` where none is
named), `R` the commands in README.md. Its `steps`, `eval_every` and `time_limit` are
frames, divided by the action repeat where they are read.
"""

from __future__ import annotations

from typing import Any

OWN_RELEASE = "Iso-Dream's release (commit b59d51e)"
FP32 = "fp32 is exact to resume"
COMPARED = "as the other methods here, whose curves stand beside it"
SHARED: dict[str, tuple[Any, str, str]] = {
    "training.train_every": (5, "C: dmc, carla", ""),
    "training.updates_per_train": (1, "C: dmc, carla", ""),
    "training.pretrain_updates": (100, "C: dmc, carla", ""),
    "training.precision": ("fp16", "C: precision", FP32),
    "evaluation.explore": (False, "dreamer.py:122", ""),
    "evaluation.episodes": (1, "dreamer.py:359", COMPARED),
    "replay.batch_size": (50, "C: batch_size", ""),
    "replay.length": (50, "C: batch_length", ""),
    "replay.prioritize_ends": (False, "C: oversample_ends", ""),
    "rssm.deter": (200, "C: dmc, carla", ""),
    "rssm.hidden": (200, "C: dyn_hidden", ""),
    "rssm.stoch": (50, "C: dmc, carla", ""),
    "rssm.min_std": (0.1, "C: dyn_min_std", ""),
    "encoder.cnn_depth": (32, "C: dmc, carla", ""),
    "decoder.cnn_depth": (32, "C: dmc, carla", ""),
    "isolation.background_frames": (10, "C: init_frame", ""),
    "loss.kl_scale": (1.0, "C: dmc, carla", ""),
    "loss.kl_balance": (0.8, "C: kl_balance", ""),
    "loss.free_nats": (1.0, "C: dmc, carla", ""),
    "loss.inverse_scale": (1.0, "C: action_scale", ""),
    "reward.layers": (2, "C: dmc, carla", ""),
    "reward.units": (400, "C: units", ""),
    "reward.scale": (2.0, "C: dmc, carla", ""),
    "optimizer.lr": (3e-4, "C: dmc, carla", ""),
    "optimizer.eps": (1e-5, "C: dmc, carla", ""),
    "optimizer.weight_decay": (0.0, "C: dmc, carla", ""),
    "optimizer.clip": (100.0, "C: grad_clip", ""),
    "behavior.layers": (4, "C: dmc, carla", ""),
    "behavior.critic_layers": (3, "C: dmc, carla", ""),
    "behavior.units": (400, "C: units", ""),
    "behavior.horizon": (15, "C: imag_horizon", ""),
    "behavior.discount": (0.99, "C: dmc, carla", ""),
    "behavior.discount_head": (False, "C: dmc, carla", ""),
    "behavior.lam": (0.95, "C: discount_lambda", ""),
    "behavior.entropy": (1e-4, "C: dmc, carla", ""),
    "behavior.min_std": (0.1, "C: actor_min_std", ""),
    "behavior.slow_every": (100, "C: slow_target_update", ""),
    "behavior.slow_fraction": (1.0, "C: slow_target_fraction", ""),
    "behavior.actor_optimizer.lr": (8e-5, "C: dmc, carla", ""),
    "behavior.critic_optimizer.lr": (8e-5, "C: dmc, carla", ""),
}
SUITES: dict[str, dict[str, tuple[Any, str, str]]] = {
    "dmc": {
        "isolation.free_branch": ("predictive", "C: dmc, autoencoder", ""),
        "isolation.use_free": (False, "C: dmc", ""),
        "isolation.window": (0, "C: dmc, rollout_policy", ""),
        "isolation.action_steps": (50, "C: dmc", ""),
        "isolation.free_steps": (40, "C: dmc", ""),
        "env.action_repeat": (2, "C: dmc", ""),
        "training.prefill": (2500, "C: dmc", ""),
        "training.env_steps": (1_000_000, "C: dmc, steps", COMPARED),
        "evaluation.every": (5000, "C: dmc", COMPARED),
    },
    "carla": {
        "isolation.free_branch": ("posterior", "C: carla, autoencoder", ""),
        "isolation.use_free": (True, "C: carla", ""),
        "isolation.window": (5, "C: carla, rollout_policy and window", ""),
        "isolation.action_steps": (20, "R (C: carla has 25)", ""),
        "isolation.free_steps": (50, "C: carla; R", ""),
        "env.action_repeat": (4, "C: carla", COMPARED),
        "training.prefill": (2500, "C: carla", COMPARED),
        "training.env_steps": (1_000_000, "C: carla, steps", COMPARED),
        "evaluation.every": (5000, "C: carla", ""),
    },
}
