"""How wide text is in the figures' font, and where it is broken: figures are laid out by measuring, not by trying."""

from __future__ import annotations

import re
import warnings
from functools import cache, lru_cache
from typing import Any

from matplotlib.font_manager import FontProperties, findfont, get_font

FONT = "DejaVu Sans"
"""Ships with matplotlib, so every machine draws the same glyphs."""

LINE_HEIGHT = 1.2
"""Distance of two lines, in units of the font's size."""

_MEASURED_AT = 100
"""Points at which text is measured once; width is proportional to the size."""


@cache
def _font() -> Any:
    return get_font(findfont(FontProperties(family=FONT)))


@lru_cache(maxsize=20_000)
def _relative_width(text: str) -> float:
    font = _font()
    font.set_size(_MEASURED_AT, 72)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn, and measured, as a box
        font.set_text(text, 0.0)
    return float(font.get_width_height()[0]) / 64 / _MEASURED_AT


def text_width(text: str, size: float) -> float:
    """Width of a line of text in points.

    Args:
        text: one line.
        size: of the font in points.
    """
    return _relative_width(text) * size if text else 0.0


def wrapped(text: str, size: float, width: float, lines: int = 3) -> list[str]:
    """Text in lines of at most `width` points; what needs more than `lines` of them ends in "…".

    Broken at spaces, else behind `_ - / , @ =`, else anywhere: names of variants have no spaces.
    """
    found: list[str] = []
    current = ""
    for piece in _pieces(text, size, width):
        if current and text_width((current + piece).rstrip(), size) > width:
            found.append(current.rstrip())
            current = piece.lstrip()
        else:
            current += piece
    found.append(current.rstrip())
    if len(found) <= lines:
        return found
    last = found[lines - 1]
    while last and text_width(last + "…", size) > width:
        last = last[:-1]
    return [*found[: lines - 1], last + "…"]


def _pieces(text: str, size: float, width: float) -> list[str]:
    pieces: list[str] = []
    for piece in re.findall(r"[^ _\-/,@=]*[ _\-/,@=]*", text):
        while piece and text_width(piece.rstrip(), size) > width:
            fits = max(1, next(n for n in range(len(piece), -1, -1) if text_width(piece[:n], size) <= width))
            pieces.append(piece[:fits])
            piece = piece[fits:]
        if piece:
            pieces.append(piece)
    return pieces
