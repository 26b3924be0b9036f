"""A pre-training step: ours against the plain computation, in turn, each in a process of its own.

    python benchmarks/train_step.py           all measurements; about half an hour of a quiet core
    python benchmarks/train_step.py --quick   fewer repetitions, no peak memory; under 50 s on a quiet core
    python benchmarks/train_step.py --data data/shards/ssv2   also the rate of the input pipeline on a shard set

"Plain" is `plain_reading.py`: the same model in the published order of operations, eager, with torch's default Adam; on
the CPU with channels last, in which it is as fast as the published code.
Equal losses are asserted first, with dropout 0 and forced draws; time is measured with the published training settings
(dropout 0.1, mask 0.75, sampled latents), on random images, optimiser included, data loading not.
One thread, CPU seconds, alternating; the ratio is the median over pairs. The last line is JSON: `cpu_full_2x25`,
`cpu_tiny_16x25`; without --quick `cpu_full_16x25` (the batch of the paper), `cpu_full_16x25_vanilla` and
`peak_gb_full_16x25` too. It is printed whatever happens, with what was measured until then. On a GPU: `gpu_step.py`.
Ours keeps the memory that it frees (`ipv_bench/allocator.py`), which the published code does not ask for. What is
left when the plain computation is given that too stands beside each key, as `…_same_memory`.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from paired_processes import leave_memory_alone, paired_processes
from paired_timing import machine
from plain_reading import PlainOptimizer, video_loss
from torch import Tensor

from ipv_bench.segments import open_segments
from models.nets.rssm import Latents
from models.pretrain import build_training
from models.pretraining.video_training import VideoTraining
from models.world_models.context import ContextDraws
from models.world_models.video import VideoDraws, VideoWorldModel

LENGTH = 25
TINY = {
    "encoder.cnn_depth": 8, "decoder.cnn_depth": 8,
    "rssm.deter": 32, "rssm.hidden": 32, "rssm.stoch": 4, "rssm.discrete": 4,
}  # fmt: skip


def frames(batch: int, device: torch.device) -> Tensor:
    """Random images (batch, LENGTH, 64, 64, 3)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (batch, LENGTH, 64, 64, 3), dtype=torch.uint8, generator=generator).to(device)


def starts(batch: int, device: torch.device) -> Tensor:
    """`is_first` with starts at the first frames."""
    return F.pad(torch.zeros(batch, LENGTH - 1, device=device), (1, 0), value=1.0)


def training(sizes: dict[str, Any], **overrides: Any) -> VideoTraining:
    """Our step, as `ipv-bench pretrain --preset paper` makes it, but eager in float32 on one CPU thread."""
    plain = {
        "training.threads": 1, "training.device": "cpu", "training.precision": "fp32", "training.compile": False,
        "training.cuda_graph": False,
    }  # fmt: skip
    return build_training("paper", {**plain, **sizes, **overrides})


def assert_equal_losses(model: VideoWorldModel, image: Tensor) -> None:
    """Ours and plain: one loss, with dropout 0 and forced draws, in float64 (batch statistics amplify rounding)."""
    model = copy.deepcopy(model).double()
    generator = torch.Generator(image.device).manual_seed(1)
    drawn, context = model.draw(image.shape[0], LENGTH, generator), None
    assert drawn.latents.noise is not None
    latents = F.one_hot(drawn.latents.noise.argmax(-1), drawn.latents.noise.shape[-1]).double()
    if drawn.context is not None:
        fusion = {k: v._replace(drop_weights=None, drop_output=None) for k, v in drawn.context.fusion.items()}
        context = ContextDraws(drawn.context.frame, None, fusion)
    draws = VideoDraws(Latents(forced=latents), context)
    with torch.no_grad():
        ours = model(image, draws)[0]
        plain = video_loss(model, image, starts(image.shape[0], image.device).double(), draws, 0.0)
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=0)
    print(f"equal losses: ours {float(ours):.4f}, plain {float(plain):.4f}")


def plain_step(model: VideoWorldModel, image: Tensor, dtype: torch.dtype | None = None) -> Callable[[], None]:
    """The baseline; `dtype` float16 as published on GPUs, with a gradient scaler (`gpu_step.py`)."""
    # Channels last on the CPU, where the published order of operations is fastest so; on a GPU as published.
    layout = torch.channels_last if image.device.type == "cpu" else torch.contiguous_format
    model = copy.deepcopy(model).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = PlainOptimizer(list(model.parameters()), model.config.optimizer)
    is_first, dropout = starts(image.shape[0], image.device), model.config.context.dropout
    scaler = torch.amp.GradScaler(image.device.type, enabled=dtype is torch.float16)

    def step() -> None:
        with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
            loss = video_loss(model, image, is_first, None, dropout)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer.adam)
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, optimizer.clip)
        scaler.step(optimizer.adam)
        scaler.update()
        optimizer.adam.zero_grad()

    return step


def our_side(sizes: dict[str, Any], batch: int) -> Callable[[], Any]:
    """Our step; equal losses are asserted first."""
    torch.manual_seed(0)
    ours = training(sizes)
    image = frames(batch, ours.device)
    assert_equal_losses(ours.model, image[:1])
    return lambda: ours.step(image)


def plain_side(sizes: dict[str, Any], batch: int, *, same_memory: bool) -> Callable[[], Any]:
    """The baseline on the same weights and images, with the C library's memory as it is, or as ours has it."""
    torch.manual_seed(0)
    if not same_memory:
        leave_memory_alone()
    ours = training(sizes)
    return plain_step(ours.model, frames(batch, ours.device))


def cpu(sizes: dict[str, Any], batch: int, pairs: int) -> dict[str, Any]:
    """CPU seconds of both steps at one size."""
    plain = partial(plain_side, sizes, batch)
    sides = {
        "ours": partial(our_side, sizes, batch),
        "plain": partial(plain, same_memory=False),
        "same_memory": partial(plain, same_memory=True),
    }
    return paired_processes(sides, pairs)


def peak_memory_gb() -> float:
    """Peak memory (GB) of a process that makes full-size 16x25 steps on the CPU."""
    command = [sys.executable, __file__, "--full-steps"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def full_steps() -> None:
    """Make three steps, print the peak resident memory in GB: the first one alone needs less."""
    ours = training({})
    for _ in range(3):
        ours.step(frames(16, ours.device))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def segments_per_second(data: str, seconds: float) -> float:
    """Decoded segments of LENGTH frames per second, one thread."""
    segments, index, before = open_segments([data], LENGTH, 0), 0, time.perf_counter()
    while time.perf_counter() - before < seconds:
        segments[index]
        index += 1
    return index / (time.perf_counter() - before)


def main() -> None:
    """Measure, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pairs", type=int, default=10, help="of each size, without --quick")
    parser.add_argument("--only", nargs="+", help="some of the sizes: full_2x25, tiny_16x25, full_16x25, …_vanilla")
    parser.add_argument("--data", help="shard set for the rate of the input pipeline")
    parser.add_argument("--full-steps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.full_steps:
        full_steps()
        return
    sizes: dict[str, tuple[dict[str, Any], int]] = {"full_2x25": ({}, 2), "tiny_16x25": (TINY, 16)}
    if not options.quick:
        sizes |= {"full_16x25": ({}, 16), "full_16x25_vanilla": ({"method": "apv"}, 16)}
    if options.only:
        sizes = {name: sizes[name] for name in options.only}
    result: dict[str, Any] = {}
    details: dict[str, Any] = {}
    try:
        measure(sizes, options, result, details)
    finally:
        print(json.dumps({"benchmark": "train_step", **result, "details": details, "machine": machine()}))


def measure(
    sizes: dict[str, tuple[dict[str, Any], int]],
    options: argparse.Namespace,
    result: dict[str, Any],
    details: dict[str, Any],
) -> None:
    """All that the options ask for; `result` and `details` are filled as it comes."""
    for name, (changes, batch) in sizes.items():
        details[name] = cpu(changes, batch, 2 if options.quick else options.pairs)
        found = details[name]
        result |= {f"cpu_{name}": found["plain_ratio"], f"cpu_{name}_same_memory": found["same_memory_ratio"]}
        print(f"{name}: ours {found['ours_s']:.3f} s, plain {found['plain_s']:.3f} s, ratio {found['plain_ratio']:.2f};"
              f" with our memory {found['same_memory_ratio']:.2f}", flush=True)  # fmt: skip
    if not (options.quick or options.only):
        result["peak_gb_full_16x25"] = round(peak_memory_gb(), 2)
        print(f"peak memory of a full-size 16x25 step: {result['peak_gb_full_16x25']} GB")
    if options.data:
        result["segments_per_s"] = round(segments_per_second(str(Path(options.data)), 3.0), 1)


if __name__ == "__main__":
    main()
