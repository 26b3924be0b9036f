"""From a score back to the videos: run → checkpoint it started from → shard sets → inventory of the source files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ipv_bench.analysis_record import ANALYSIS_FILE, ARRAYS_FILE
from ipv_bench.machine_traces import in_one_workspace
from ipv_bench.run_record import EVALUATIONS_FILE, METRICS_FILE, RUN_FILE, renderers_of
from ipv_bench.shard_set import file_sha256
from reports.scores.score_table import PretrainedRun, ScoredRun
from reports.tables.tables import Cell, Link, Table

OUR_FILES = (RUN_FILE, EVALUATIONS_FILE, METRICS_FILE, ANALYSIS_FILE, ARRAYS_FILE)

HASH_SHOWN = 12
"""Characters of a hash on the page; the files hold all of them."""


def provenance_records(runs: Sequence[ScoredRun], pretrained: Sequence[PretrainedRun]) -> list[dict[str, Any]]:
    """One record per run for `report.json`, with whole hashes."""
    records = []
    for name, source, record in _named(runs, pretrained):
        records.append(
            {
                "run": name,
                "source": source,
                "parent": dict(record.get("parent") or {}),
                "shard_sets": list(record.get("shard_sets") or []),
                "pretraining": dict(record.get("pretraining") or {}),
                "preset": record.get("preset"),
                "overrides": dict(record.get("overrides") or {}),
                "env_fingerprint": dict(record.get("env_fingerprint") or {}),
                "renderers": renderers_of(record.get("hardware")),
                "packages": dict(record.get("packages") or {}),
                "git_commit": record.get("git_commit"),
                "status": record.get("status"),
                "world_size": record.get("world_size"),
            }
        )
    return records


def file_hashes(sources: Iterable[str]) -> dict[str, dict[str, str]]:
    """What figures were made from, for `ipv-bench trace`: folder or file → its files → sha256.

    Of a folder, the files of our formats that it holds; of a log of another project, the log when it is one file ("").
    A file that cannot be read has no hash: whoever needed it has said so, and `trace` takes it as not recorded.
    """
    return {source: _hashes(Path(source)) for source in dict.fromkeys(sources)}


def _hashes(source: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in OUR_FILES if source.is_dir() else ("",):
        path = source / name
        with suppress(OSError):
            if path.is_file():
                found[name] = file_sha256(path)
    return found


def provenance_table(runs: Sequence[ScoredRun], pretrained: Sequence[PretrainedRun], page_folder: Path) -> Table | None:
    """The chain of each run that states one; None when no run does."""
    rows: list[list[Cell]] = []
    for name, source, record in _named(runs, pretrained):
        parent = record.get("parent") or {}
        sets = record.get("shard_sets") or []
        if not record:
            continue
        rows.append(
            [
                run_link(name, source, page_folder),
                _text(parent.get("run") or parent.get("checkpoint")),
                _hash(parent.get("checkpoint_sha256")),
                _joined(one.get("name") for one in sets),
                _joined(_hash(one.get("manifest_sha256")) for one in sets),
                _joined(_hash(one.get("inventory_sha256")) for one in sets),
                _text(record.get("git_commit"))[:HASH_SHOWN],
            ]
        )
    if not rows:
        return None
    columns = [
        "run",
        "started from",
        "checkpoint sha256",
        "shard sets",
        "manifest sha256",
        "inventory sha256",
        "commit",
    ]
    note = f"The first {HASH_SHOWN} characters of each hash; report.json holds all of them."
    return Table("provenance", "Run → checkpoint → shard set → source inventory", columns, rows, note)


def run_link(text: str, source: str, page_folder: Path) -> Link | str:
    """A link from the page to a run's folder or file; the text alone where the way there would tell of this machine."""
    if not in_one_workspace(source, page_folder):
        return text
    return Link(text, os.path.relpath(os.path.abspath(source), os.path.abspath(page_folder)).replace(os.sep, "/"))


def _named(runs: Sequence[ScoredRun], pretrained: Sequence[PretrainedRun]) -> list[tuple[str, str, Mapping[str, Any]]]:
    found = [(run.name, run.source, run.record) for run in pretrained]
    return found + [(run.name, run.source, run.record) for run in runs]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _hash(value: Any) -> str:
    return _text(value)[:HASH_SHOWN]


def _joined(values: Any) -> str:
    return ", ".join(_text(value) for value in values if value)
