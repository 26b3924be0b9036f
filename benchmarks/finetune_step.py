"""A fine-tuning update (world model, actor and critic): ours against the plain computation, in turn.

    python benchmarks/finetune_step.py           all measurements
    python benchmarks/finetune_step.py --quick   fewer repetitions, under 50 s on a quiet core

"Plain" is `plain_reading.py`: the same model in the published order of operations, eager, with torch's default Adam,
and channels last, in which it is as fast as the published code.
Equal losses are asserted first, with dropout 0 and forced draws; time is measured with the published training settings
(dropout 0.1, mask 0.75, sampled latents; ours also erases), on random data, optimisers included. CPU seconds of one
thread, alternating; the ratio is the median over pairs. The bonus is measured at Meta-world size: extra memory and time
of one call (Linux: the kernel's high-water mark). The last line is JSON with `cpu_small_4x20` and `bonus_mb`. Each side
has a process of its own, and `cpu_small_4x20_same_memory` is explained in train_step.py.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from paired_processes import Make, leave_memory_alone, paired_processes
from paired_timing import machine, paired_cpu_seconds
from plain_reading import PlainOptimizer, behavior_losses, stacked_loss
from torch import Tensor

from models.agents.agent import Agent
from models.agents.behavior import BehaviorDraws
from models.finetune import build_agent
from models.nets.rssm import Latents, State
from models.training.entry_check import check_update_batch
from models.world_models.context import ContextDraws
from models.world_models.intrinsic_bonus import IntrinsicBonus, IntrinsicConfig
from models.world_models.stacked import StackedDraws

BATCH, LENGTH, ACTIONS = 4, 20, 4
SMALL = {
    "method": "contextwm", "training.threads": 1, "training.device": "cpu", "training.precision": "fp32",
    "training.compile": False, "encoder.cnn_depth": 8, "decoder.cnn_depth": 8, "rssm.deter": 64, "rssm.hidden": 64,
    "rssm.stoch": 8, "rssm.discrete": 8, "reward.units": 64, "behavior.units": 64, "behavior.horizon": 15,
    "replay.length": LENGTH, "replay.batch_size": BATCH,
}  # fmt: skip
META_WORLD = (50, 50, 2048)  # batch, steps and feature size of the paper's Meta-world runs


def random_batch() -> dict[str, Tensor]:
    """A replay batch of one window per episode."""
    g = torch.Generator().manual_seed(0)
    is_first = F.pad(torch.zeros(BATCH, LENGTH - 1), (1, 0), value=1.0)
    return {
        "image": torch.randint(256, (BATCH, LENGTH, 64, 64, 3), dtype=torch.uint8, generator=g),
        "action": torch.rand(BATCH, LENGTH, ACTIONS, generator=g) * 2 - 1,
        "reward": torch.rand(BATCH, LENGTH, generator=g),
        "is_first": is_first,
        "is_terminal": torch.zeros(BATCH, LENGTH),
    }


def small_agent() -> Agent:
    """The agent as `ipv-bench finetune` makes it, at the small size of the published timings."""
    return build_agent("paper/metaworld", SMALL, (64, 64, 3), ACTIONS)


def fields(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, action, reward and is_first."""
    return batch["image"], batch["action"], batch["reward"], batch["is_first"]


def forced(latents: Latents) -> Latents:
    """The draws as one-hots to force, so that both computations take the same ones."""
    assert latents.noise is not None
    return Latents(forced=F.one_hot(latents.noise.argmax(-1), latents.noise.shape[-1]).double())


def assert_equal_losses(agent: Agent, batch: dict[str, Tensor]) -> None:
    """Ours and plain: losses of world model, actor and critic, in float64 (batch statistics amplify rounding)."""
    networks = copy.deepcopy(agent.networks).train().double()
    batch = {key: value if key == "image" else value.double() for key, value in batch.items()}
    model, behavior = networks["model"], networks["behavior"]
    generator = torch.Generator().manual_seed(1)
    drawn = model.draw(BATCH, LENGTH, generator)
    fusion = {k: v._replace(drop_weights=None, drop_output=None) for k, v in drawn.context.fusion.items()}
    context = ContextDraws(drawn.context.frame, None, fusion)
    draws = StackedDraws(forced(drawn.action_free), forced(drawn.latents), context)
    imagined = behavior.draw(BATCH * LENGTH, model.rssm, generator)
    behavior_draws = BehaviorDraws(imagined.uniform.double(), forced(imagined.latents))
    queue = torch.zeros(0, model.config.intrinsic.queue_dim, dtype=torch.float64)
    with torch.no_grad():
        plain, states = stacked_loss(model, fields(batch), queue, draws, 0.0)
        start = State(*(value.flatten(0, 1) for value in states))
        plain_behavior = behavior_losses(behavior, model, (start.stoch, start.deter), behavior_draws)
        ours = model(*fields(batch), draws)[0]
        ours_behavior = behavior(model.rssm, model.reward_head, start, behavior_draws)[:2]
    for name, a, b in zip(("model", "actor", "critic"), (ours, *ours_behavior), (plain, *plain_behavior), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=0)
        print(f"equal {name} losses: ours {float(a):.5f}, plain {float(b):.5f}")


def plain_update(agent: Agent, batch: dict[str, Tensor]) -> Callable[[], None]:
    """The baseline: two clipped groups of the world model, then actor and critic."""
    networks = copy.deepcopy(agent.networks).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model, behavior, config = networks["model"], networks["behavior"], agent.config
    named = dict(model.named_parameters())
    lower = ("vision.encoder.", "vision.context_encoder.", "action_free_rssm.")
    groups = [
        PlainOptimizer([p for n, p in named.items() if n.startswith(lower)], config.optimizer),
        PlainOptimizer([p for n, p in named.items() if not n.startswith(lower)], config.optimizer),
    ]
    actor = PlainOptimizer(list(behavior.actor.parameters()), config.behavior.actor_optimizer)
    critic = PlainOptimizer(list(behavior.critic.parameters()), config.behavior.critic_optimizer)
    queue = torch.zeros(config.intrinsic.queue_size, config.intrinsic.queue_dim)

    def update() -> None:
        loss, states = stacked_loss(model, fields(batch), queue, None, config.context.dropout)
        loss.backward()
        for group in groups:
            group.step()
        start = [value.detach().flatten(0, 1) for value in states[:2]]
        actor_loss, critic_loss = behavior_losses(behavior, model, start, None)
        (actor_loss + critic_loss).backward()
        actor.step()
        critic.step()
        model.zero_grad()

    return update


def our_side() -> Callable[[], Any]:
    """Our update; equal losses are asserted first."""
    torch.manual_seed(0)
    agent, batch = small_agent(), random_batch()
    assert_equal_losses(agent, batch)
    return lambda: agent.update(batch)


def plain_side(*, same_memory: bool) -> Callable[[], Any]:
    """The baseline, with the C library's memory as it is, or as ours has it."""
    torch.manual_seed(0)
    if not same_memory:
        leave_memory_alone()
    return plain_update(small_agent(), random_batch())


SIDES: dict[str, Make] = {
    "ours": our_side,
    "plain": partial(plain_side, same_memory=False),
    "same_memory": partial(plain_side, same_memory=True),
}


def shares(agent: Agent, batch: dict[str, Tensor]) -> dict[str, float]:
    """What looking costs, as shares of the update's CPU time: the entry check, and an episode's examination over the
    83 updates that come with an episode of 250 steps (one update in three steps)."""
    episode = {name: value[0].repeat(13, *[1] * (value[0].ndim - 1))[:251].numpy() for name, value in batch.items()}
    episode["is_terminal"] = np.zeros(251, bool)
    window, size = agent.config.intrinsic.window, agent.config.image.size

    def check() -> None:
        for _ in range(100):
            check_update_batch(batch, size, agent.action_dim, window)

    checked = paired_cpu_seconds(lambda: agent.update(batch), check, 3)["ratio"] / 100
    examined = paired_cpu_seconds(lambda: agent.update(batch), lambda: agent.examine(episode, 0), 3)["ratio"] / 83
    return {"entry_check_share": round(checked, 5), "examine_share": round(examined, 4)}


def bonus_memory_mb() -> dict[str, float]:
    """Extra peak memory (MB) and seconds of one call at Meta-world size, measured in a process of its own."""
    command = [sys.executable, __file__, "--one-bonus-call"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    extra, seconds = text.split()[-2:]
    return {"bonus_mb": round(float(extra), 1), "bonus_s": round(float(seconds), 3)}


def one_bonus_call() -> None:
    """Print how far a call on a full queue raises resident memory (MB), and its CPU seconds."""
    bonus = IntrinsicBonus(IntrinsicConfig(), META_WORLD[2], torch.Generator().manual_seed(0))
    bonus.count.fill_(bonus.queue.shape[0])
    feat = torch.rand(META_WORLD, generator=torch.Generator().manual_seed(1))
    bonus(feat[:1, :6])  # the library's own buffers
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again at what is resident now
    before, seconds = resident_mb("VmHWM"), time.process_time()
    bonus(feat)
    print(resident_mb("VmHWM") - before, time.process_time() - seconds)


def resident_mb(field: str) -> float:
    """A memory field of this process's status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))


def main() -> None:
    """Measure, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one-bonus-call", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.one_bonus_call:
        one_bonus_call()
        return
    update = paired_processes(SIDES, 5 if options.quick else 25)
    print(f"update 4x20, 64 wide: ours {update['ours_s']:.3f} s, plain {update['plain_s']:.3f} s, "
          f"ratio {update['plain_ratio']:.2f}; with our memory {update['same_memory_ratio']:.2f}")  # fmt: skip
    result = {"cpu_small_4x20": update["plain_ratio"], "cpu_small_4x20_same_memory": update["same_memory_ratio"]}
    try:
        result |= shares(small_agent(), random_batch())
        print(f"entry check: {100 * result['entry_check_share']:.2f} % of an update; "
              f"examining episodes: {100 * result['examine_share']:.1f} %")  # fmt: skip
        result |= bonus_memory_mb()
        print(f"bonus at Meta-world size: {result['bonus_mb']:.0f} MB beyond its inputs, {result['bonus_s']:.2f} CPU s")
    finally:  # what was measured is told, whatever the rest does
        print(json.dumps({"benchmark": "finetune_step", **result, "details": {"update": update}, "machine": machine()}))


if __name__ == "__main__":
    main()
