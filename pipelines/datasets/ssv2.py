"""Something-Something-v2: 220,847 short webm files of people handling objects, with label lists in JSON.

Read as distributed: a folder of webm files or the split archives, and the lists in either naming. The paper's profile
takes train and validation and keeps videos of at least 25 decoded frames; the official code converts train only, keeps
every length and filters when it loads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ipv_bench.bounded_json import read_json
from ipv_bench.errors import SourceError, nearest_name
from pipelines.datasets.base import Count, Inventory, SourceItem, SourceRow, VideoFile
from pipelines.datasets.file_tree import FileTree, FoundFile, list_files
from pipelines.datasets.named_files import NamedFiles
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.split_archive import find_pieces, list_members
from pipelines.datasets.unique_items import sorted_unique

LIST_NAMES = {
    "train": ("something-something-v2-train.json", "train.json"),
    "validation": ("something-something-v2-validation.json", "validation.json"),
    "test": ("something-something-v2-test.json", "test.json"),
    "labels": ("something-something-v2-labels.json", "labels.json"),
}
"""List → the names it is distributed under."""

Split = Literal["train", "validation", "test"]

ARCHIVE = "20bn-something-something-v2"
"""Name of the split archive, before `-00`."""


class SSv2Config(PrepareConfig):
    """Defaults of the `paper` profile."""

    min_frames: int = Field(25, ge=0)
    """Videos with fewer decoded frames are not written; the paper samples segments of 25."""
    splits: tuple[Split, ...] = Field(("train", "validation"), min_length=1)
    """Splits that are written."""


@dataclass(frozen=True)
class _Entry:
    """A video as the lists name it."""

    source_id: str
    split: str
    label: str
    problem: tuple[str, str] | None
    metadata: Mapping[str, Any]


class SSv2:
    """See `pipelines.datasets.base.DataSet`."""

    name = "ssv2"
    config: type[PrepareConfig] = SSv2Config
    profiles: Mapping[str, Mapping[str, Any]] = {
        "paper": {},
        "official-code": {"splits": ("train",), "min_frames": 1},
    }
    redistribution = "the licence of Something-Something-v2 does not allow it; everybody has to apply for the videos"
    licence = (
        "Something-Something-v2 is licensed by Qualcomm for research only; it must be applied for and must not be "
        "passed on, also not as shards."
    )
    help = (
        "apply at https://www.qualcomm.com/developer/software/something-something-v-2-dataset, then lay out "
        "<source>/20bn-something-something-v2/*.webm (or the split archives 20bn-something-something-v2-00, -01, …) "
        "and <source>/labels/{train,validation,test,labels}.json; `ipv-bench sample DIR` makes a tiny one"
    )

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """See `DataSet.inventory`."""
        assert isinstance(config, SSv2Config)
        tree = list_files(source)
        entries, list_warnings = _read_lists(source, tree, config.splits)
        files, pieces = tree.with_suffixes((".webm",)), ()  # type: Sequence[FoundFile], tuple[str, ...]
        if not files:
            pieces = find_pieces(tree, ARCHIVE)
            files = list_members(source, pieces, ".webm") if pieces else ()
        videos = NamedFiles(files, lambda file: file.stem)
        if not videos:
            raise SourceError(
                f"{source} holds no .webm file and no split archive {ARCHIVE}-00 …",
                expected="20bn-something-something-v2/*.webm",
                fix=self.help,
            )
        _refuse_half_extracted(source, entries, videos, config)
        picked = [videos.pick(entry.source_id, (entry.split, ARCHIVE)) for entry in entries]
        items = [_item(entry, file, config) for entry, file in zip(entries, picked, strict=True)]
        unlisted = len(videos.names() - {entry.source_id for entry in entries})
        rule = f"a folder named as the split goes first, then {ARCHIVE}/, then the first by path"
        warnings = [*tree.warnings, *list_warnings, *videos.warnings("videos", rule)]
        if unlisted:
            warnings.append(f"{unlisted} webm files are in no list; they are left out")
        replaced = {file.path: file.replaces for file in files if file.replaces}
        if replaced:
            held = f"{len(replaced)} webm files are in the archive more than once, such as {min(replaced)}"
            warnings.append(f"{held}: the last of each is taken, as unpacking leaves it")
        return Inventory(sorted_unique(items), warnings=tuple(warnings), archive=pieces, replaced=replaced)

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """See `DataSet.counts`."""
        by_split = {"train": 0, "validation": 0}
        long_enough = {"train": 0, "validation": 0}
        for item, row in zip(inventory.items, rows, strict=True):
            if item.split in by_split:
                by_split[item.split] += 1
                long_enough[item.split] += row.status == "written" and row.num_frames_decoded >= 25
        both = "the official frame counts of train and validation give 186,067"
        return [
            Count("listed in train", by_split["train"], official=168_913),
            Count("listed in validation", by_split["validation"], official=24_777),
            Count("of train, written and at least 25 decoded frames", long_enough["train"], official=162_074),
            Count(
                "of train and validation, written and at least 25 decoded frames",
                sum(long_enough.values()),
                paper=185_000,
                official=186_067,
                note=f"the paper says 185K; {both}",
            ),
            Count(f"written by this profile ({' and '.join(_splits(config))}, at least {config.min_frames} frames)",
                  sum(row.status == "written" for row in rows)),
        ]  # fmt: skip


def _splits(config: PrepareConfig) -> tuple[str, ...]:
    assert isinstance(config, SSv2Config)
    return config.splits


def _read_lists(source: Path, tree: FileTree, splits: Sequence[str]) -> tuple[list[_Entry], list[str]]:
    """The entries of the lists, and warnings."""
    known = {name: kind for kind, names in LIST_NAMES.items() for name in names}
    listed = [file for file in tree.with_suffixes((".json",)) if file.name in known]
    files = NamedFiles(listed, lambda file: known[file.name])
    lists: dict[str, Any] = {}
    for kind in LIST_NAMES:
        found = files.pick(kind, ("labels",))
        if found is not None:
            lists[kind] = _read_json(source / found.path)
    missing = [LIST_NAMES[kind][1] for kind in (*splits, "labels") if kind not in lists]
    if missing:
        raise SourceError(
            f"{source} has no {' and no '.join(missing)}",
            expected="the label lists: labels/train.json or labels/something-something-v2-train.json, and so on",
            fix=SSv2.help,
        )
    labels = lists["labels"]
    if not isinstance(labels, dict):
        raise SourceError(
            f"the labels list in {source} holds a {type(labels).__name__}",
            expected='{"Holding …": "19"}',
            fix="take it as released",
        )
    entries = []
    for split in ("train", "validation", "test"):
        listed = lists.get(split, [])
        if not isinstance(listed, list):
            raise SourceError(
                f"the {split} list in {source} holds a {type(listed).__name__}",
                expected='[{"id": "78687", …}, …]',
                fix="take it as released",
            )
        for number, values in enumerate(listed):
            entries.append(_entry(split, number, values, labels))
    return entries, files.warnings("label lists", "labels/ goes first, then the first by path")


def _read_json(path: Path) -> Any:
    return read_json(path, error=SourceError, fix="download it again; it must be JSON as released")


def _entry(split: str, number: int, values: Any, labels: Mapping[str, Any]) -> _Entry:
    if not isinstance(values, dict) or not isinstance(values.get("id"), str | int):
        raise SourceError(
            f"entry {number} of the {split} list is {json.dumps(values)[:80]}",
            expected='{"id": "78687", "template": …}',
            fix="take the list as released",
        )
    source_id = str(values["id"])
    if split == "test":
        return _Entry(source_id, split, "", None, {})
    template = values.get("template")
    label = template.replace("[", "").replace("]", "") if isinstance(template, str) else ""
    problem = None
    if label not in labels:
        near = nearest_name(label, labels)
        hint = f"; the nearest is {near!r}" if near else ""
        problem = ("bad_annotation", f"its template {label!r} is not in the labels list{hint}")
    metadata = {key: values[key] for key in ("label", "placeholders") if key in values}
    return _Entry(source_id, split, label, problem, metadata)


def _item(entry: _Entry, file: FoundFile | None, config: SSv2Config) -> SourceItem:
    excluded = "" if entry.split in config.splits else f"the {entry.split} split is not part of this profile"
    problem = None if excluded else entry.problem
    path = file.path if file else f"{entry.source_id}.webm"
    if file is None and not excluded:
        problem = problem or ("missing", "the lists name it, and there is no such .webm file")
    if file is not None and not excluded:
        problem = problem or file.problem
    return SourceItem(
        entry.source_id,
        path,
        file.size_bytes if file else 0,
        VideoFile(path) if file and not problem and not excluded else None,
        label=entry.label,
        split=entry.split,
        excluded=excluded,
        problem=problem,
        metadata=entry.metadata,
    )


def _refuse_half_extracted(source: Path, entries: Sequence[_Entry], videos: NamedFiles, config: SSv2Config) -> None:
    wanted = [entry.source_id for entry in entries if entry.split in config.splits]
    missing = [source_id for source_id in wanted if source_id not in videos]
    if len(missing) > max(1, config.max_failure_rate * len(wanted)):
        raise SourceError(
            f"{len(missing):,} of the {len(wanted):,} listed videos are missing in {source}, such as {missing[0]}.webm",
            expected=f"all of them; at most {config.max_failure_rate:.0%} may be missing (max_failure_rate)",
            fix="finish extracting the archives; " + SSv2.help,
        )


DATA_SET = SSv2()
