"""Very small fine-tuning runs that the tests share: all components, seconds on one core."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ipv_bench.run_record import read_jsonl
from tests.models.read_settings import read_finetuning

TASK = "dmc/cartpole_balance"
SMALL: dict[str, Any] = {
    "encoder.cnn_depth": 4, "decoder.cnn_depth": 4, "encoder.blocks": 1, "decoder.blocks": 1,
    "encoder.norm": "batch", "decoder.norm": "batch", "context.heads": 2, "context.dropout": 0.1,
    "rssm.deter": 8, "rssm.hidden": 8, "rssm.stoch": 4, "rssm.discrete": 4,
    "reward.units": 8, "reward.layers": 1, "behavior.units": 8, "behavior.layers": 1, "behavior.horizon": 3,
    "behavior.slow_every": 4, "intrinsic.queue_size": 16, "intrinsic.queue_dim": 4, "intrinsic.neighbours": 3,
    "intrinsic.window": 3, "context.augmentation": "erasing",
    "intrinsic.beta": 0.1, "replay.batch_size": 2, "replay.length": 6, "replay.capacity": 70,
    "env.render_profile": "fast", "env.action_repeat": 8, "env.time_limit": 160, "envs.workers": 0,
    "evaluation.every": 320, "evaluation.episodes": 1, "evaluation.random_episodes": 2,
    "training.env_steps": 1120, "training.prefill": 40, "training.train_every": 5,
    "training.pretrain_updates": 3, "training.log_every": 3, "training.encoder_frozen_updates": 2,
    "training.checkpoint_episodes": 2, "training.tensorboard": False, "training.stop_grace_seconds": 0,
}  # fmt: skip
"""20 agent steps an episode; 7 episodes, 2 of them prefill; 3 + 20 updates; evaluations at 320, 640, 960 and 1120."""


def command_line(
    folder: Path, *extra: str, method: str = "contextwm", init: str = "none", task: str = TASK
) -> list[str]:
    """Arguments of `ipv-bench` for such a run."""
    values = read_finetuning({**SMALL, "method": method}, extra, task.partition("/")[0])
    sets = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    return ["finetune", "--preset", "tiny", "--task", task, "--init", init, "--run", str(folder), *sets, *extra]


KILLER = """
import os, signal, sys
import models.{module} as module
target = {target}
original, calls = getattr(target, "{name}"), [0]
def counted(*args, **kwargs):
    calls[0] += 1
    if calls[0] == {call}:
        {before}
        os.kill(os.getpid(), signal.{signal})
    return original(*args, **kwargs)
setattr(target, "{name}", counted)
from ipv_bench.cli import run
sys.exit(run(sys.argv[1:]))
"""


def run_until(
    arguments: list[str],
    module: str,
    target: str,
    name: str,
    call: int,
    *,
    before: str = "pass",
    sent: str = "SIGKILL",
    expected: int = -signal.SIGKILL,
) -> str:
    """Run a command in a process that gets a signal at call number `call` of a function; returns its output."""
    code = KILLER.format(module=module, target=target, name=name, call=call, before=before, signal=sent)
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=one_thread)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout + done.stderr


def log_without_wall(path: Path) -> list[dict[str, Any]]:
    """Lines of a log without the fields that time changes."""
    return [{k: v for k, v in line.items() if not k.startswith("wall_")} for line in read_jsonl(path)]
