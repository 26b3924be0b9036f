"""The sdist and the wheel: built, whole, and of one version with the changelog and the citation."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.distribution import ROOT, problems

pytest.importorskip("hatchling", reason="hatchling is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--directory", str(folder)], cwd=ROOT, check=True)
    return folder


def test_what_is_built_is_whole(built: Path) -> None:
    assert list(problems(built)) == []


def test_a_wheel_that_lacks_a_preset_is_found(built: Path, tmp_path: Path) -> None:
    for path in built.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if "presets/pretrain/paper" not in name}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in {**kept, "secrets.txt": b"x"}.items():
            archive.writestr(name, content)
    found = "\n".join(problems(tmp_path))
    assert "the wheel lacks ipv_bench/presets/pretrain/paper" in found
    assert "the wheel has secrets.txt" in found
    assert "does not run alone" in found


def test_one_version_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    dates = re.findall(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert dates[0] == (version, citation["date-released"])
    assert citation["version"] == version
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"]
    assert all(set(author) & {"name", "family-names"} for author in citation["authors"])
