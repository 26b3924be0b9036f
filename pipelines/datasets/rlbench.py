"""RLBench demonstrations as APV published them: episode files `….npz` with an array `image`, uint8 (T, 64, 64, 3).

Where they hold actions too, these become a track, as in `pipelines.datasets.episodes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.datasets.base import Count, Inventory, SourceRow
from pipelines.datasets.episode_tracks import EpisodesConfig
from pipelines.datasets.episodes import episode_inventory, refuse_decoder
from pipelines.datasets.prepare_config import PrepareConfig

PAPER_EPISODES = 4950


class RLBench:
    """See `pipelines.datasets.base.DataSet`."""

    name = "rlbench"
    config = EpisodesConfig
    profiles: Mapping[str, Mapping[str, Any]] = {"paper": {}}
    licence = "RLBench: made with the RLBench simulator; its licence allows non-commercial use."
    help = (
        "the episode files are linked from https://github.com/younggyoseo/apv; keep them in any folders "
        "(docs/datasets/rlbench.md)"
    )

    def refuse_unheeded(self, config: PrepareConfig) -> None:
        """Refuse the choice of a video decoder."""
        refuse_decoder(config)

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the release: one item per episode file; the label is the folder's name."""
        return episode_inventory(source, config, self.help)

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Episodes written."""
        note = "APV counts 99 tasks with 10 demonstrations from 5 cameras each"
        return [Count("episode files", sum(row.status == "written" for row in rows), PAPER_EPISODES, None, note)]


DATA_SET = RLBench()
