"""The plan of a job: which source item goes to which shard. A function of the sorted inventory and the options."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ipv_bench.shard_set import called, sample_keys, shard_name
from pipelines.datasets.base import Inventory, SourceItem, item_text
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.decoding.pixels_revision import PIXELS_REVISION


@dataclass(frozen=True)
class ShardTask:
    """One shard: all that is needed to make it, anywhere.

    Attributes:
        index: of the shard.
        first: number of its first item in the inventory.
        items, keys: its items in order, and their sample keys.
        item_hashes: of all that is known about each item; a finished shard with others is of another plan.
    """

    name: str
    index: int
    first: int
    items: tuple[SourceItem, ...]
    keys: tuple[str, ...]
    source: Path
    out: Path
    config: PrepareConfig
    options: dict[str, Any]
    item_hashes: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the tar."""
        return shard_name(self.name, self.index)

    @property
    def sidecar(self) -> Path:
        """The small file beside the tar that says what is in it."""
        return self.out / self.file.replace(".tar", ".json")


@dataclass(frozen=True)
class Plan:
    """All shards of a job.

    Attributes:
        name: of the set.
        options: data set, profile, limit, revision of the pixels, and every config field that determines bytes.
        inventory: of the release, cut to `limit` items.
    """

    name: str
    profile: str
    options: dict[str, Any]
    inventory: Inventory
    config: PrepareConfig
    tasks: tuple[ShardTask, ...]

    @property
    def called(self) -> str:
        """For people: the name, and what it is a set of where that is not the same."""
        return called(self.name, self.options["data_set"])

    def sha256(self) -> str:
        """Hash of inventory and options."""
        return _sha256([self.inventory.sha256(), self.options])


def make_plan(
    dataset: str, profile: str, inventory: Inventory, config: PrepareConfig, limit: int | None, source: Path, out: Path
) -> Plan:
    """Assign the items of a data set to shards, in order."""
    if limit is not None:
        inventory = replace(inventory, items=inventory.items[:limit])
    name = config.name or dataset
    options = {"data_set": dataset, "profile": profile, "limit": limit, "pixels": PIXELS_REVISION, **config.options()}
    items = inventory.items
    keys = sample_keys([item.source_id for item in items])
    step = config.shard_videos or default_shard_videos(len(items))
    tasks = []
    for index, first in enumerate(range(0, len(items), step)):
        part = items[first : first + step]
        hashes = tuple(hashlib.sha256(item_text(item)).hexdigest()[:16] for item in part)
        shard_keys = tuple(keys[first : first + step])
        tasks.append(ShardTask(name, index, first, part, shard_keys, source, out, config, options, hashes))
    return Plan(name, profile, options, inventory, config, tuple(tasks))


def default_shard_videos(num_items: int) -> int:
    """A sixteenth of the items, so that a few cores have work, but 4 … 256: 256 short videos are about 40 MB."""
    return min(256, max(4, -(-num_items // 16)))


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
