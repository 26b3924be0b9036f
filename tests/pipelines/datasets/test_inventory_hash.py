"""The text that inventories are hashed by: what `dataclasses.asdict` gives, as it was when the first sets were made."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest

from pipelines.datasets.base import (
    FrameSelection,
    ImageFiles,
    Inventory,
    SourceItem,
    TableRows,
    TableVideo,
    TrackFile,
    TrackRows,
    TrackSpec,
    VideoFile,
    VideoRange,
    item_text,
)

ROWS = TableRows("x.parquet", 1, 2, ("episode", 1), 99)
SPEC = TrackSpec("action", "float32", (2,), "newton")
ITEMS = (
    SourceItem("é1", "p.webm", 3, VideoFile("p.webm"), "a label", metadata={"b": ["a", "ü"], "a": {"y": 1.5}}),
    SourceItem("2", "f", 3, ImageFiles("f", ("a", "b"), (1, 2), (3, 4), 9), boxes=((1, 2, 3, 4), (5, 6, 7, 8))),
    SourceItem("3", "f", 3, None, problem=("missing", "no such file"), selection=FrameSelection(positions=(1, 2))),
    SourceItem("4", "x", 3, TableVideo(ROWS, "video"), tracks=TrackFile("p.npz", (SPEC,), ("action",))),
    SourceItem("5", "x", 3, VideoRange("x.mp4", 1 / 3, 2, 29.97), tracks=TrackRows(ROWS, (SPEC,), ("c",)), fps=1e-7),
)


def reference(item: SourceItem) -> bytes:
    facts = dataclasses.asdict(item)
    if item.tracks is None:
        del facts["tracks"]
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.source_id)
def test_the_text_of_an_item_stays(item: SourceItem) -> None:
    assert item_text(item) == reference(item)


def test_an_inventory_is_hashed_over_its_items_in_order() -> None:
    found = Inventory(ITEMS)
    assert found.sha256() == hashlib.sha256(b"".join(map(reference, ITEMS))).hexdigest()
    shorter = dataclasses.replace(found, items=ITEMS[:2])
    assert shorter.sha256() == hashlib.sha256(b"".join(map(reference, ITEMS[:2]))).hexdigest()


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no place in an inventory"):
        item_text(SourceItem("1", "p", 0, None, metadata={"a": object()}))
