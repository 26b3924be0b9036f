"""The package that docs/plugins.md shows, written to disk as `pip install` would lay it out."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
_BLOCK = re.compile(r"^```\w+\n# file: (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page_files() -> dict[str, str]:
    """File name → contents of every code block of the page that names a file."""
    return dict(_BLOCK.findall(PAGE.read_text()))


def install_page(folder: Path) -> None:
    """Write the page's package, with its dist-info, into `folder`, which is to be on the path."""
    files = page_files()
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    install(folder, project["name"], project["version"], project["entry-points"])
    (folder / "my_lab" / "__init__.py").touch()


def install(folder: Path, name: str, version: str, entry_points: dict[str, dict[str, str]]) -> None:
    """Write the dist-info folder of a distribution with these entry points (group → name → target)."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, targets in entry_points.items():
        lines += [f"[{group}]", *(f"{key} = {target}" for key, target in targets.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines))
