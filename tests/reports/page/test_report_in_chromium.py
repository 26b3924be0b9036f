"""The page in a real browser without a network: drawn, sortable, silent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reports.page.test_page import hostile_page

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
REASON = "no chromium or chromium-headless-shell (apt-get install --no-install-recommends chromium-headless-shell)"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=REASON)


class Visit:
    """A page that was opened, and everything that it said or asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: (self.errors.append(dialog.message), dialog.dismiss()))

    def open(self, path: Path) -> None:
        """Open a file."""
        self.page.goto(path.as_uri())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        shown = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield shown
        shown.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    yield Visit(context.new_page())
    context.close()


def test_the_report_is_drawn_without_a_network_or_an_error(visit: Visit, small_report: Path, tmp_path: Path):
    visit.open(small_report / "report.html")
    assert visit.page.locator("h1").inner_text() == "ipv-bench report"
    assert visit.page.locator("figure svg").count() >= 5
    boxes = [svg.bounding_box() for svg in visit.page.locator("figure svg").all()]
    assert all(box and box["width"] > 200 and box["height"] > 60 for box in boxes)
    # Dense content must not push the page wider than the window.
    assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert visit.requests == [(small_report / "report.html").as_uri()]
    assert visit.errors == []
    picture = Path(os.environ.get("IPV_BENCH_SCREENSHOTS", tmp_path)) / "report.png"
    visit.page.screenshot(path=str(picture), full_page=True)
    assert picture.stat().st_size > 50_000


def test_columns_sort_by_value_in_both_directions(visit: Visit, small_report: Path):
    visit.open(small_report / "report.html")
    table = visit.page.locator("table", has_text="Every run that was read")
    heading = table.locator("th", has_text="final score")
    cells = f"td:nth-child({1 + [th.inner_text() for th in table.locator('th').all()].index('final score')})"

    def values() -> list[float]:
        return [float(cell.get_attribute("data-value")) for cell in table.locator(cells).all()]

    before = values()
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(before)
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(before, reverse=True)
    assert visit.errors == []


def test_a_method_can_be_hidden_and_shown_again(visit: Visit, small_report: Path):
    visit.open(small_report / "report.html")
    box = visit.page.locator("fieldset.methods label", has_text="dreamerv2").locator("input")
    count = """(name) => Object.fromEntries(["tr", "td", "g"].map(tag => [tag,
        [...document.querySelectorAll(tag + "." + name)]
            .filter(one => getComputedStyle(one).display != "none").length]))"""

    def shown() -> dict[str, int]:
        return visit.page.evaluate(count, box.get_attribute("value"))

    before = shown()
    assert before["tr"] >= 10  # its runs, aggregates, comparisons
    assert before["td"] == 2  # its column of the final scores, for two tasks
    assert before["g"] > 10  # lines, bands, legends
    box.click()
    assert shown() == {"tr": 0, "td": 0, "g": 0}
    assert visit.page.locator("figure g[class]").first.is_visible()
    box.click()
    assert shown() == before
    assert visit.errors == []


def test_numbers_in_text_columns_sort_as_numbers(visit: Visit, tmp_path: Path):
    from reports.page import html
    from reports.tables.tables import Table

    page = html.Page("t")
    page.section("s", html.table(Table("t", "t", ["seed"], [["10"], ["9"], ["2"]])))
    (tmp_path / "page.html").write_text(page.render())
    visit.open(tmp_path / "page.html")
    visit.page.locator("th button").click()
    assert [cell.inner_text() for cell in visit.page.locator("td").all()] == ["2", "9", "10"]


def test_hostile_names_do_nothing(visit: Visit, tmp_path: Path):
    (tmp_path / "page.html").write_text(hostile_page())
    visit.open(tmp_path / "page.html")
    visit.page.wait_for_timeout(200)
    assert visit.errors == []
    assert visit.page.locator("img").count() == 0
    assert len(visit.requests) == 1
