"""Which videos of a set the analysed runs, and the runs that they started from, trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipv_bench.errors import ConfigError, RunError, ShardSetError
from ipv_bench.run_record import RUN_FILE, RunRecord, read_record
from ipv_bench.segment_source import SegmentSource
from models.analysis.loaded_model import AnalysedModel
from models.pretraining.config import DataConfig
from models.pretraining.video_batches import split_videos

_LONGEST_CHAIN = 16
"""Runs that start from one another; a record that leads back to itself ends here."""


@dataclass(frozen=True)
class Training:
    """A training on videos that a model's weights have behind them: its own, or that of a run it started from.

    Attributes:
        label: of the model.
        shard_sets: as the record has them.
        data: how it chose its videos (the config's section `data`); None: not known.
    """

    label: str
    shard_sets: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any] | None

    @property
    def split(self) -> Any:
        """The split that it trained on; None: all of them, or not known."""
        return None if self.data is None else self.data.get("split")


def trainings_on(source: SegmentSource, models: Sequence[AnalysedModel], notes: list[str]) -> list[Training]:
    """Trainings on this set, or on the same source videos in another encoding or under other options.

    What cannot be told goes to `notes`: an adapted model of a set of this name whose parent's record is not here.
    """
    found = []
    for model in models:
        for training in _trainings(model.label, model.record):
            inventory = source.manifest.inventory_sha256
            if any(
                entry.get("manifest_sha256") == source.manifest_sha256 or entry.get("inventory_sha256") == inventory
                for entry in training.shard_sets
            ):
                found.append(training)
        lost = _lost_parent(model.record)
        if lost and source.manifest.name in model.record.data_names:
            notes.append(
                f"{source.manifest.name}: {model.label} started from {lost}, whose {RUN_FILE} is not here: which of "
                "these videos that trained on cannot be told"
            )
    return found


def _trainings(label: str, record: RunRecord) -> Iterator[Training]:
    """The trainings behind a run, its own first."""
    if record.kind == "finetune":  # it names the sets of the model that it started from
        yield Training(label, record.shard_sets, _section(_model_before(record)))
        return
    for _ in range(_LONGEST_CHAIN):
        yield Training(label, record.shard_sets, _section(record))
        before = _parent(record) if record.kind == "adapt" else None
        if before is None:
            return
        record = before


def _model_before(record: RunRecord) -> RunRecord | None:
    """The record of the pre-trained model that an agent started from, of one that started from an agent of its."""
    for _ in range(_LONGEST_CHAIN):
        before = _parent(record)
        if before is None or before.kind != "finetune":
            return before
        record = before
    return None


def _parent(record: RunRecord) -> RunRecord | None:
    """The record of the run that a run started from: of its folder, or what an adapted run kept of it."""
    place = record.parent.get("run")
    if isinstance(place, str):
        try:
            return read_record(place)
        except RunError:
            pass
    kept = (record.model_extra or {}).get("start")
    if record.kind == "adapt" and isinstance(kept, Mapping) and "shard_sets" in kept:
        try:
            return RunRecord.model_validate(kept)
        except ValueError:
            return None
    return None


def _lost_parent(record: RunRecord) -> str:
    """Where the run was that an adapted one started from and of which nothing says what it trained on; else empty."""
    for _ in range(_LONGEST_CHAIN):
        if record.kind != "adapt" or not record.parent:
            return ""
        before = _parent(record)
        if before is None:
            return str(record.parent.get("run") or record.parent.get("checkpoint") or "a model")
        record = before
    return ""


def _section(record: RunRecord | None) -> Mapping[str, Any] | None:
    section = None if record is None else record.config.get("data")
    return dict(section) if isinstance(section, dict) else None


def other_preparation(source: SegmentSource, trained: Sequence[Training]) -> Iterator[str]:
    """A note where runs saw the same videos in another preparation: other losses of the encoding, other numbers."""
    same = {
        one.label for one in trained
        if any(entry.get("manifest_sha256") == source.manifest_sha256 for entry in one.shard_sets)
    }  # fmt: skip
    labels = [label for label in dict.fromkeys(one.label for one in trained) if label not in same]
    if labels:
        yield (
            f"{source.manifest.name}: stored as {source.manifest.encoding}; {', '.join(labels)} trained on these "
            "source videos in another preparation"
        )


def held_out(source: SegmentSource, trained: Sequence[Training], notes: list[str]) -> np.ndarray | None:
    """Videos that no training saw; None, with a note, where that is not known."""
    where, kept = source.manifest.name, None
    for training in trained:
        if training.data is None:
            notes.append(f"{where}: {training.label} trained on this set, and no {RUN_FILE} says on which videos")
            continue
        try:
            unseen = split_videos(source, DataConfig(**training.data))[1]
        except (ValueError, TypeError, ConfigError, ShardSetError):
            notes.append(f"{where}: {training.label} trained on this set; which videos it held out cannot be told")
            continue
        kept = unseen if kept is None else np.intersect1d(kept, unseen)
    if kept is not None:
        notes.append(f"{where}: the {len(kept)} videos that the runs held out of their training")
    return kept
