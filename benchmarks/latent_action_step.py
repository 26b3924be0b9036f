"""A pre-training step with latent actions against one without, in one process.

    python benchmarks/latent_action_step.py           more repetitions
    python benchmarks/latent_action_step.py --quick   under a minute on a quiet core

PreLAR's step (image encoder, RSSM and decoder, and a second image encoder on pairs of frames) and the vanilla model's
(APV) at the size and settings of the preset `tiny`, on random images, optimiser included, data loading not. One CPU
thread, CPU seconds, alternating; the ratio is the median over pairs. The last line is JSON: `prelar_vs_vanilla` is
PreLAR's time over the vanilla model's.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from paired_timing import machine, paired_cpu_seconds

from models.pretrain import build_training
from models.pretraining.video_training import VideoTraining

BATCH, LENGTH = 8, 12
"""Of the preset `tiny`."""
STEPS = 3
"""Updates of one measurement."""


def training(method: str) -> VideoTraining:
    """The method's pre-training at the tiny size, on one CPU thread."""
    return build_training("tiny", {"method": method, "training.threads": 1, "training.device": "cpu"})


def steps(one: VideoTraining, images: torch.Tensor) -> None:
    """A few updates."""
    for _ in range(STEPS):
        one.step(images)


def main() -> None:
    """Measure, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (BATCH, LENGTH, 64, 64, 3), dtype=torch.uint8, generator=generator)
    latent, vanilla = training("prelar"), training("apv")
    found: dict[str, Any] = paired_cpu_seconds(
        lambda: steps(vanilla, images), lambda: steps(latent, images), 5 if options.quick else 15
    )
    details = {
        "vanilla_step_s": round(found["ours_s"] / STEPS, 4),
        "prelar_step_s": round(found["plain_s"] / STEPS, 4),
        "pairs": found["pairs"],
    }
    print(f"vanilla {details['vanilla_step_s']} s, PreLAR {details['prelar_step_s']} s a step, ratio {found['ratio']}")
    result = {"benchmark": "latent_action_step", "prelar_vs_vanilla": found["ratio"]}
    print(json.dumps({**result, "details": details, "machine": machine()}))


if __name__ == "__main__":
    main()
