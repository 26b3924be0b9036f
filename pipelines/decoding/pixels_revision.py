"""The revision of the rules that turn decoded pictures into stored pixels."""

from __future__ import annotations

from typing import Any

PIXELS_REVISION = 3
"""Grows with every change of stored pixels; part of a plan's options, so of its hash and of the manifest."""

REVISIONS = {
    1: "subsampled colour at half of its horizontal resolution, mirrored pictures as stored, interlaced fields apart",
    2: "full chroma, all eight orientations, interlaced fields together, centre squares in displayed pixels",
    3: "full chroma and all else of revision 2; TIFFs of JPEG's data, in tiles or of YCbCr, turned by their own tag; "
    "H.264 in AVI, and picture folders with gaps, in their own times",
}
"""Revision → what is special about it."""


def pixels_revision(options: dict[str, Any]) -> int:
    """The revision that a shard or a manifest was made with, from its options; without a number it is the first."""
    found = options.get("pixels", 1)
    return found if isinstance(found, int) else 1
