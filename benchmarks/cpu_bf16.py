"""bf16 against fp32 on a CPU: the same updates of ours, each pair in one process.

    python benchmarks/cpu_bf16.py                       ten pairs of every case, some ten minutes of a quiet core
    python benchmarks/cpu_bf16.py --quick               two pairs of the smaller cases, under 50 s
    python benchmarks/cpu_bf16.py --keep FILE           writes the last line to this file too

One CPU thread, CPU seconds, alternating; a ratio is the median over pairs of fp32's time over bf16's, kept with its
range, the load and the kinds of bf16 instruction. Both trainers start from the same weights and draws. How far
bf16 is from fp32 is told as relative differences of the loss: of the first update, and of the mean over all of them
(later updates start from weights that rounding has moved apart). The last line is JSON, one key a case.

A processor without such instructions (AVX512-BF16 or AMX, in /proc/cpuinfo) computes bf16 by way of fp32: the script
measures there too, and says so.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baseline_step import PUBLISHED, windows
from finetune_step import SMALL, random_batch
from paired_timing import keep_line, machine, paired_cpu_seconds
from train_step import TINY, frames, training

from ipv_bench.cpu_bf16 import bf16_instructions
from models.finetune import build_agent
from models.pretrain import build_training

ACTION_DIM = 6
Update = Callable[[], Mapping[str, float]]
Case = Callable[[str], tuple[Update, str]]
"""Precision → its update, and the metric that is its loss."""


def pretraining(sizes: Mapping[str, Any], batch: int) -> Case:
    """A pre-training step at the published sizes, changed by `sizes`, on `batch` segments of 25 frames."""

    def case(precision: str) -> tuple[Update, str]:
        ours = training(dict(sizes), **{"training.precision": precision})
        image = frames(batch, ours.device)
        return lambda: ours.step(image), "loss"

    return case


def tiny_pretraining(precision: str) -> tuple[Update, str]:
    """A pre-training step of the preset `tiny`, as it is."""
    ours = build_training("tiny", {**one_thread(precision), "method": "contextwm"})
    image = frames(8, ours.device)[:, :8]
    return lambda: ours.step(image), "loss"


def small_finetuning(precision: str) -> tuple[Update, str]:
    """A fine-tuning update of ContextWM at the small size of the published timings, 4×20."""
    agent = build_agent("paper/metaworld", {**SMALL, **one_thread(precision)}, (64, 64, 3), 4)
    batch = random_batch()
    return lambda: agent.update(batch), "model_loss"


def tiny_finetuning(method: str) -> Case:
    """A fine-tuning update of the preset `tiny`, as it is: 8×8."""

    def case(precision: str) -> tuple[Update, str]:
        agent = build_agent("tiny", {**one_thread(precision), "method": method}, (64, 64, 3), ACTION_DIM)
        batch = tiny_batch()
        return lambda: agent.update(batch), "model_loss"

    return case


def drqv2(sizes: Mapping[str, Any]) -> Case:
    """DrQ-v2's update at the size of `tiny`, changed by `sizes`."""

    def case(precision: str) -> tuple[Update, str]:
        agent: Any = build_agent("tiny", {**one_thread(precision), "method": "drqv2", **sizes}, None, ACTION_DIM)
        batch = windows(agent)
        return lambda: agent.update(batch), "critic_loss"

    return case


def one_thread(precision: str) -> dict[str, Any]:
    """What every trainer here has in common."""
    return {"training.threads": 1, "training.device": "cpu", "training.precision": precision}


def tiny_batch() -> dict[str, np.ndarray]:
    """A replay batch of 8 windows of 8 random frames."""
    generator, shape = np.random.default_rng(0), (8, 8)
    return {
        "image": generator.integers(0, 256, (*shape, 64, 64, 3), np.uint8),
        "action": generator.uniform(-1, 1, (*shape, ACTION_DIM)).astype(np.float32),
        "reward": generator.random(shape, np.float32),
        "is_first": np.arange(8)[None].repeat(8, 0) == 0,
        "is_terminal": np.zeros(shape, bool),
    }


QUICK: dict[str, Case] = {
    "pretrain_full_2x25": pretraining({}, 2),
    "pretrain_depth8_16x25": pretraining(TINY, 16),
    "pretrain_tiny": tiny_pretraining,
    "finetune_small_4x20": small_finetuning,
    "finetune_tiny_contextwm": tiny_finetuning("contextwm"),
    "finetune_tiny_dreamerv2": tiny_finetuning("dreamerv2"),
    "finetune_tiny_drqv2": drqv2({}),
}
WHOLE: dict[str, Case] = {
    **QUICK,
    "pretrain_full_16x25": pretraining({}, 16),
    "pretrain_full_16x25_vanilla": pretraining({"method": "apv"}, 16),
    "finetune_published_drqv2": drqv2(PUBLISHED),
}


def measure(case: Case, pairs: int) -> dict[str, Any]:
    """fp32's time over bf16's, and how far the losses are apart."""
    losses: dict[str, list[float]] = {"fp32": [], "bf16": []}

    def told(precision: str) -> Callable[[], None]:
        update, name = case(precision)

        def once() -> None:
            losses[precision].append(update()[name])

        return once

    found = paired_cpu_seconds(told("bf16"), told("fp32"), pairs)
    firsts = [values[0] for values in losses.values()]
    means = [statistics.mean(values) for values in losses.values()]
    apart = [float(f"{abs(bf16 / fp32 - 1):.1e}") for fp32, bf16 in (firsts, means)]
    return {**found, "loss_difference": apart}


def main() -> None:
    """Measure, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=WHOLE, help="some of the cases")
    parser.add_argument("--keep", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = QUICK if options.quick else WHOLE
    details: dict[str, Any] = {}
    instructions = bf16_instructions()
    print(f"bf16 instructions: {', '.join(instructions) or 'none: computed by way of fp32'}")
    for name in options.only or cases:
        details[name] = measure(WHOLE[name], 2 if options.quick else 10)
        row = details[name]
        print(f"{name}: fp32 {row['plain_s']} s, bf16 {row['ours_s']} s, {row['ratio']} × {row['ratio_range']}; "
              f"loss apart {row['loss_difference']}", flush=True)  # fmt: skip
    result = {"benchmark": "cpu_bf16", **{name: row["ratio"] for name, row in details.items()}}
    keep_line({**result, "details": details, "machine": {**machine(), "bf16": instructions}}, options.keep)


if __name__ == "__main__":
    main()
