"""What the context path costs: ContextWM's pre-training step beside the vanilla model's (APV), as the paper's C.6 asks.

    python benchmarks/context_cost.py           more pairs, and the step at full size
    python benchmarks/context_cost.py --quick   tiny size alone; under 40 s on a quiet core

Time: CPU seconds of one thread, alternating, the ratio is the median over pairs. Memory: bytes that a step keeps for
its backward pass (each storage once) and bytes of parameters, gradients and Adam's moments: they follow from the model
and are the same on every machine. Parameters are counted on models of full size that are built. Where there is CUDA,
the full-size 16x25 step is timed there too, in fp16 as published, with its peak memory and the hours that 600,000 of
them take. The last line is JSON: `time_ratio`, `memory_ratio` (ContextWM / vanilla), `parameters`.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from paired_timing import machine, paired_cpu_seconds, show
from torch import Tensor, nn

from models.finetune import build_agent
from models.pretrain import build_training
from models.pretraining.video_training import VideoTraining

LENGTH = 25
UPDATES = 600_000
METHODS = ("contextwm", "apv")
PLAIN = {"training.threads": 1, "training.device": "cpu", "training.precision": "fp32", "training.compile": False}
TINY = {
    "encoder.cnn_depth": 8, "decoder.cnn_depth": 8,
    "rssm.deter": 32, "rssm.hidden": 32, "rssm.stoch": 4, "rssm.discrete": 4,
}  # fmt: skip
SUITES = {"metaworld": 4, "dmcr": 6}
"""Suite → components of an action, for the agents' parameters."""


def training(method: str, sizes: dict[str, Any], **overrides: Any) -> VideoTraining:
    """A step as `ipv-bench pretrain --preset paper` makes it."""
    return build_training("paper", {**PLAIN, **sizes, **overrides, "method": method})


def frames(batch: int, device: torch.device) -> Tensor:
    """Random images (batch, LENGTH, 64, 64, 3)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (batch, LENGTH, 64, 64, 3), dtype=torch.uint8, generator=generator).to(device)


def kept_bytes(made: VideoTraining, image: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once, without the parameters."""
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in made.model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = made.model.loss(image, torch.Generator(image.device).manual_seed(1))
    total = sum(kept.values())
    del loss
    return total


def parameters(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def trained(model: nn.Module) -> int:
    """Number of parameters without the slow critic, which is a copy."""
    return sum(parameter.numel() for name, parameter in model.named_parameters() if "slow" not in name)


def compare(sizes: dict[str, Any], batch: int, pairs: int) -> dict[str, Any]:
    """Time and memory of both methods' steps at one size."""
    made = {method: training(method, sizes) for method in METHODS}
    image = frames(batch, torch.device("cpu"))
    timed = paired_cpu_seconds(lambda: made["apv"].step(image), lambda: made["contextwm"].step(image), pairs)
    state = {method: 16 * parameters(one.model) for method, one in made.items()}  # value, gradient, two moments
    memory = {method: kept_bytes(one, image) + state[method] for method, one in made.items()}
    return {
        "apv_s": timed["ours_s"], "contextwm_s": timed["plain_s"], "time_ratio": timed["ratio"], "pairs": pairs,
        "apv_mb": round(memory["apv"] / 1e6, 1), "contextwm_mb": round(memory["contextwm"] / 1e6, 1),
        "memory_ratio": round(memory["contextwm"] / memory["apv"], 3),
    }  # fmt: skip


def parameter_counts() -> dict[str, int]:
    """Parameters at full size: video models, and agents of each suite."""
    found = {f"{method}_pretraining": parameters(training(method, {}).model) for method in METHODS}
    for suite, actions in SUITES.items():
        for method in METHODS:
            agent = build_agent(f"paper/{suite}", {**PLAIN, "method": method}, None, actions)
            found[f"{method}_agent_{suite}"] = trained(agent.networks)
    return found


def gpu(method: str, repeats: int) -> dict[str, float]:
    """Milliseconds and peak memory of a full-size 16x25 step in fp16 on the GPU, and hours of 600,000 of them."""
    made = training(method, {}, **{"training.device": "cuda", "training.precision": "fp16"})
    image = frames(16, made.device)
    for _ in range(5):
        made.step(image)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = time.perf_counter()
    for _ in range(repeats):
        made.step(image)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - before) / repeats
    peak = torch.cuda.max_memory_allocated() / 1e9
    return {"ms": round(1000 * seconds, 2), "peak_gb": round(peak, 2), "hours_600k": round(seconds * UPDATES / 3600, 1)}


def main() -> None:
    """Measure, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    counts = parameter_counts()
    for name, number in counts.items():
        print(f"parameters, {name.replace('_', ' ')}: {number:,}")
    details: dict[str, Any] = {"tiny_8x25": compare(TINY, 8, 3 if options.quick else 9)}
    if not options.quick:
        details["full_2x25"] = compare({}, 2, 3)
    for name, one in details.items():
        show(f"{name} (ours: vanilla, plain: ContextWM)", _as_pair(one))
        print(f"{name}: {one['apv_mb']} MB vanilla, {one['contextwm_mb']} MB ContextWM, ratio {one['memory_ratio']}")
    tiny = details["tiny_8x25"]
    result = {"time_ratio": tiny["time_ratio"], "memory_ratio": tiny["memory_ratio"], "parameters": counts}
    try:
        if torch.cuda.is_available():
            details["gpu_full_16x25"] = {method: gpu(method, 10 if options.quick else 50) for method in METHODS}
            print(f"on the GPU, 16x25: {details['gpu_full_16x25']}")
    finally:  # what was measured is told, whatever the GPU does
        print(json.dumps({"benchmark": "context_cost", **result, "details": details, "machine": machine()}))


def _as_pair(one: dict[str, Any]) -> dict[str, Any]:
    return {"ours_s": one["apv_s"], "plain_s": one["contextwm_s"], "ratio": one["time_ratio"]}


if __name__ == "__main__":
    main()
