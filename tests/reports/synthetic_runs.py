"""Run folders (format 1) with made-up scores, in the shape of the paper's experiments."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.run_record import RunRecord, run_folder, write_record

SHARD_SET = {
    "name": "ssv2", "path": "data/shards/ssv2", "manifest_sha256": "ab" * 32, "inventory_sha256": "cd" * 32,
    "num_samples": 100, "num_frames": 4000,
}  # fmt: skip
FUSION = {"contextwm": "cross_attention"}
IMAGE_SIZES = {("drqv2", "dmcr"): 84, ("drqv2", "carla"): 84}
"""Pixels where a method's `paper` preset has its own."""
CARLA_RANGES = {"clear_noon": (-400, 1200), "wet_sunset": (-400, 800), "dynamic_weather": (-400, 600)}


def write_finetuning(
    root: Path,
    task: str,
    method: str,
    seed: int,
    *,
    data: Iterable[str] = (),
    num_videos: int | None = None,
    overrides: dict[str, Any] | None = None,
    variant: str = "",
    folder: Path | None = None,
    level: float = 0.6,
    last_step: int = 250_000,
    points: int = 11,
    episodes: int = 10,
    random_policy: bool = True,
    **changes: Any,
) -> Path:
    """Write a finished run `suite/task` whose scores rise to about `level` (success rate, or return / 1000)."""
    suite, _, name = task.partition("/")
    changed = overrides or {}
    config = {
        "method": method,
        "context": {"fusion": changed.get("context.fusion", FUSION.get(method, "none"))},
        "reward": {"dual": changed.get("reward.dual", method in ("contextwm", "prelar"))},
        "init_parts": changed.get("init_parts", "all"),
        "env": {"action_repeat": 2 if suite.startswith("dmc") else 1},
    }
    if method == "prelar":
        config["latent_action"] = {"posterior": changed.get("latent_action.posterior", "stochastic")}
    low, high = CARLA_RANGES.get(name, (0, 1000))
    record = RunRecord(
        kind="finetune", method=method, variant=variant, seed=seed, suite=suite, task=name, preset="paper",
        overrides=changed, config=config, status="finished", git_commit="0" * 40,
        pretraining={"kind": "video", "data": list(data), "num_videos": num_videos, "updates": 600_000}
        if data else {"kind": "none"},
        parent={"run": f"runs/pretrain/{'+'.join(data)}/{method}/seed0", "checkpoint_sha256": "ef" * 32}
        if data else {},
        shard_sets=[SHARD_SET] if data else [],
        env_fingerprint={
            "suite": suite, "physics": "mujoco 3.3.0", "render_profile": "faithful",
            "image_size": IMAGE_SIZES.get((method, suite), 64),
        },
    )  # fmt: skip
    if random_policy:
        record = record.model_copy(update={"random_policy": {"returns": [10.0, 14.0], "successes": [0.0, 0.0]}})
    record = record.model_copy(update=changes)
    folder = folder or run_folder(root, record)
    write_record(folder, record)
    generator = np.random.default_rng([seed, *name.encode(), *method.encode(), int(1000 * level)])
    steps = np.linspace(0, last_step, points)[1:]
    curve = level * (1 - np.exp(-3 * steps / last_step)) + 0.05 * generator.standard_normal(points - 1)
    lines = []
    for step, score in zip(steps, np.clip(curve, 0, 1), strict=True):
        returns = [float(low + (high - low) * score)] * episodes
        successes = [float(index < round(episodes * score)) for index in range(episodes)]
        lines.append({"env_steps": int(step), "returns": returns, "successes": successes, "lengths": [500] * episodes})
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_pretraining(root: Path, method: str, *, data: Iterable[str] = ("ssv2",), status: str = "finished") -> Path:
    """Write a pre-training run with falling losses and two validations."""
    record = RunRecord(
        kind="pretrain", method=method, seed=0, preset="paper", config={"method": method}, status=status,
        pretraining={"kind": "video", "data": list(data), "num_videos": None, "updates": 400}, shard_sets=[SHARD_SET],
    )  # fmt: skip
    folder = run_folder(root, record)
    write_record(folder, record)
    lines: list[dict[str, Any]] = []
    for update in range(20, 420, 20):
        loss = 3000 + 2000 * float(np.exp(-update / 100))
        lines.append({"updates": update, "loss": loss + 5, "image_loss": loss, "kl_loss": 5 - update / 200})
    for update in (20, 400):
        ahead = np.arange(1, 11)
        model, copied = 0.03 / update**0.2 * np.sqrt(ahead), 0.02 * np.sqrt(ahead)
        errors = {"open_loop_mse": model.tolist(), "copy_last_mse": copied.tolist()}
        lines.append({"updates": update, "validation_image_loss": 4000.0, **errors})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


METAWORLD = ("lever_pull", "drawer_open", "door_lock", "button_press_topdown_wall", "reach", "dial_turn")
DMCR = ("cheetah_run", "hopper_stand", "walker_run")
CARLA = tuple(CARLA_RANGES)
SUITES = {"metaworld": (METAWORLD, 250_000), "dmcr": (DMCR, 1_000_000), "carla": (CARLA, 150_000)}
SSV2, RLBENCH, ALL_SETS = ("ssv2",), ("rlbench",), ("ssv2", "human36m", "youtube-driving")

VARIANTS: dict[str, tuple[str, float, dict[str, Any]]] = {
    "full": ("contextwm", 0.85, {"data": SSV2}),
    "scratch": ("contextwm", 0.55, {"variant": "init=none"}),
    "few": ("contextwm", 0.75, {"data": SSV2, "num_videos": 1500, "variant": "init=ssv2-1500"}),
    "more": ("contextwm", 0.8, {"data": SSV2, "num_videos": 15000, "variant": "init=ssv2-15000"}),
    "human": ("contextwm", 0.5, {"data": ("human36m",), "variant": "init=human36m"}),
    "driving": ("contextwm", 0.7, {"data": ("youtube-driving",), "variant": "init=youtube-driving"}),
    "robots": ("contextwm", 0.95, {"data": RLBENCH, "variant": "init=rlbench"}),
    "assembled": ("contextwm", 0.9, {"data": ALL_SETS, "variant": "init=ssv2+human36m+youtube-driving"}),
    "concat": ("contextwm", 0.7, {"data": SSV2, "overrides": {"context.fusion": "concat"}}),
    "one_head": ("contextwm", 0.6, {"data": SSV2, "overrides": {"reward.dual": False}}),
    "parts": ("contextwm", 0.65, {"data": SSV2, "overrides": {"init_parts": "encoder_decoder"}}),
    "no_bonus": ("contextwm", 0.3, {"data": SSV2, "overrides": {"intrinsic.beta": 0.0}}),
    "concat_no_bonus": (
        "contextwm", 0.2, {"data": SSV2, "overrides": {"context.fusion": "concat", "intrinsic.beta": 0.0}},
    ),
    "scratch_concat": ("contextwm", 0.4, {"overrides": {"context.fusion": "concat"}, "variant": "init=none"}),
    "other_model": (
        "contextwm", 0.35,
        {"pretraining": {"kind": "video", "data": ["ssv2"], "num_videos": None, "variant": "loss.kl_scale=0.1"}},
    ),
    "vanilla": ("apv", 0.65, {"data": SSV2}),
    "vanilla_scratch": ("apv", 0.6, {"variant": "init=none"}),
    "vanilla_two_heads": ("apv", 0.62, {"data": SSV2, "overrides": {"reward.dual": True}}),
    "vanilla_robots": ("apv", 0.7, {"data": RLBENCH, "variant": "init=rlbench"}),
    "dreamer": ("dreamerv2", 0.45, {}),
    "dreamer_residual": ("dreamerv2", 0.42, {"overrides": {"encoder.kind": "residual"}}),
    "prelar": ("prelar", 0.92, {"data": SSV2}),
    "prelar_robots": ("prelar", 0.97, {"data": RLBENCH, "variant": "init=rlbench"}),
    "prelar_no_al": ("prelar", 0.5, {"data": SSV2, "overrides": {"latent_action.posterior": "deterministic"}}),
    "drq": ("drqv2", 0.4, {}),
    "isodream": ("isodream", 0.5, {}),
}  # fmt: skip
"""Kind of run → method, level, what is special: every variant that a figure shows, and some that none shows."""


def write_paper_runs(root: Path, seeds: int = 8, kinds: Iterable[str] = VARIANTS) -> int:
    """Write runs of every kind on every task of the papers, `<suite>/<task>/<kind>/seed<N>`; returns their number."""
    number = 0
    for suite, (tasks, last_step) in SUITES.items():
        for task in tasks:
            for kind in kinds:
                method, level, options = VARIANTS[kind]
                changed = [f"{key}={value}" for key, value in sorted(options.get("overrides", {}).items())]
                variant = ",".join(part for part in (*changed, options.get("variant", "")) if part)
                for seed in range(seeds):
                    write_finetuning(
                        root, f"{suite}/{task}", method, seed, level=level, last_step=last_step,
                        folder=root / suite / task / kind / f"seed{seed}", **{**options, "variant": variant},
                    )  # fmt: skip
                    number += 1
    return number
