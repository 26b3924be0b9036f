"""`export --to hf` of a shard set: the set itself, checked file by file, with a card.

    README.md  manifest.json  <name>-000000.tar …  sources.parquet  samples.parquet  frames.npy  quarantine.jsonl

It stays a shard set: `verify`, `open_segments` and plain webdataset read it. `prepare_log.jsonl`, which says on which
machine the set was made, is left behind.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ipv_bench.bounded_json import read_json_lines
from ipv_bench.errors import ShardSetError
from ipv_bench.exports.card import set_card
from ipv_bench.exports.checked_copy import checked_copy
from ipv_bench.exports.config import HfExportConfig
from ipv_bench.exports.licence import check_licence
from ipv_bench.file_names import path_inside
from ipv_bench.progress import progress
from ipv_bench.shard_set import CARD_FILE, MANIFEST_FILE, QUARANTINE_FILE, file_sha256, read_manifest

_REPAIR = "run `ipv-bench verify` on it; it says how to repair the set"


def check_set(place: Path, config: HfExportConfig) -> None:
    """Refuse a set that may not be shared, before anything is written.

    Raises:
        ShardSetError: it is unfinished, or its licence forbids it.
        ConfigError: no licence is given.
    """
    manifest = read_manifest(place)
    for name in (manifest.dataset, manifest.name):
        check_licence(f"{place}", name, config)


def write_hf_set(place: Path, folder: Path, config: HfExportConfig) -> int:
    """Write the set into a new folder; returns the number of bytes copied.

    Raises:
        ShardSetError: the set is unfinished or damaged.
        OutputError: the disk is full.
    """
    manifest = read_manifest(place)
    hashes = {**manifest.tables, **{shard.file: shard.sha256 for shard in manifest.shards}, MANIFEST_FILE: ""}
    size = 0
    with progress("export", len(hashes), "files") as bar:
        for name, sha256 in hashes.items():
            source = path_inside(place, name, str(place / MANIFEST_FILE), ShardSetError)
            size += checked_copy(source, folder / name, sha256, error=ShardSetError, fix=_REPAIR)
            bar.advance(1)
    quarantine = Counter(
        str(line.get("reason")) for line in read_json_lines(folder / QUARANTINE_FILE, error=ShardSetError, fix=_REPAIR)
    )
    card = set_card(manifest, config.licence, config.private, file_sha256(folder / MANIFEST_FILE), quarantine)
    (folder / CARD_FILE).write_text(card)
    return size
