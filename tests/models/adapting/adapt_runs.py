"""Runs of `adapt` for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from models.training.checkpoint import load_checkpoint

RANDOM = ("--set", "weights=random")
FAST = {"training.updates": 6, "training.checkpoint_every": 2, "training.log_every": 2, "validation.every": 3}


def adapt_command(parent: Path | str, data: Path, folder: Path, *extra: str, **changes: Any) -> list[str]:
    values = FAST | {key.replace("__", "."): value for key, value in changes.items()}
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["adapt", str(parent), "--data", str(data), "--run", str(folder), *sets, *extra]


def adapt(parent: Path | str, data: Path, folder: Path, *extra: str, **changes: Any) -> int:
    return run([*adapt_command(parent, data, folder, *extra, **changes), "--quiet"])


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    path = latest_checkpoint(folder)
    assert path is not None
    return load_checkpoint(path).model
