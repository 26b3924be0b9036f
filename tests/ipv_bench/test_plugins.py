"""Plug-ins of other packages: those that docs/plugins.md shows, and those that do not work."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import PluginError, UnknownNameError
from ipv_bench.plugins import OURS, find_plugin, plugin_names
from ipv_bench.run_record import read_jsonl, read_record
from tests.plugins_page import install, install_page

ROOT = Path(__file__).parents[2]

KILL_AT_THE_SECOND_CHECKPOINT = """
import os, signal, sys
import models.finetuning.loop as loop
save, calls = loop.save_checkpoint, [0]
def counted(*args, **kwargs):
    calls[0] += 1
    result = save(*args, **kwargs)
    if calls[0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
loop.save_checkpoint = counted
from ipv_bench.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace beside an installed `my-lab`."""
    folder = tmp_path_factory.mktemp("lab")
    install_page(folder / "site")
    return folder


def command(lab: Path, *arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `ipv-bench` in the workspace, in a process that sees the package."""
    path = os.pathsep.join([str(lab / "site"), str(ROOT)])
    program = [sys.executable, "-m", "ipv_bench"] if code is None else [sys.executable, "-c", code]
    return subprocess.run(
        [*program, *arguments], cwd=lab, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def succeed(lab: Path, *arguments: str) -> str:
    done = command(lab, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def log(run_folder: Path, name: str = "metrics.jsonl") -> list[dict]:
    """Lines of a log without their wall times."""
    lines = list(read_jsonl(run_folder / name))
    return [{key: value for key, value in line.items() if not key.startswith("wall")} for line in lines]


def test_the_pages_package_goes_through_every_command(lab: Path) -> None:
    succeed(lab, "sample", "--dataset", "robot-videos", "--videos", "6")
    succeed(lab, "prepare", "robot-videos", "--workers", "1")
    succeed(lab, "verify", "data/shards/robot-videos")
    succeed(lab, "pretrain", "--set", "method=linear", "--data", "data/shards/robot-videos")
    start = lab / "runs/pretrain/robot-videos/linear/seed0"
    assert read_record(start).display_name == "Linear"
    lines = [line for line in log(start) if "loss" in line]
    assert lines[-1]["loss"] < lines[0]["loss"]

    words = ["finetune", "--set", "method=linear", "--task", "dot/left", "--init", str(start)]
    killed = command(lab, *words, code=KILL_AT_THE_SECOND_CHECKPOINT)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    agent = lab / "runs/dot/left/linear@init=robot-videos/seed0"
    assert read_record(agent).status == "running"
    succeed(lab, *words)
    whole = lab / "whole"
    succeed(lab, *words, "--run", str(whole))
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert log(agent, name) == log(whole, name)
    assert read_record(agent).env_fingerprint["speed"] == 0.2

    scores = json.loads(command(lab, "evaluate", str(agent), "--episodes", "1").stdout)
    assert len(scores["returns"]) == 1
    (lab / "old.lablog").write_text("guess dot/left 3\n200 11\n400 12\n600 13\n")
    succeed(lab, "report", "runs", "old.lablog", "--resamples", "100")
    methods = set(pandas.read_parquet(lab / "report" / "data.parquet")["method"])
    assert methods == {"linear", "guess"}


def test_a_suites_own_field_is_its_own(lab: Path) -> None:
    dry = ["finetune", "--set", "method=linear", "--init", "none", "--dry-run"]
    shown = succeed(lab, *dry, "--task", "dot/left", "--set", "env.speed=0.5")
    assert '"speed": 0.5' in shown
    refused = command(lab, *dry, "--task", "dmc/cheetah_run", "--set", "env.speed=0.5")
    assert refused.returncode == 2
    assert "env.speed belongs to the suite dot, and dmc tasks do not have it" in refused.stderr


def broken(folder: Path, kind: str, code: str, name: str = "odd", package: str = "odd-package") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    install(folder, package, "0.1", {f"ipv_bench.{kind}": {name: f"{module}:THING"}})


@pytest.mark.parametrize("kind", list(OURS))
def test_one_that_raises_on_import_is_refused_when_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path, kind, "raise RuntimeError('no camera')", package=f"odd-{kind}")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "odd" in plugin_names(kind)  # listed, and nothing imported
    with pytest.raises(PluginError, match=rf"odd.*odd-{kind} 0\.1.*RuntimeError: no camera"):
        find_plugin(kind, "odd").load()


@pytest.mark.parametrize("kind", list(OURS))
def test_a_name_that_is_taken_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = next(iter(OURS[kind]))
    broken(tmp_path, kind, "THING = 1", name=taken)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match=r"odd-package 0\.1 and by ipv-bench"):
        find_plugin(kind, taken)
    other = list(OURS[kind])[-1]
    assert other == taken or find_plugin(kind, other).is_ours


def test_lacking_members_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    code = "class THING:\n    name = 'odd'\n    licence = help = ''\n"
    broken(tmp_path, "datasets", code, package="half-package")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run(["prepare", "odd", "--source", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "'odd' of half-package 0.1 (half_package:THING) lacks config, profiles, inventory, counts" in message


def test_an_unknown_name_lists_those_of_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(tmp_path, "methods", "THING = 1", name="dreamer-odd", package="third-package")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnknownNameError, match="unknown method 'dreamer-od'") as caught:
        find_plugin("methods", "dreamer-od")
    assert "dreamer-odd" in caught.value.fix


def test_no_methods_name_is_a_condition_outside_its_own_file() -> None:
    """Comparisons with, membership in, and mappings by a method's name live in `models/methods/` alone."""
    names = set(OURS["methods"])
    found = []
    for room in ("ipv_bench", "pipelines", "models", "reports"):
        for path in (ROOT / room).rglob("*.py"):
            if path.is_relative_to(ROOT / "models" / "methods"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                parts: list[ast.expr | None] = []
                if isinstance(node, ast.Compare):
                    parts = [node.left, *node.comparators]
                elif isinstance(node, ast.Dict):
                    parts = list(node.keys)
                elif isinstance(node, ast.MatchValue):
                    parts = [node.value]
                elements = [inner for part in parts if part is not None for inner in ast.walk(part)]
                constants = {one.value for one in elements if isinstance(one, ast.Constant)}
                if constants & names:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    table = [place for place in found if not place.startswith("ipv_bench/plugins.py")]
    assert table == []


def test_what_is_installed_while_a_process_runs_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "later" not in plugin_names("suites")
    install(tmp_path, "later-lab", "1.0", {"ipv_bench.suites": {"later": "later_lab:SUITE"}})
    assert "later" in plugin_names("suites")
    assert find_plugin("suites", "later").package == "later-lab 1.0"
