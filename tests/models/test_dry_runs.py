"""A dry run is quick because of what it does not import; the modules that it loads are counted, no time is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from models.training.checkpoint import save_checkpoint

HEAVY = ("torch", "safetensors", "gymnasium", "mujoco", "dm_control", "metaworld", "scipy", "pandas", "av")

CODE = """
import json, sys
from ipv_bench.cli import run
for command in json.loads(sys.argv[1]):
    status = run([*command, "--dry-run"])
    print("\\nLOADED", json.dumps([status, [name for name in sys.argv[2:] if name in sys.modules]]))
"""


def loaded(*commands: list[str]) -> tuple[list[list[object]], str]:
    """(Exit status, heavy modules loaded so far) after each dry run, all in one fresh process; and what was printed."""
    words = [sys.executable, "-c", CODE, json.dumps(commands), *HEAVY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=True)
    lines = [line.removeprefix("LOADED ") for line in done.stdout.splitlines() if line.startswith("LOADED ")]
    return [json.loads(line) for line in lines], done.stdout + done.stderr


def finetune(method: str, task: str, *words: str) -> list[str]:
    return ["finetune", "--preset", "tiny", "--set", f"method={method}", "--task", task, *words]


def test_no_dry_run_imports_torch_or_a_simulator(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "parent", 3, {"x": torch.zeros(1)}, {}, {})
    commands = [
        finetune("contextwm", "metaworld/drawer_open", "--init", "none"),
        finetune("contextwm", "dmc/cheetah_run", "--init", str(checkpoint)),
        finetune("apv", "dmcr/cheetah_run", "--init", "none"),
        finetune("prelar", "metaworld-remastered/drawer_open", "--init", "none"),
        finetune("dreamerv2", "dmc/cheetah_run"),
        finetune("drqv2", "dmc/cheetah_run"),
        finetune("isodream", "dmc/cheetah_run"),
        *(["pretrain", "--set", f"method={method}"] for method in ("contextwm", "apv", "prelar", "uwm")),
        ["adapt", "none", "--set", "method=apv", "--set", "preset=tiny", "--data", str(tmp_path / "set")],
    ]
    results, text = loaded(*commands)
    assert results == [[0, []]] * len(commands)
    assert str(checkpoint) in text


def test_torch_comes_where_a_network_is_shown() -> None:
    """The paper's Table 1 is read off an encoder that was built: the counter-example of the test above."""
    ((status, modules),), text = loaded(["pretrain", "--preset", "paper"])
    assert (status, modules) == (0, ["torch"])
    assert "Image encoder, as built" in text
