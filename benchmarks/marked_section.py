"""A page's part that a script writes: what stands between two marks, each a line of its own."""

from __future__ import annotations

from pathlib import Path

from ipv_bench.atomic_file import write_bytes


def write_section(page: Path, marks: tuple[str, str], text: str) -> None:
    """Put a text between the two marks of a page.

    Raises:
        SystemExit: there is no such page, or it has no such marks; it is as it was.
    """
    before, _, after = _parts(page, marks)
    write_bytes(page, f"{before}{marks[0]}\n{text}\n{marks[1]}{after}".encode())


def read_section(page: Path, marks: tuple[str, str]) -> str:
    """What stands between them.

    Raises:
        SystemExit: there is no such page, or it has no such marks.
    """
    return _parts(page, marks)[1].strip("\n")


def _parts(page: Path, marks: tuple[str, str]) -> tuple[str, str, str]:
    if not page.is_file():
        raise SystemExit(f"{page} is no file: expected a page with the lines `{marks[0]}` and `{marks[1]}`")
    text = page.read_text()
    begin, end = marks
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise SystemExit(f"{page} has no place for the tables: expected one line `{begin}` and one `{end}` after it")
    before, rest = text.split(begin)
    section, after = rest.split(end)
    return before, section, after
