"""Checks of a built sdist and wheel, by `make wheel` (`python -m tests.distribution dist`) and by the tests."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ipv_bench", "pipelines", "models", "reports")


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with the sdist and the wheel in `folder`; nothing when they are fit to be given away."""
    wheels, sdists = list(folder.glob("*.whl")), list(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        yield f"{len(wheels)} wheels and {len(sdists)} sdists, expected one of each"
        return
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    yield from _wheel_problems(wheels[0], project)
    yield from _sdist_problems(sdists[0], project)
    yield from _problems_alone(wheels[0])


def _package_files() -> set[str]:
    """All files of the rooms but caches: code, presets, and whatever else lies beside them."""
    files = (path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file())
    # What .gitignore names may lie there too: caches, and the log that MuJoCo writes where one stands.
    kept = (path for path in files if "__pycache__" not in path.parts and path.suffix not in (".tmp", ".TXT", ".pyc"))
    return {path.relative_to(ROOT).as_posix() for path in kept}


def _wheel_problems(wheel: Path, project: dict) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    inside = {name for name in names if not name.startswith(info)}
    yield from (f"the wheel lacks {name}" for name in sorted(_package_files() - inside))
    yield from (f"the wheel has {name}, which is no part of the package" for name in sorted(inside - _package_files()))
    for field, value in (("Name", project["name"]), ("Version", project["version"]), ("License-Expression", "MIT")):
        if metadata[field] != value:
            yield f"the metadata's {field} is {metadata[field]!r}, expected {value!r}"
    if set(metadata.get_all("Provides-Extra") or ()) != set(project["optional-dependencies"]):
        yield "the metadata's extras are not those of pyproject.toml"
    if "# ipv-bench" not in str(metadata.get_payload()):
        yield "the metadata has no README"
    if not any(PurePosixPath(name).name == "LICENSE" for name in names):
        yield "the wheel has no licence"
    if "ipv-bench = ipv_bench.cli:main" not in entry_points:
        yield "the wheel has no command `ipv-bench`"


def _sdist_problems(sdist: Path, project: dict) -> Iterator[str]:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    others = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "Makefile", "constraints.txt"}
    yield from (f"the sdist lacks {name}" for name in sorted((_package_files() | others) - names))
    caches = sorted(name for name in names if "__pycache__" in name or name.startswith((".venv", "runs/", "data/")))
    yield from (f"the sdist has {name}" for name in caches)


def _problems_alone(wheel: Path) -> Iterator[str]:
    """Whether the wheel runs where nothing of the checkout is seen; its dependencies are those of this environment."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        code = (
            f"import sys; sys.path.insert(0, {folder!r})\n"
            "import ipv_bench, reports.cli, pipelines.cli\n"
            f"assert ipv_bench.__file__.startswith({folder!r}), ipv_bench.__file__\n"
            "from ipv_bench.config import preset_names\nassert 'paper' in preset_names('pretrain')\n"
            "from ipv_bench.cli import run\nsys.exit(run(['--help']))"
        )
        command = [sys.executable, "-P", "-c", code]
        done = subprocess.run(command, cwd=folder, env={"PATH": ""}, capture_output=True, text=True)
        if done.returncode or "pretrain" not in done.stdout:
            yield f"the wheel does not run alone: {done.stderr.strip() or done.stdout}"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1])))
    print("\n".join(f"error: {problem}" for problem in found) or f"{sys.argv[1]}: sdist and wheel are whole")
    sys.exit(bool(found))
