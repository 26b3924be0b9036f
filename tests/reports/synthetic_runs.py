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
    random_policy: bool = True,
    **changes: Any,
) -> Path:
    """Write a finished run `suite/task` whose scores rise to about `level` (success rate, or return / 1000)."""
    suite, _, name = task.partition("/")
    changed = overrides or {}
    config = {
        "method": method,
        "context": {"fusion": changed.get("context.fusion", FUSION.get(method, "none"))},
        "reward": {"dual": changed.get("reward.dual", True)},
        "init_parts": changed.get("init_parts", "all"),
        "env": {"action_repeat": 1 if suite == "metaworld" else 2},
    }
    record = RunRecord(
        kind="finetune", method=method, variant=variant, seed=seed, suite=suite, task=name, preset="paper",
        overrides=changed, config=config, status="finished", git_commit="0" * 40,
        pretraining={"kind": "video", "data": list(data), "num_videos": num_videos, "updates": 600_000}
        if data else {"kind": "none"},
        parent={"run": f"runs/pretrain/{'+'.join(data)}/{method}/seed0", "checkpoint_sha256": "ef" * 32}
        if data else {},
        shard_sets=[SHARD_SET] if data else [],
        env_fingerprint={"suite": suite, "physics": "mujoco 3.3.0", "render_profile": "faithful"},
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
        returns = [float(1000 * score)] * 10
        successes = [float(index < round(10 * score)) for index in range(10)]
        lines.append({"env_steps": int(step), "returns": returns, "successes": successes, "lengths": [500] * 10})
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
SSV2, ALL_SETS = ("ssv2",), ("ssv2", "human36m", "youtube-driving")


def write_paper_runs(root: Path, seeds: int = 8) -> int:
    """Write every run that the paper's figures ask for, with made-up scores; returns their number."""
    kinds: list[tuple[str, float, dict[str, Any]]] = [
        ("contextwm", 0.85, {"data": SSV2}),
        ("apv", 0.65, {"data": SSV2}),
        ("dreamerv2", 0.45, {}),
    ]
    only_metaworld: list[tuple[str, float, dict[str, Any]]] = [
        ("contextwm", 0.6, {"data": SSV2, "num_videos": 1500}),
        ("contextwm", 0.75, {"data": SSV2, "num_videos": 15000}),
        ("contextwm", 0.7, {"data": ("human36m",)}),
        ("contextwm", 0.65, {"data": ("youtube-driving",)}),
        ("contextwm", 0.9, {"data": ALL_SETS}),
        ("contextwm", 0.7, {"data": SSV2, "overrides": {"context.fusion": "concat"}}),
        ("contextwm", 0.55, {"data": SSV2, "overrides": {"reward.dual": False}}),
        ("contextwm", 0.6, {"data": SSV2, "overrides": {"init_parts": "encoder_decoder"}}),
    ]
    number = 0
    for tasks, last_step, chosen in (
        ([f"metaworld/{task}" for task in METAWORLD], 250_000, kinds + only_metaworld),
        ([f"dmcr/{task}" for task in DMCR], 1_000_000, kinds),
    ):
        for task in tasks:
            for index, (method, level, options) in enumerate(chosen):
                overrides = options.get("overrides", {})
                variant = ",".join(f"{key}={value}" for key, value in overrides.items())
                for seed in range(seeds):
                    folder = root / task / f"{method}-{index}" / f"seed{seed}"
                    write_finetuning(
                        root,
                        task,
                        method,
                        seed,
                        level=level,
                        last_step=last_step,
                        folder=folder,
                        variant=variant,
                        **options,
                    )
                    number += 1
    return number
