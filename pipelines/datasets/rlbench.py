"""RLBench demonstrations as APV published them: episode files `….npz` with an array `image`, uint8 (T, 64, 64, 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ipv_bench.errors import SourceError
from pipelines.datasets.base import ArrayFile, Count, Inventory, SourceItem, SourceRow
from pipelines.datasets.file_tree import FoundFile, list_files
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.unique_items import sorted_unique

PAPER_EPISODES = 4950


class RLBench:
    """See `pipelines.datasets.base.DataSet`."""

    name = "rlbench"
    config = PrepareConfig
    profiles: Mapping[str, Mapping[str, Any]] = {"paper": {}}
    licence = "RLBench: made with the RLBench simulator; its licence allows non-commercial use."
    help = (
        "the episode files are linked from https://github.com/younggyoseo/apv; keep them in any folders "
        "(docs/datasets/rlbench.md)"
    )

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the release: one item per episode file; the label is the folder's name."""
        tree = list_files(source)
        items = [_item(file) for file in tree.with_suffixes({".npz"})]
        if not items:
            raise SourceError(f"{source} has no episode file", expected="….npz files with `image`", fix=self.help)
        return Inventory(sorted_unique(items), warnings=tree.warnings)

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Episodes written."""
        note = "APV counts 99 tasks with 10 demonstrations from 5 cameras each"
        return [Count("episode files", sum(row.status == "written" for row in rows), PAPER_EPISODES, None, note)]


def _item(file: FoundFile) -> SourceItem:
    source_id = f"{file.folder}/{file.stem}" if file.folder else file.stem
    label = file.folder.rpartition("/")[2]
    frames = None if file.problem else ArrayFile(file.path)
    return SourceItem(source_id, file.path, file.size_bytes, frames, label, problem=file.problem)


DATA_SET = RLBench()
