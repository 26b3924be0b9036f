"""Any tree of videos, folders of numbered pictures, and Parquet files that hold videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ipv_bench.errors import ConfigError, SourceError, UnknownNameError
from pipelines.datasets.base import Count, Inventory, SourceItem, SourceRow, VideoFile
from pipelines.datasets.file_tree import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FileTree, FoundFile, list_files
from pipelines.datasets.frame_folders import NumberedFolder, doubts, missing_number, numbered_folders
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.datasets.unique_items import sorted_unique

TABLE_SUFFIX = ".parquet"
_BY_PLACE = ("none", "folder")


class FolderConfig(PrepareConfig):
    """Fields of `prepare folder`."""

    gaps: Literal["quarantine", "allow"] = "quarantine"
    """What becomes of a folder of pictures in whose numbering some are missing."""
    label_from: str = "none"
    """Where labels come from: `none`, `folder` (its name), or a column of the tables that hold the videos."""
    video_column: str = ""
    """Column of Parquet files that holds the videos; empty takes the only one."""

    source_fps: float | None = Field(None, gt=0)
    """Frames per second of folders of pictures, which state none themselves; null: unknown."""

    def options(self) -> dict[str, Any]:
        """Without what came later and is not set: other sets are what they were before."""
        later = {"video_column": "", "source_fps": None}
        return {key: value for key, value in super().options().items() if key not in later or value != later[key]}


class Folder:
    """See `pipelines.datasets.base.DataSet`."""

    name = "folder"
    config = FolderConfig
    profiles: Mapping[str, Mapping[str, Any]] = {"paper": {}}
    licence = "as the source's own; ipv-bench does not know it"
    help = (
        "point --source at a folder that holds, at any depth, video files or folders of pictures with numbers in their "
        "names (docs/datasets/folder.md)"
    )

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the folder: one item per video file and per folder of pictures; the id is the relative path."""
        assert isinstance(config, FolderConfig)
        tree = list_files(source)
        items = [_video(file, config) for file in tree.with_suffixes(VIDEO_SUFFIXES)]
        folders = numbered_folders(tree.with_suffixes(IMAGE_SUFFIXES))
        items += [_sequence(folder, config) for folder in folders]
        items, warnings, notes = _with_tables(source, tree, items, config)
        warnings += tree.left_out({*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, TABLE_SUFFIX})
        if not items:
            lerobot = any(file.path == "meta/info.json" for file in tree.files)
            raise SourceError(
                f"{source} has no video and no picture in its {len(tree.files)} files"
                + "".join(f"; {warning}" for warning in warnings),
                expected="video files, folders of numbered pictures, or Parquet files that hold videos",
                fix="it looks like a LeRobot data set: `ipv-bench prepare lerobot`" if lerobot else self.help,
            )
        if config.source_fps and not folders:
            warnings.append(f"source_fps={config.source_fps:g} is for folders of numbered pictures, and there is none")
        if config.video_column and not any(file.suffix == TABLE_SUFFIX for file in tree.files):
            warnings.append(f"video_column={config.video_column} is for Parquet files, and there is none")
        warnings = [*tree.warnings, *doubts(folders), *warnings]
        return Inventory(sorted_unique(items), warnings=tuple(warnings), notes=tuple(notes))

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Items found and written."""
        written = sum(row.status == "written" for row in rows)
        rule = f"of them with at least {max(config.min_frames, 1)} kept frames"
        return [Count("videos and folders of pictures found", len(rows)), Count(rule, written)]


def _with_tables(
    source: Path, tree: FileTree, items: list[SourceItem], config: FolderConfig
) -> tuple[list[SourceItem], list[str], list[str]]:
    """The items, and one for each row of the tables with videos; a video that a table names is that row's.

    Then warnings of columns that are not taken, and notes of those beside one that is.
    """
    files = [file for file in tree.with_suffixes({TABLE_SUFFIX}) if not file.problem]
    if not files:
        if config.label_from not in _BY_PLACE:
            raise ConfigError(
                f"label_from={config.label_from}: {source} has no Parquet file", expected="none or folder",
                fix="name the column of a table that holds the videos",
            )  # fmt: skip
        return items, [], []
    from ipv_bench.bounded_tables import column_names
    from pipelines.datasets.hub_tables import open_table, table_items

    sizes = {file.path: file.size_bytes for file in tree.files if not file.problem}
    column = "" if config.label_from in _BY_PLACE else config.label_from
    found: list[SourceItem] = []
    passed_over: Counter[tuple[str, str, bool]] = Counter()
    num_tables = 0
    for file in files:
        try:
            table = open_table(source, file, config.video_column, column, passed_over)
        except SourceFailure as failure:  # the other files are as good as they were
            found.append(replace(_video(file, config), frames=None, problem=(failure.reason, failure.message)))
            continue
        if table is not None:
            num_tables += 1
            found += table_items(table, sizes, lambda file: _label(file, config))
    if config.video_column and not found:
        fix = "copy or download the file again, or move it out of the source"
        names = {name for file in files for name in column_names(source / file.path, error=SourceError, fix=fix)}
        raise UnknownNameError("column with videos", config.video_column, names)
    if column and not num_tables and not found:  # a damaged table may hold them: it is an item with that problem
        raise ConfigError(
            f"label_from={column}: none of the {len(files)} Parquet files in {source} holds or names videos",
            expected="a column of a table with videos",
            fix="leave it, or name the videos' column with `--set video_column=…`",
        )
    taken = {item.path for item in found if isinstance(item.frames, VideoFile)}
    notes: list[str] = []
    warnings: list[str] = []
    for (name, why, beside), count in sorted(passed_over.items()):
        words = f"the column {name} of {count} Parquet files is not taken: {why}; `--set video_column={name}` takes it"
        (notes if beside else warnings).append(words)
    return [*(item for item in items if item.path not in taken), *found], warnings, notes


def _label(file: FoundFile, config: FolderConfig) -> str:
    return file.folder.rpartition("/")[2] if config.label_from == "folder" else ""


def _video(file: FoundFile, config: FolderConfig) -> SourceItem:
    frames = None if file.problem else VideoFile(file.path)
    return SourceItem(file.path, file.path, file.size_bytes, frames, _label(file, config), problem=file.problem)


def _sequence(folder: NumberedFolder, config: FolderConfig) -> SourceItem:
    parent = folder.path.rpartition("/")[0].rpartition("/")[2]
    label = parent if config.label_from == "folder" else ""
    item = folder.item(label=label, fps=config.source_fps or 0.0)
    missing = missing_number(folder.numbers)
    if item.problem or missing is None or config.gaps == "allow":
        return item
    message = f"there is no picture with the number {missing}"
    other = folder.beside_with(missing)
    if other is not None:
        message += f" among the usual ones; {other} is left out: with it, they are no single series"
    return replace(item, frames=None, problem=("missing", message))


DATA_SET = Folder()
