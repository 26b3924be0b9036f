"""A script's quick form, and a run as one leaves it; the tests of experiments share them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ipv_bench.run_record import RunRecord, write_record
from ipv_bench.shard_set import Manifest, ShardEntry, write_manifest

ROOT = Path(__file__).resolve().parents[2]


def quick(script: str, *options: str) -> dict:
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def record(folder: Path, status: Literal["running", "finished"] = "finished", **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, RunRecord(kind="finetune", method="m", seed=0, preset="tiny", status=status, config=config))
    return folder


def whole_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key → value, nested as a record has it."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        place = found
        *sections, name = key.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return found


def shard_set(folder: Path, sha256: str, **options: Any) -> None:
    """A manifest of one shard that is not there, as scripts read it."""
    shard = ShardEntry(file="folder-000000.tar", num_samples=1, num_frames=1, size_bytes=1, sha256=sha256)
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(
        folder,
        Manifest(
            name="folder", profile="paper", encoding="mjpeg", options=options, inventory_sha256="", plan_sha256="",
            versions={}, shards=[shard], tables={}, totals={},
        ),
    )  # fmt: skip
