"""The public names of docs/python.md: its programs run, its list is whole, and signatures do not change unnoticed."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from ipv_bench.extras import EXTRAS, missing_modules
from models.pretrain import pretrain
from tests.models.pretraining.small_pretraining import SMALL
from tests.shard_set_maker import Video, make_shard_set

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
KEPT = Path(__file__).with_name("public_names.txt")
PROGRAM = re.compile(r"```python\n(.*?)```", re.DOTALL)
NAME = re.compile(r"^\| `((?:ipv_bench|pipelines|models|reports)[\w.]+)` \|", re.MULTILINE)


def _signature(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    found = getattr(import_module(module), attribute)
    lines = [f"{name}{_text(found)}"]
    if inspect.isclass(found) and found.__module__.partition(".")[0] in ("ipv_bench", "models", "reports"):
        methods = [(key, value) for key, value in vars(found).items() if inspect.isfunction(value) and key[0] != "_"]
        lines += [f"    {key}{_text(value)}" for key, value in methods]
    return "\n".join(lines)


def _text(found: object) -> str:
    """The names, kinds and defaults of its parameters; annotations may become more exact without harm."""
    parameters = inspect.signature(found).parameters.values()  # type: ignore[arg-type]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return str(inspect.Signature(bare))


def test_the_signatures_of_public_names_are_the_kept_ones() -> None:
    names = NAME.findall(PAGE.read_text())
    assert len(names) == len(set(names)) > 15
    found = "\n".join(_signature(name) for name in names) + "\n"
    assert found == KEPT.read_text(), "name the change in CHANGELOG.md, then keep: python -m tests.test_public_names"


RUN_THEM = """
import sys
for program in sys.stdin.read().split("\\0"):
    exec(compile(program, "docs/python.md", "exec"), {"__name__": "__main__"})
"""


def test_the_programs_of_the_page_run(tmp_path: Path) -> None:
    """One after the other in one process, where torch is loaded once."""
    programs = PROGRAM.findall(PAGE.read_text())
    assert len(programs) == 7
    needs = [re.match(r"# needs: (\w+)", program) for program in programs]
    here = [not found or not missing_modules(EXTRAS[found[1]].modules) for found in needs]
    data = make_shard_set(tmp_path / "data/shards/ssv2", [Video(f"video{n}", 30 + n, split="") for n in range(12)])
    run = tmp_path / "runs/pretrain/ssv2/contextwm/seed0"
    small = {**SMALL, "image.size": 64, "training.updates": 1, "validation.every": 0, "training.checkpoint_every": 1}
    pretrain(preset="tiny", data=[data], overrides=small, run=run)
    path = os.pathsep.join([str(PAGE.parents[1]), *filter(None, sys.path)])
    given = "\0".join(program for program, runs in zip(programs, here, strict=True) if runs)
    done = subprocess.run(
        [sys.executable, "-c", RUN_THEM], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, input=given,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "iqm.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "my_report" / "report.html").stat().st_size > 10_000
    assert "label='IQM'" in done.stdout


if __name__ == "__main__":
    KEPT.write_text("\n".join(_signature(name) for name in NAME.findall(PAGE.read_text())) + "\n")
