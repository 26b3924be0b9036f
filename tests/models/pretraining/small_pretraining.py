"""A pre-training run that takes a second, and child processes to run, kill and connect it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ipv_bench.cli import run as run_command
from tests.models.read_settings import read_pretraining
from tests.shard_set_maker import Video, make_shard_set

SMALL = {
    "image.size": 32,
    "encoder.cnn_depth": 4,
    "encoder.blocks": 1,
    "decoder.cnn_depth": 4,
    "decoder.blocks": 1,
    "encoder.norm": "batch",
    "decoder.norm": "batch",
    "context.heads": 2,
    "context.dropout": 0.1,
    "rssm.deter": 16,
    "rssm.hidden": 16,
    "rssm.stoch": 4,
    "rssm.discrete": 4,
    "data.length": 6,
    "data.batch_size": 4,
    "data.workers": 0,
    "data.holdout": 0.25,
    "training.updates": 8,
    "training.log_every": 3,
    "training.checkpoint_every": 2,
    "training.tensorboard": False,
    "validation.every": 4,
    "validation.segments": 4,
    "validation.warmup": 2,
    "validation.strips": 1,
}


def small_shard_set(folder: Path, **options: Any) -> Path:
    """Sixteen videos of 10 to 25 frames, 32 x 32, without splits."""
    videos = [Video(f"video{n}", 10 + n, split="", label=f"label{n % 3}", size=(32, 32)) for n in range(16)]
    return make_shard_set(folder, videos, **options)


def small_labelled_set(folder: Path) -> Path:
    """Sixteen labelled videos, 32 x 32, with actions of two components."""
    raw, out = folder / "raw", folder / "blob"
    assert run_command(["sample", str(raw), "--dataset", "moving-blob", "--videos", "16", "--quiet"]) == 0
    words = ["prepare", "episodes", "--source", str(raw), "--out", str(out), "--workers", "1", "--quiet"]
    assert run_command([*words, "--set", "size=32x32"]) == 0
    return out


def arguments(data: Path, run: Path, **changes: Any) -> list[str]:
    """Command line of the small run; `changes` have `__` for the dot, and ... leaves a setting out."""
    asked = {key.replace("__", "."): value for key, value in changes.items()}
    small = {key: value for key, value in SMALL.items() if asked.get(key) is not ...}
    asked = {key: value for key, value in asked.items() if value is not ...}
    values = read_pretraining(small | asked) | asked
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["pretrain", "--preset", "tiny", "--data", str(data), "--run", str(run), *sets]


def learned(run: Path) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl` without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("wall_")} for line in lines]


def weights(run: Path) -> dict[str, bytes]:
    """The files of the newest checkpoint that hold numbers."""
    newest = max((run / "checkpoints").iterdir(), key=lambda folder: int(folder.name))
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


def start(
    command: Sequence[str], *, kill_at: int = -1, env: Mapping[str, str] | None = None, keep: Path | None = None
) -> Any:
    """Run a command in a child process, which kills itself (-9) in update `kill_at`. The child imports torch once.

    `keep` is a file that has the model's tensors after each update, as this process knows them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["models.pretrain"])
    child = context.Process(target=_run, args=(list(command), kill_at, dict(env or {}), keep))
    child.start()
    return child


def exit_code(child: Any, seconds: float = 600) -> int:
    """Wait for a child; its exit status, negative for a signal."""
    child.join(seconds)
    if child.is_alive():
        child.kill()
        raise TimeoutError("the child does not end")
    return int(child.exitcode)


def rank_environments(count: int) -> list[dict[str, str]]:
    """What torchrun puts into the environment of each of `count` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def _run(command: list[str], kill_at: int, env: dict[str, str], keep: Path | None) -> None:
    os.environ.update(env)
    import torch
    from safetensors.torch import save_file

    from ipv_bench.cli import run
    from models.pretraining.video_training import VideoTraining

    torch.set_num_threads(1)
    real = VideoTraining.step

    def step(self: VideoTraining, batch: Any) -> dict[str, float]:
        if self.updates == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(self, batch)
        if keep is not None:
            save_file({name: value.contiguous() for name, value in self.model.state_dict().items()}, keep)
        return found

    VideoTraining.step = step  # type: ignore[method-assign]
    raise SystemExit(run(command))
