"""The page: one file with everything inside, for a browser without a network.

Every piece of text passes through `html.escape`: nothing from a run reaches the page as markup. The page's content
security policy forbids it to load anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from urllib.parse import quote

from reports.scores.findings import Finding
from reports.tables.tables import Cell, Estimate, Link, Table, cell_text
from reports.text import hide_name, plain

LONG_CELL = 36
"""Characters above which a cell's text may be broken anywhere."""

ON_SCREEN = 1.4
"""Width of a figure on the page, relative to paper."""

METHOD_COLUMNS = ("method", "X", "Y")
"""Columns whose cells name a row's method."""

TEXT_LIMIT = 4000
"""Longer texts from a run (a whole traceback as a task name) are cut on the page."""


@dataclass
class Page:
    """A page that is put together section by section.

    Attributes:
        title: heading and window title.
        subtitle: one line below it.
        methods: labels of the methods that can be hidden.
    """

    title: str
    subtitle: str = ""
    methods: Sequence[str] = ()
    _sections: list[tuple[str, str, str]] = field(default_factory=list)

    def section(self, heading: str, *parts: str) -> None:
        """Add a section of markup made by the functions of this module."""
        anchor = f"s{len(self._sections) + 1}"
        self._sections.append((anchor, heading, "\n".join(part for part in parts if part)))

    def render(self) -> str:
        """The whole page."""
        style, script = _asset("page.css"), _asset("page.js")
        policy = (
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "  # SVG has style attributes
            f"script-src '{_csp_hash(script)}'; base-uri 'none'; form-action 'none'"
        )
        links = "".join(f'<li><a href="#{anchor}">{text(heading)}</a></li>' for anchor, heading, _ in self._sections)
        body = "\n".join(
            f'<section id="{anchor}">\n<h2>{text(heading)}</h2>\n{markup}\n</section>'
            for anchor, heading, markup in self._sections
        )
        switches = method_switches(self.methods) if len(self.methods) > 1 else ""
        subtitle = f'<p class="subtitle">{text(self.subtitle)}</p>' if self.subtitle else ""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy, quote=True)}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<link rel="icon" href="data:,">\n'
            f"<title>{text(self.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
            f"<header><h1>{text(self.title)}</h1>{subtitle}</header>\n"
            f"<nav><ul>{links}</ul></nav>\n{switches}\n<main>\n{body}\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
        )


def _asset(name: str) -> str:
    return (resources.files("reports") / "page" / name).read_text(encoding="utf-8")


def _csp_hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def text(value: object) -> str:
    """Text from anywhere, made safe for the page: printable, escaped, of bounded length."""
    return escape(plain(value, TEXT_LIMIT), quote=True)


def paragraph(value: object) -> str:
    """A paragraph of text."""
    return f"<p>{text(value)}</p>"


def link(shown: Link) -> str:
    """A link to a file beside the page; the path is quoted, so that it can never be a script."""
    return f'<a href="{escape(quote(shown.href, safe="/.-_~@+=,"), quote=True)}">{text(shown.text)}</a>'


def bullet_list(items: Iterable[object]) -> str:
    """A list of texts."""
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>"


def figure(svg: str, caption: str, files: Sequence[Link] = ()) -> str:
    """An SVG that this program drew (never one that was read), with its caption and the files of it."""
    start = svg.index("<svg")
    shown = re.sub(r'\b(width|height)="([\d.]+)pt"', _enlarged, svg[start:].strip(), count=2)
    downloads = " ".join(link(one) for one in files)
    return (
        f'<figure role="img" aria-label="{text(caption)}">{shown}'
        f'<figcaption>{text(caption)} <span class="files">{downloads}</span></figcaption></figure>'
    )


def moving_picture(gif: bytes | None, caption: str, file: Link) -> str:
    """A moving picture with its caption: inside the page, or (None) as a link alone."""
    shown = ""
    if gif is not None:
        address = f"data:image/gif;base64,{base64.b64encode(gif).decode()}"
        shown = f'<img alt="{text(caption)}" src="{address}">'
    left_out = "" if gif is not None else " Too large to stand inside the page."
    below = f'{text(caption)}{left_out} <span class="files">{link(file)}</span>'
    return f"<figure>{shown}<figcaption>{below}</figcaption></figure>"


def _enlarged(size: re.Match[str]) -> str:
    # Letters of 7 points are for paper; a screen is read from farther away.
    return f'{size[1]}="{ON_SCREEN * float(size[2]):g}pt"'


def method_switches(labels: Sequence[str]) -> str:
    """A box per method that hides it in all figures and tables; shown by the script, which makes them work."""
    boxes = "".join(
        f'<label><input type="checkbox" checked value="{hide_name(label)}"> {text(label)}</label>' for label in labels
    )
    return f'<fieldset class="methods" hidden><legend>Methods shown</legend>{boxes}</fieldset>'


def finding_list(findings: Sequence[Finding]) -> str:
    """Refusals, warnings and notes, each with what can be done and what it is about."""
    if not findings:
        return paragraph("Nothing was found that could mislead.")
    items = []
    for one in findings:
        subjects = _subjects(one.subjects)
        fix = f' <span class="fix">{text(one.fix)}</span>' if one.fix else ""
        head = f'<span class="level">{text(one.level)}</span> {text(one.text)}{fix}'
        items.append(f'<li class="{one.level}" data-code="{text(one.code)}">{head}{subjects}</li>')
    return f'<ul class="findings">{"".join(items)}</ul>'


def _subjects(subjects: Sequence[str]) -> str:
    if not subjects:
        return ""
    shown = "".join(f"<li>{text(subject)}</li>" for subject in subjects[:200])
    more = f"<li>… and {len(subjects) - 200} more</li>" if len(subjects) > 200 else ""
    return f"<details><summary>{len(subjects)} concerned</summary><ul>{shown}{more}</ul></details>"


def table(content: Table, files: Sequence[Link] = (), limit: int = 5000, methods: Collection[str] = ()) -> str:
    """A table whose columns can be sorted by a click or by Enter on the heading.

    Args:
        content: the table.
        files: of it, for download.
        limit: rows shown.
        methods: whose columns and rows can be hidden.
    """
    if not content.rows:
        return ""
    columns = [hide_name(name) if name in methods else "" for name in content.columns]
    places = [index for index, name in enumerate(content.columns) if name in METHOD_COLUMNS]
    head = "".join(
        f'<th scope="col" aria-sort="none"{_class(hide)}><button type="button">{text(name)}</button></th>'
        for name, hide in zip(content.columns, columns, strict=True)
    )
    rows = "".join(
        f"<tr{_class(*(hide_name(str(row[place])) for place in places if row[place] in methods))}>"
        + "".join(_cell(cell, hide) for cell, hide in zip(row, columns, strict=True))
        + "</tr>"
        for row in content.rows[:limit]
    )
    cut = f"The first {limit} of {len(content.rows)} rows; the files hold all." if len(content.rows) > limit else ""
    notes = " ".join(part for part in (content.note, cut) if part)
    downloads = " ".join(link(one) for one in files)
    after = f'<p class="note">{text(notes)} <span class="files">{downloads}</span></p>' if notes or downloads else ""
    return (
        f'<div class="table"><table class="sortable"><caption>{text(content.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{after}"
    )


def _cell(cell: Cell, hide: str) -> str:
    if isinstance(cell, Link):
        return f"<td{_class(hide, _width(cell.text))}>{link(cell)}</td>"
    shown = text(cell_text(cell))
    if isinstance(cell, int | float | Estimate):
        value = cell.point if isinstance(cell, Estimate) else cell
        return f'<td{_class(hide, "number")} data-value="{float(value)!r}">{shown}</td>'
    return f"<td{_class(hide, _width(shown))}>{shown}</td>"


def _width(shown: str) -> str:
    return "long" if len(shown) > LONG_CELL else ""


def _class(*names: str) -> str:
    kept = " ".join(name for name in names if name)
    return f' class="{kept}"' if kept else ""
