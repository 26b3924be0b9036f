"""Updates of Figure 9's baselines against what they are measured by.

    python benchmarks/baseline_step.py           more repetitions; also DrQ-v2 at the published size
    python benchmarks/baseline_step.py --quick   under a minute on a quiet core

One CPU thread, CPU seconds, alternating; each ratio is the median over pairs, kept with its range over them and with
the machine's load. The last line is JSON:

- `drqv2_vs_plain`: time of the plain reading of DrQ-v2's update (`drqv2_plain_reading.py`: frames stacked beforehand
  and not timed, `grid_sample`, whole backward passes, torch's default Adam) over ours, at the size of `tiny`.
  Ours cuts its stacks out of the replay's windows in the time that is measured. Each side has its own process: ours
  keeps the memory that it frees, and what is left where the plain reading is given that too stands in `details`.
- `isodream_vs_dreamerv2`: time of Iso-Dream's update over DreamerV2's, at Iso-Dream's released sizes for both (depth
  32, GRU of 200, latents of 50, heads of 400), four windows of 20 steps. Without `--quick` also at the sizes of `tiny`,
  where the small matrices of three decoders and two branches cost what a call costs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drqv2_plain_reading import PlainDrQv2, plain_transitions
from paired_processes import Make, leave_memory_alone, paired_processes
from paired_timing import machine, paired_cpu_seconds

from models.finetune import build_agent
from models.methods.drqv2.agent import DrQv2Agent

ACTION_DIM = 6
RELEASED_SIZES = {
    "encoder.cnn_depth": 32, "decoder.cnn_depth": 32, "rssm.deter": 200, "rssm.hidden": 200, "rssm.stoch": 10,
    "rssm.discrete": 5, "reward.layers": 2,
}  # fmt: skip
TINY_SIZES = {"encoder.kind": "plain", "decoder.kind": "plain", "rssm.stoch": 8, "rssm.discrete": 4}


def drqv2_agent(overrides: Mapping[str, Any]) -> DrQv2Agent:
    """DrQ-v2 at the size of the preset `tiny`, changed by `overrides`."""
    changes = {"method": "drqv2", "training.threads": 1, "training.device": "cpu", **overrides}
    agent = build_agent("tiny", changes, None, ACTION_DIM)
    assert isinstance(agent, DrQv2Agent)
    return agent


def our_drqv2(overrides: Mapping[str, Any]) -> Callable[[], Any]:
    """Our update."""
    agent = drqv2_agent(overrides)
    batch = windows(agent)
    return lambda: agent.update(batch)


def plain_drqv2(overrides: Mapping[str, Any], *, same_memory: bool) -> Callable[[], Any]:
    """The plain reading's update, with the C library's memory as it is, or as ours has it."""
    if not same_memory:
        leave_memory_alone()
    agent = drqv2_agent(overrides)
    own, plain = agent.config.drqv2, PlainDrQv2(agent.networks)
    seen = plain_transitions(windows(agent), own.frame_stack, own.n_step, own.discount, torch.float32)
    generator = torch.Generator().manual_seed(0)
    return lambda: plain.update(seen, agent.networks.draw(len(seen.obs), generator), 0.5)


def drqv2(quick: bool, overrides: Mapping[str, Any] | None = None, pairs: int = 11) -> dict[str, Any]:
    """The plain reading's time over ours, each in a process of its own."""
    plain = partial(plain_drqv2, overrides or {})
    sides: dict[str, Make] = {
        "ours": partial(our_drqv2, overrides or {}),
        "plain": partial(plain, same_memory=False),
        "same_memory": partial(plain, same_memory=True),
    }
    found = paired_processes(sides, 5 if quick else pairs)
    return {**found, "ratio": found["plain_ratio"]}


def isodream(quick: bool, preset: str = "paper/dmc", sizes: Mapping[str, Any] = RELEASED_SIZES) -> dict[str, Any]:
    """Iso-Dream's update and DreamerV2's at equal sizes: our time over the other's.

    Args:
        quick: fewer pairs.
        preset: of both.
        sizes: what is set for DreamerV2, so that its parts have Iso-Dream's sizes.
    """
    batch_size, length = (4, 20) if preset == "paper/dmc" else (8, 8)
    same = {
        "training.threads": 1, "training.device": "cpu", "replay.batch_size": batch_size, "replay.length": length,
    }  # fmt: skip
    steps = {
        "isolation.action_steps": length,
        "isolation.free_steps": 4 * length // 5,
    }
    ours = build_agent(preset, {**same, **steps, "method": "isodream"}, None, ACTION_DIM)
    other = build_agent(preset, {**same, **sizes, "method": "dreamerv2"}, None, ACTION_DIM)
    generator = np.random.default_rng(0)
    shape = (batch_size, length)
    batch = {
        "image": generator.integers(0, 256, (*shape, 64, 64, 3), np.uint8),
        "action": generator.uniform(-1, 1, (*shape, ACTION_DIM)).astype(np.float32),
        "reward": generator.random(shape, np.float32),
        "is_first": np.arange(length)[None].repeat(batch_size, 0) == 0,
    }
    found = paired_cpu_seconds(lambda: ours.update(batch), lambda: other.update(batch), 5 if quick else 11)
    low, high = found["ratio_range"]
    inverse = {"ratio": round(1 / found["ratio"], 3), "ratio_range": [round(1 / high, 3), round(1 / low, 3)]}
    return {**found, **inverse}


def windows(agent: DrQv2Agent) -> dict[str, np.ndarray]:
    """A batch as the replay gives it, of random pictures."""
    config, generator = agent.config, np.random.default_rng(0)
    own, size = config.drqv2, config.image.size
    batch, length = config.replay.batch_size, own.frame_stack + own.n_step  # type: ignore[attr-defined]
    return {
        "image": generator.integers(0, 256, (batch, length, size, size, 3), np.uint8),
        "action": generator.uniform(-1, 1, (batch, length, ACTION_DIM)).astype(np.float32),
        "reward": generator.random((batch, length), np.float32),
        "is_first": np.zeros((batch, length), bool),
        "is_terminal": np.zeros((batch, length), bool),
    }


PUBLISHED = {
    "image.size": 84, "env.image_size": 84, "drqv2.channels": 32, "drqv2.strides": [2, 1, 1, 1],
    "drqv2.units": 1024, "replay.batch_size": 256,
}  # fmt: skip
MEASURED: dict[str, Callable[[bool], dict[str, Any]]] = {"drqv2_vs_plain": drqv2, "isodream_vs_dreamerv2": isodream}
"""Key of the result → how it is measured, with the ratio that the key's line above says."""


def main() -> None:
    """Measure, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {key: measure(options.quick) for key, measure in MEASURED.items()}
    if not options.quick:
        found["drqv2_vs_plain_published_size"] = drqv2(False, PUBLISHED, pairs=3)
        found["isodream_vs_dreamerv2_tiny"] = isodream(False, "tiny", TINY_SIZES)
    for key, times in found.items():
        print(f"{key}: ours {times['ours_s']:.4f} s, other {times['plain_s']:.4f} s an update, ratio {times['ratio']}")
    result = {"benchmark": "baseline_step", **{key: times["ratio"] for key, times in found.items()}}
    text = json.dumps({**result, "details": found, "machine": machine()})
    if options.keep:
        options.keep.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
