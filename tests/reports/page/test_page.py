"""The page: well-formed, complete offline, and safe against whatever a run is called."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from reports.page import html
from reports.scores.findings import warning
from reports.tables.tables import Estimate, Link, Table

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> &amp; $x_1$ \x00\u202e\n]]> --> ∞ 名前"
VOID = {"meta", "link", "br", "img", "hr", "input"}


class PageParser(HTMLParser):
    """Checks nesting and unique ids, and collects tags, addresses and the text that a reader sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._attributes(attrs)

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href", "action", "data"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def parsed(markup: str) -> PageParser:
    """Parse a page and check what holds for every page."""
    parser = PageParser()
    parser.feed(markup)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert parser.tags.count("script") == 1
    assert parser.handlers == []
    outside = [one for one in parser.addresses if ":" in one and not one.startswith("data:")]
    assert outside == []
    return parser


def hostile_page() -> str:
    table = Table(
        "t", HOSTILE, [HOSTILE, "value"], [[HOSTILE, 1.0], [Link(HOSTILE, "javascript:alert(1)"), 2.0]], HOSTILE
    )
    page = html.Page(HOSTILE, HOSTILE)
    page.section(HOSTILE, html.paragraph(HOSTILE), html.table(table, [Link(HOSTILE, HOSTILE)]))
    page.section("warnings", html.finding_list([warning(HOSTILE, HOSTILE, HOSTILE, [HOSTILE])]))
    page.section("figure", html.figure('<?xml version="1.0"?>\n<svg></svg>', HOSTILE))
    return page.render()


def test_hostile_text_is_shown_as_text():
    parser = parsed(hostile_page())
    assert "img" not in parser.tags
    assert any("<script>alert(1)</script>" in text for text in parser.text)
    assert not any(one.lower().startswith("javascript:") for one in parser.addresses)
    assert "\x00" not in "".join(parser.text)
    assert "\u202e" not in "".join(parser.text)  # would turn the text behind it around


def test_the_page_may_load_nothing():
    markup = hostile_page()
    assert "default-src 'none'" in markup.replace("&#x27;", "'")
    assert "http://" not in markup
    assert "https://" not in markup


def test_numbers_carry_their_value_for_sorting():
    table = Table("t", "t", ["a", "b"], [[1.5, Estimate(0.25, 0.1, 0.3)], [float("inf"), None]])
    markup = html.table(table)
    assert 'data-value="1.5"' in markup
    assert 'data-value="0.25"' in markup
    assert 'data-value="inf"' in markup


def test_long_text_is_cut():
    assert len(html.text("x" * 100_000)) == html.TEXT_LIMIT


def test_a_table_of_the_wrong_width_is_refused():
    with pytest.raises(ValueError, match="3 cells under 2 columns|rows of \\[3\\]"):
        Table("t", "t", ["a", "b"], [[1, 2, 3]])
