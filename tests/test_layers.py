"""`make lint` holds the arrows between rooms and wings: a planted import upwards, or a circle, fails it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")


@pytest.mark.skipif(not LINTER.exists(), reason="import-linter is not installed in this environment")
@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("models/nets/heads.py", "import models.finetuning.loop", "models: wings import downwards"),
        ("pipelines/datasets/base.py", "import pipelines.jobs.tally", "pipelines: wings import downwards"),
        ("ipv_bench/seeding.py", "import reports.cli", "ipv_bench imports none of the three rooms"),
        ("ipv_bench/errors.py", "import ipv_bench.progress", "no circles between files"),
    ],
)
def test_a_planted_import_is_found(file: str, line: str, contract: str, tmp_path: Path) -> None:
    for room in ("ipv_bench", "pipelines", "models", "reports"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with open(tmp_path / file, "a") as planted:
        planted.write(f"\n{line}\n")
    (tmp_path / "ipv_bench" / "progress.py").write_text("import ipv_bench.errors\n")
    done = subprocess.run([LINTER, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout
