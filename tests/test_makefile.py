"""What the front door would type for each method: `make --dry-run` shows the commands and runs none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ipv_bench.plugins import plugin_names
from models.methods.base import find_method
from tests.distribution import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def made(folder: Path, *arguments: str, dry: bool = True) -> subprocess.CompletedProcess[str]:
    """`make` with everything installed and the sample data there, as far as it can see.

    Only PATH of the caller's variables: `make test` hands its own flags down (it then tells the folders it enters), and
    a shell's `TASK` or `PRESET` would be taken for the user's choice.
    """
    (folder / ".installed").touch()
    words = ["make", *(["--dry-run"] if dry else []), f"VENV={folder}", "DATA_NAME=ssv2", "DATA=shards", *arguments]
    return subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )


@pytest.mark.parametrize("method", plugin_names("methods"))
def test_make_pre_trains_what_is_pre_trained_and_starts_the_rest_from_nothing(method: str, tmp_path: Path) -> None:
    alone = find_method(method).pretraining == "none"
    done = made(tmp_path, "pretrain", "finetune", f"MODEL={method}", "SEED=3")
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"ipv-bench (pretrain|finetune) .*", done.stdout)
    assert commands == (["finetune"] if alone else ["pretrain", "finetune"])
    start = re.search(r"finetune .*--init (\S+)", done.stdout)
    assert start is not None
    assert start[1] == ("none" if alone else f"runs/pretrain/ssv2/{method}/seed3")


def test_pre_training_what_needs_none_says_so(tmp_path: Path) -> None:
    done = made(tmp_path, "pretrain", "MODEL=drqv2", dry=False)
    assert (done.returncode, done.stdout) == (
        0, "drqv2 learns without pre-training: nothing to do before make finetune\n",
    )  # fmt: skip
