"""A pre-training step with latent actions against one without, in one process.

    python benchmarks/latent_action_step.py           more repetitions
    python benchmarks/latent_action_step.py --quick   under a minute on a quiet core

PreLAR's step (image encoder, RSSM and decoder, and a second image encoder on pairs of frames) and the vanilla model's
(APV) at the size and settings of the preset `tiny`, on random images, optimiser included, data loading not. One CPU
thread, CPU seconds, alternating; the ratio is the median over pairs. The last line is JSON: `prelar_vs_vanilla` is
PreLAR's time over the vanilla model's.

`uwm_peak_mb` is the memory that a step of UWM takes at its peak, over that of the naive form, which looks at both
frames of each pair and keeps what a gradient through the frozen network would need: peak resident memory of a process
that makes one step, minus that before the step, at the size of `small` (features of 6 layers), 8 segments.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
from typing import Any

import torch
import torch.nn.functional as F
from paired_timing import machine, paired_cpu_seconds
from torch import Tensor

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


def naive_loss(model: Any, image: Tensor, draws: Any) -> Tensor:
    """UWM's loss with both frames of each pair sent through the network, inside the graph."""
    frames = image.movedim(-1, -3).float() / 255
    before, after = (
        model.places(model.features.encode(part.flatten(0, 1))) for part in (frames[:, :-1], frames[:, 1:])
    )
    quantized = model.quantizer(model.extractor(before, after), draws.starts)
    error = F.mse_loss(model.dynamics(before, quantized.value), after)
    loss: Tensor = error / F.mse_loss(before, after).detach() + quantized.loss
    return loss


def peak_mb(naive: bool) -> float:
    """Resident memory that one step of UWM adds at its peak, in MB; in a process of its own."""
    torch.set_num_threads(1)
    one = build_training("small", {"method": "uwm", "training.threads": 1, "training.device": "cpu"})
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (BATCH, LENGTH, 64, 64, 3), dtype=torch.uint8, generator=generator)
    draws = one.draw(BATCH, LENGTH, 0)
    before = _resident_mb()
    if naive:
        one.model.features.requires_grad_(True)
        naive_loss(one.model, image, draws).backward()
    else:
        one.model(image, draws)[0].backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before


def _resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def apart(naive: bool) -> float:
    """`peak_mb` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_mb, (naive,))


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
    ours, naive = apart(False), apart(True)
    details |= {"uwm_step_mb": round(ours, 1), "uwm_naive_step_mb": round(naive, 1)}
    print(f"UWM {ours:.0f} MB a step at its peak, the naive form {naive:.0f} MB")
    result = {
        "benchmark": "latent_action_step", "prelar_vs_vanilla": found["ratio"], "uwm_peak_mb": round(ours / naive, 3),
    }  # fmt: skip
    print(json.dumps({**result, "details": details, "machine": machine()}))


if __name__ == "__main__":
    main()
