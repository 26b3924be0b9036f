"""What the site does beyond mkdocs: pages made at build time, and links to files of the repository.

The pages in docs/ are read in the repository too, so they link to its files by relative paths. A file outside of docs/
that a page names is copied into the site, below `source/`; a link to a folder goes to its README. mkdocs then checks
every link, and the build is strict.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCE = "source"
LINK = re.compile(r"(?<=\]\()(?!https?://|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
COMMANDS = "<!-- commands -->"
CHANGELOG = "changelog.md"
WORKER = "assets/worker_in_a_frame.js"
WORKER_FROM_THE_WEB = "https://unpkg.com/iframe-worker/shim"
LOG = logging.getLogger("mkdocs.hooks")


def on_files(files: Any, config: Any) -> Any:
    """Add the changelog as a page, and every file of the repository that a page names."""
    files.append(File.generated(config, CHANGELOG, content=(ROOT / "CHANGELOG.md").read_text()))
    files.append(File.generated(config, WORKER, abs_src_path=str(Path(__file__).parent / "worker_in_a_frame.js")))
    named = {target for page in files.documentation_pages() for target in _outside(page)}
    for target in sorted(named):
        files.append(File.generated(config, f"{SOURCE}/{_shown_name(target)}", abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links to files of the repository to their copies, and those to folders to their pages."""
    here = page.file.src_uri
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, command_reference())
    return LINK.sub(lambda found: _target(here, found[1]) + (found[2] or ""), markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Give the theme's search our substitute for workers, where it would fetch one from the web."""
    if WORKER_FROM_THE_WEB not in output:
        LOG.warning("%s names no %s: does search still work from a disk?", page.file.src_uri, WORKER_FROM_THE_WEB)
    return output.replace(WORKER_FROM_THE_WEB, relpath(WORKER, str(PurePosixPath(page.file.dest_uri).parent)))


def on_post_template(output_content: str, template_name: str, config: Any) -> str:
    """The same in the page that a server shows for what it does not have."""
    return output_content.replace(WORKER_FROM_THE_WEB, WORKER)


def command_reference() -> str:
    """`--help` of every command, as markdown."""
    import click

    from ipv_bench.cli import cli

    lines: list[str] = []
    root = click.Context(cli, info_name="ipv-bench")
    for name, command in _commands(cli, root, "ipv-bench"):
        text = command.get_help(click.Context(command, info_name=name, max_content_width=100, terminal_width=100))
        lines += [f"## {name}", "", "```text", text, "```", ""]
    return "\n".join(lines)


def _commands(group: Any, context: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    import click

    for name in group.list_commands(context):
        command = group.get_command(context, name)
        full = f"{prefix} {name}"
        yield full, command
        if isinstance(command, click.Group):
            yield from _commands(command, click.Context(command, info_name=full), full)


def _outside(page: Any) -> Iterator[str]:
    """Files of the repository outside of docs/ that a page links to, from the root."""
    text = page.content_string
    for found in LINK.finditer(text):
        path = _from_root(page.src_uri, found[1])
        if not path.startswith("docs/") and (ROOT / path).is_file() and path != "CHANGELOG.md":
            yield path


def _from_root(page: str, link: str) -> str:
    return normpath(f"docs/{PurePosixPath(page).parent}/{link}")


def _shown_name(path: str) -> str:
    """A page of the repository is shown as text: it is no page of the site, and its own links would lead nowhere."""
    return f"{path}.txt" if path.endswith((".md", ".py", ".yml", ".yaml", ".toml", ".sh", ".jsonl")) else path


def _target(page: str, link: str) -> str:
    path = _from_root(page, link)
    folder = str(PurePosixPath(page).parent)
    if path.startswith("docs/"):
        readme = ROOT / path / "README.md"
        return relpath(f"{path.removeprefix('docs/')}/README.md", folder) if readme.is_file() else link
    if path == "CHANGELOG.md":
        return relpath(CHANGELOG, folder)
    if path == "README.md":
        return relpath("index.md", folder)
    return relpath(f"{SOURCE}/{_shown_name(path)}", folder) if (ROOT / path).is_file() else link
