"""Kept runs of the label-efficiency benchmark, made up for tests."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from ipv_bench.config import merge, nested, parse_overrides
from ipv_bench.run_record import RunRecord

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
LABELS = (16, 64, 256, 1000)
MEASURES = ("error", "copy_ratio", "shuffle_ratio", "action_r2")


def benchmark(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """A script's module; scripts import their neighbours by bare names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def keep(kept: Path, path: Path, result: dict[str, Any], changes: list[str], **other: Any) -> None:
    """A kept run, made under these settings, and others that no protocol names."""
    folder = kept / path
    folder.mkdir(parents=True)
    kind = "adapt" if "adapt" in path.parts else "pretrain"
    config: dict[str, Any] = dict(other)
    for key, value in parse_overrides(changes).items():
        config = merge(config, nested(key, value))
    record = RunRecord(kind=kind, method="apv", seed=1, preset="tiny", config=config, status="finished")
    (folder / "run.json").write_text(record.model_dump_json())
    (folder / "result.json").write_text(json.dumps(result))


def keep_adapted(protocol: Any, scale: Any, run: tuple[str, int, int], result: dict[str, Any], **other: Any) -> None:
    """A kept run of the protocol."""
    keep(scale.kept, protocol.adapted_path(*run), result, protocol.adapting_changes(*run[:2], scale), **other)


RESULT = {"error": 0.02, "copy_ratio": 1.0, "shuffle_ratio": 1.0, "action_r2": 0.05, "action_r2_of_true_frames": 0.9,
          "copy_error_by_step": [0.03]}  # fmt: skip
