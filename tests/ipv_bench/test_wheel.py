"""A wheel of this checkout, installed alone into fresh environments outside of it: what each extra is for works.

Slow, since pip installs some two gigabytes; needs a package index. `make test-slow` runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(pip, check=True, timeout=900)
    (made,) = folder.glob("ipv_bench-*.whl")
    return made


class Copy:
    """An environment with nothing but the wheel, and a workspace; neither is near the checkout."""

    def __init__(self, folder: Path, wheel: Path, extras: str) -> None:
        self.folder, self.wheel = folder, wheel
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        self.pip(f"{wheel}{extras}")
        if "dmc" in extras and sys.version_info[:2] == (3, 13):
            self.pip("--no-deps", "dm-control")

    def pip(self, *arguments: str) -> None:
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS), *arguments]
        subprocess.run(command, check=True, cwd=self.workspace)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        command = [str(self.python.with_name("ipv-bench")), *arguments]
        return subprocess.run(command, cwd=self.workspace, env=environment, capture_output=True, text=True, check=False)

    def must(self, line: str) -> str:
        done = self.run(*line.split())
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def test_the_base_prepares_verifies_and_reports(wheel: Path, tmp_path: Path) -> None:
    copy = Copy(tmp_path, wheel, "")
    installed = {line.partition("==")[0].lower() for line in _freeze(copy)}
    assert not installed & {"torch", "mujoco", "dm-control", "dm_control", "ray", "decord", "wandb", "obstore"}
    copy.must("sample data/raw/ssv2 --dataset ssv2 --videos 8")
    copy.must("prepare ssv2 --workers 1")
    copy.must("verify data/shards/ssv2 --decode all")
    copy.must("inspect data/shards/ssv2 --contact-sheet sheet.png")
    lines = ["method,suite,task,seed,step,score"]
    lines += [
        f"{m},dmc,cheetah_run,{s},{k}000,{100 * s + k}" for m in ("a", "b") for s in range(5) for k in range(1, 6)
    ]
    (copy.workspace / "scores.csv").write_text("\n".join(lines) + "\n")
    copy.must("report scores.csv")
    assert (copy.workspace / "report" / "report.html").stat().st_size > 10_000
    checks = {check["name"]: check for check in json.loads(copy.must("doctor --json"))["checks"]}
    assert checks["extra [train]"]["state"] == "missing"
    assert checks["extra [train]"]["fix"].endswith(f"-m pip install '{wheel}[train]'")
    for line, extras in (
        ("pretrain", "train"),
        ("finetune --task dmc/cheetah_run", "train,dmc"),
        ("evaluate runs/none", "train"),
        ("import-checkpoint none.pt", "train"),
        ("demo", "train,dmc"),
        ("prepare ssv2 --executor ray", "ray"),
        ("prepare ssv2 --set decoder=decord", "decord"),
        ("verify s3://bucket/set", "s3"),
    ):
        done = copy.run(*line.split())
        assert done.returncode == 2, line
        assert f"-m pip install '{wheel}[{extras}]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_train_and_dmc_bring_pretrain_and_finetune(wheel: Path, tmp_path: Path) -> None:
    copy = Copy(tmp_path, wheel, "[train,dmc]")
    copy.must("sample data/raw/ssv2 --dataset ssv2 --videos 8")
    copy.must("prepare ssv2 --workers 1")
    copy.must(
        "pretrain --preset tiny --set training.updates=2 --set data.batch_size=2 --set validation.every=0 --run pre"
    )
    copy.must(
        "finetune --preset tiny --task dmc/cheetah_run --init pre --run fine --set training.env_steps=2000 "
        "--set evaluation.random_episodes=0 --set evaluation.every=0"
    )
    assert json.loads((copy.workspace / "fine" / "run.json").read_text())["status"] == "finished"
    done = copy.run("finetune", "--task", "metaworld/reach")
    assert done.returncode == 2
    assert f"-m pip install '{wheel}[metaworld]'" in done.stderr


def _freeze(copy: Copy) -> list[str]:
    command = [str(copy.python), "-m", "pip", "list", "--format", "freeze"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
