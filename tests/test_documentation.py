"""The documentation: every page is in the site, every link and anchor leads somewhere, the tutorials' commands run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from ipv_bench.cli import run

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
LINK = re.compile(r"(?<!`)\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)")


class _Loader(yaml.SafeLoader):
    """Of mkdocs.yml, which may hold tags that only mkdocs knows."""


_Loader.add_multi_constructor("", lambda loader, suffix, node: None)


def _pages_of(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        yield from _pages_of(list(entry.values()))
    elif isinstance(entry, list):
        for each in entry:
            yield from _pages_of(each)


def test_every_page_is_found_in_the_site() -> None:
    """By the menu, or by a link of another page."""
    site = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)
    named = list(_pages_of(site["nav"]))
    assert len(named) == len(set(named))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(named) - {"changelog.md"} <= pages
    linked = {(page.parent / target).resolve() for page in PAGES for target, _ in LINK.findall(page.read_text())}
    assert [page for page in sorted(pages - set(named)) if DOCS / page not in linked] == []


@cache
def _anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, where site and code hosts make the same of them: the site drops letters that
    are not ASCII, and has one dash for several."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    hosts = {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.strip().lower())) for title in titles}
    return frozenset(anchor for anchor in hosts if anchor.isascii() and "--" not in anchor)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for target, anchor in LINK.findall(text):
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or not path.is_relative_to(ROOT):
            broken.append(target)
        elif path.is_dir() and path.is_relative_to(DOCS) and not (path / "README.md").exists():
            broken.append(f"{target}, a folder without a page, which the site cannot show")
        elif anchor and path.suffix == ".md" and anchor not in _anchors(path):
            broken.append(f"{target}#{anchor}")
    assert broken == []


def _commands(page: str) -> list[list[str]]:
    text = (DOCS / "tutorials" / page).read_text()
    return [shlex.split(line) for line in re.findall(r"^\$ ipv-bench (.*)$", text, re.MULTILINE)]


def test_the_commands_of_the_first_shards_and_the_first_figure_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shards = _commands("first_shards.md")
    assert [command[0] for command in shards] == ["sample", "prepare", "prepare", "verify", "inspect", "prepare"]
    for command in shards[:-1]:
        assert run(command) == 0, command
    shutil.copytree("data/raw/sample", "my_videos")
    assert run(shards[-1]) == 0
    table = re.search(r"```csv\n(.*?)```", (DOCS / "tutorials/first_figure.md").read_text(), re.DOTALL)
    assert table
    Path("scores.csv").write_text(table[1])
    for command in _commands("first_figure.md"):
        assert run(command) == 0, command
    assert Path("report/report.html").exists()


@pytest.mark.slow
def test_the_commands_of_the_first_pre_training_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    for command in _commands("first_pretraining.md"):
        done = subprocess.run([sys.executable, "-m", "ipv_bench", *command], cwd=tmp_path, env=here)
        assert done.returncode == 0, command
    assert (tmp_path / "runs/first/model/run.json").exists()


def test_the_site_is_built_strictly_and_asks_nothing_of_the_web(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    fetched = re.compile(r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+stylesheet[^>]+href=\"?https?:")
    assert [page.name for page in pages if fetched.search(page.read_text())] == []
