"""A script's quick form, and a run as one leaves it; the tests of experiments share them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from ipv_bench.run_record import RunRecord, write_record

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
