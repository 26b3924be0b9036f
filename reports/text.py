"""Words and numbers as figures, tables and file names show them."""

from __future__ import annotations

import hashlib
import unicodedata


def short_number(value: float) -> str:
    """250000 as "250k", 1500000 as "1.5M"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def file_name(text: str) -> str:
    """A name for files: ASCII letters, digits, `-` and `_`, at most 80 of them."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text)[:80] or "unnamed"


def plain(text: object, limit: int = 80) -> str:
    """Text from a run, made safe to draw: one line, printable characters only, at most `limit` of them."""
    shown = str(text)
    if not (shown.isascii() and shown.isprintable()):  # nearly all are, and a report has a hundred thousand texts
        shown = "".join(c if unicodedata.category(c)[0] not in "CZ" or c == " " else "·" for c in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def hide_name(label: str) -> str:
    """The name by which the page hides a method: letters and digits, the same for the same label."""
    return f"m{hashlib.blake2s(label.encode('utf-8', 'replace'), digest_size=5).hexdigest()}"
