"""Episode files with actions: `….npz` with an array `image`, uint8 (T, H, W, 3), and tracks beside it.

The layout of DreamerV2's replay and of APV's releases, which `ipv-bench record` writes and `ipv-bench sample --dataset
moving-blob` too. Files may lie at any depth; the folder's name is the label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ipv_bench.errors import SourceError
from ipv_bench.tracks import ACTION
from pipelines.datasets.base import ArrayFile, Count, Inventory, SourceItem, SourceRow, TrackFile
from pipelines.datasets.episode_tracks import EpisodesConfig, TrackRule, find_tracks
from pipelines.datasets.file_tree import FoundFile, list_files
from pipelines.datasets.prepare_config import PrepareConfig, refuse_set
from pipelines.datasets.unique_items import sorted_unique

SUFFIX = ".npz"


class Episodes:
    """See `pipelines.datasets.base.DataSet`."""

    name = "episodes"
    config = EpisodesConfig
    profiles: Mapping[str, Mapping[str, Any]] = {"paper": {}}
    licence = "as the source's own; ipv-bench does not know it"
    help = (
        "make them with `ipv-bench record SUITE/TASK --out DIR` or `ipv-bench sample DIR --dataset moving-blob`, or "
        "point --source at .npz files with `image` and `action` (docs/datasets/episodes.md)"
    )

    def refuse_unheeded(self, config: PrepareConfig) -> None:
        """Refuse the choice of a video decoder."""
        refuse_decoder(config)

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the release: one item per episode file; the label is the folder's name."""
        return episode_inventory(source, config, self.help)

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Episodes found and written."""
        written = sum(row.status == "written" for row in rows)
        kept = ", ".join(spec.name for spec in inventory.tracks) or "no tracks"
        note = next((f"each action {spec.note}" for spec in inventory.tracks if spec.name == ACTION), "")
        return [Count("episode files found", len(rows)), Count(f"of them written, with {kept}", written, note=note)]


def refuse_decoder(config: PrepareConfig) -> None:
    """Refuse a choice of decoder: see `refuse_set`."""
    refuse_set(config, ("decoder",), "episode files hold no coded video")


def episode_inventory(source: Path, config: PrepareConfig, help_text: str) -> Inventory:
    """The inventory of a release of episode files.

    Raises:
        SourceError: there is none, or an array that was asked for cannot be used in any.
        ConfigError: the config would tear actions from their frames.
    """
    assert isinstance(config, EpisodesConfig)
    tree = list_files(source)
    files = tree.with_suffixes({SUFFIX})
    if not files:
        raise SourceError(f"{source} has no episode file", expected="….npz files with `image`", fix=help_text)
    rule = find_tracks(source, [file.path for file in files if not file.problem], config)
    items = sorted_unique(_item(file, rule, config) for file in files)
    warnings = (*tree.warnings, *rule.warnings, *tree.left_out({SUFFIX}))
    return Inventory(items, warnings=warnings, notes=tuple(rule.notes), tracks=rule.specs)


def _item(file: FoundFile, rule: TrackRule, config: EpisodesConfig) -> SourceItem:
    source_id = f"{file.folder}/{file.stem}" if file.folder else file.stem
    label = file.folder.rpartition("/")[2]
    frames = None if file.problem else ArrayFile(file.path)
    tracks = TrackFile(file.path, rule.specs, rule.taken_at) if rule.specs and not file.problem else None
    fps = config.source_fps or 0.0
    return SourceItem(
        source_id, file.path, file.size_bytes, frames, label, fps=fps, problem=file.problem, tracks=tracks
    )


DATA_SET = Episodes()
