"""Clips of an analysis: which videos, which frames, read in batches; the same for every model and every order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipv_bench.errors import ShardSetError
from ipv_bench.seeding import derive_seed
from ipv_bench.segment_source import SegmentSource
from ipv_bench.segments import open_segments
from ipv_bench.tracks import ACTION
from models.analysis.config import AnalysisConfig
from models.analysis.frame_step import FrameStep, frame_step
from models.analysis.loaded_model import AnalysedModel
from models.analysis.seen_videos import held_out, other_preparation, trainings_on
from models.pretraining.video_batches import VALIDATION_SPLIT, stack_segments

EVERYTHING = "all"
"""`split` of an analysis that takes every video, also those that a run trained on."""
_SEED_RANGE = 1 << 63


@dataclass(frozen=True)
class Clip:
    """A clip's place.

    Attributes:
        source: number of its shard set.
        video: number of its video in that set's index.
        start: its first frame, counted in stored frames of the video; the others follow as `FrameStep` says.
        video_id: id of the source video.
        label: of the video; empty without one.
    """

    source: int
    video: int
    start: int
    video_id: str
    label: str


class ClipSet:
    """The clips of an analysis, in a fixed order: set by set, video by video, draw by draw.

    Attributes:
        clips: their places.
        length: frames of each (T).
        notes: how the videos were chosen, and what was left out, in words.
        shard_sets: one record per set, for `AnalysisRecord.shard_sets`.
    """

    def __init__(
        self, sources: Sequence[SegmentSource], clips: Sequence[Clip], length: int, step: FrameStep, notes: list[str]
    ) -> None:
        self._sources, self.clips, self.length, self.notes = list(sources), list(clips), length, notes
        self._step, self._strides = step, [step.strides(source) for source in sources]
        used = [len({clip.video for clip in clips if clip.source == number}) for number in range(len(sources))]
        self.shard_sets = [source.record() | {"num_videos": count} for source, count in zip(sources, used, strict=True)]

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def videos(self) -> np.ndarray:
        """(N,) number of each clip's video, from 0: clips of one video are not independent."""
        places = [(clip.source, clip.video) for clip in self.clips]
        numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
        return np.array([numbers[place] for place in places], np.int64)

    @property
    def longest_stride(self) -> int:
        """Stored frames from one frame of a clip to the next, at most."""
        return max((self.stride(clip) for clip in self.clips), default=1)

    @property
    def labels(self) -> list[str]:
        """Label of each clip."""
        return [clip.label for clip in self.clips]

    def read(self, first: int, end: int) -> np.ndarray:
        """Frames of clips `first` … `end - 1`, uint8 (N, T, H, W, 3).

        Raises:
            ShardSetError: a shard is damaged or unreadable.
        """
        return stack_segments([
            self._sources[clip.source].frames(clip.video, clip.start, self.length, self.stride(clip))
            for clip in self.clips[first:end]
        ])  # fmt: skip

    def stride(self, clip: Clip) -> int:
        """Stored frames from one frame of a clip to the next."""
        return int(self._strides[clip.source][clip.video])

    def at(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames of the clips of these numbers, uint8 (N, T, H, W, 3)."""
        return np.concatenate([self.read(int(number), int(number) + 1) for number in numbers])

    def of_labels(self, labels: Sequence[str], per_label: int | None = None) -> ClipSet:
        """The clips of some labels, of at most `per_label` videos each: those whose ids' hashes are smallest."""
        kept: set[tuple[int, int]] = set()
        for label in labels:
            places = {
                (c.source, c.video): hashlib.sha256(c.video_id.encode()).digest()
                for c in self.clips
                if c.label == label
            }
            kept |= set(sorted(places, key=lambda place: (places[place], place))[:per_label])
        chosen = [clip for clip in self.clips if (clip.source, clip.video) in kept]
        return ClipSet(self._sources, chosen, self.length, self._step, self.notes)

    def source_frames(self, number: int) -> np.ndarray | None:
        """(T,) numbers of a clip's frames in its raw source; None where frames were picked by time."""
        clip = self.clips[number]
        index, found = self._sources[clip.source].index, []
        between = self.stride(clip)
        for row, first, count in index.clips(clip.video, clip.start, (self.length - 1) * between + 1):
            stride = int(index.columns["frame_stride"][row])
            if not stride:
                return None
            found.append(int(index.columns["first_source_frame"][row]) + stride * np.arange(first, first + count))
        return np.concatenate(found)[::between]

    def batches(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first clip, frames (n, T, H, W, 3)) in order, at most `size` clips each."""
        for first in range(0, len(self.clips), size):
            yield first, self.read(first, first + size)

    @property
    def names(self) -> list[str]:
        """Names of the shard sets."""
        return [source.manifest.name for source in self._sources]

    def has_track(self, name: str) -> bool:
        """Whether all sets have a track."""
        return all(name in source.manifest.tracks for source in self._sources)

    def track_shape(self, name: str) -> tuple[int, ...]:
        """Shape of one entry of a track that all sets have, as `track` gives it.

        Raises:
            ShardSetError: the sets differ, or actions do because frames are differently far apart.
        """
        shapes = {tuple(source.manifest.tracks[name].shape) for source in self._sources}
        if name == ACTION:  # those between two frames of a clip, joined
            strides = {self.stride(clip) for clip in self.clips}
            shapes = {size if step == 1 else (step * int(np.prod(size)),) for size in shapes for step in strides}
        if len(shapes) > 1:
            raise ShardSetError(
                f"track {name!r} has shapes {sorted(shapes)}",
                expected="one shape in all sets",
                fix="analyse the sets of one shape together, and the others in a command of their own",
            )
        return shapes.pop()

    def track(self, name: str, first: int, end: int) -> np.ndarray:
        """Entries of a track of clips `first` … `end - 1`, (N, T, …), as stored.

        Raises:
            ShardSetError: a set has no such track, or it is damaged.
        """
        found = []
        for clip in self.clips[first:end]:
            source, stride = self._sources[clip.source], self.stride(clip)
            found.append(source.tracks(clip.video, clip.start, self.length, [name], stride)[name])
        return np.stack(found)

    def describe(self) -> list[dict[str, Any]]:
        """Where each clip comes from, as JSON values."""
        names = [source.manifest.name for source in self._sources]
        return [{"set": names[c.source], "video": c.video_id, "start": c.start, "label": c.label} for c in self.clips]


def open_clips(config: AnalysisConfig, models: Sequence[AnalysedModel], seed: int) -> ClipSet:
    """Choose the clips of an analysis.

    A clip's start depends on the seed and on the id of its video alone: more videos, or another batch size, leave the
    clips of a video as they are.

    Args:
        config: which sets, videos and clips.
        models: that are analysed: their frame size must be that of the sets, and what they trained on is left out
            where it is known.
        seed: of the starts.

    Raises:
        ShardSetError: a set is absent or damaged, has frames of another size, or no video that is long enough.
        UnknownNameError: no such split or label.
    """
    sources = open_segments(config.sets, 1, seed).sources
    step = frame_step(config, models)
    notes: list[str] = list(step.notes)
    clips: list[Clip] = []
    for number, source in enumerate(sources):
        _check_size(source, models)
        strides = step.strides(source)
        videos = _chosen(source, strides, config, models, notes)
        source.videos = videos
        for video in videos.tolist():
            name, label = source.index.video_id(video), source.index.label(video)
            starts = int(source.index.video_frames[video] - (config.length - 1) * strides[video])
            for draw in range(config.clips_per_video):
                start = derive_seed(seed, draw, f"analysis clip of {name}") * starts // _SEED_RANGE
                clips.append(Clip(number, video, start, name, label))
    return ClipSet(sources, clips, config.length, step, notes)


def _check_size(source: SegmentSource, models: Sequence[AnalysedModel]) -> None:
    columns = source.index.columns
    sizes = {(int(h), int(w)) for h, w in set(zip(columns["height"].tolist(), columns["width"].tolist(), strict=True))}
    for model in models:
        odd = sorted(size for size in sizes if size != (model.image_size, model.image_size))
        if odd:
            found = ", ".join(f"{height}x{width}" for height, width in odd[:3]) + (", …" if len(odd) > 3 else "")
            raise ShardSetError(
                f"{source.store.location} has frames of {found} pixels",
                expected=f"{model.image_size}x{model.image_size}, which {model.label} ({model.run}) was trained on",
                fix=f"prepare the set with --set size={model.image_size}x{model.image_size}, or name another model",
            )


def _chosen(
    source: SegmentSource,
    strides: np.ndarray,
    config: AnalysisConfig,
    models: Sequence[AnalysedModel],
    notes: list[str],
) -> np.ndarray:
    """Videos of one set, ascending; how they were chosen goes to `notes`."""
    where, index = source.manifest.name, source.index
    split, kept_out = config.split, None
    trained = trainings_on(source, models, notes)
    notes += other_preparation(source, trained)
    if split == EVERYTHING and split not in index.splits():
        split, trained = None, []
    elif split is None:
        if VALIDATION_SPLIT in index.splits() and all(one.split not in (None, VALIDATION_SPLIT) for one in trained):
            split = VALIDATION_SPLIT
            notes.append(f"{where}: videos of the split {VALIDATION_SPLIT}, which no run trained on")
        elif trained:
            kept_out = held_out(source, trained, notes)
    everything = index.select(1, None, split, config.labels)
    frames = -(-index.video_frames // strides)  # those of a clip that begins with the first one
    videos = everything[frames[everything] >= config.length]
    if not len(videos):
        longest = int(frames[everything].max())
        raise ShardSetError(
            f"{source.store.location}: none of its {len(everything)} videos in this selection has {config.length} "
            f"frames; the longest has {longest}",
            expected=f"at least one of length={config.length}",
            fix=f"ask for shorter clips: --set length={longest}" if longest > 1 else "prepare longer videos",
        )
    if len(videos) < len(everything):
        notes.append(f"{where}: {len(everything) - len(videos)} videos of fewer than {config.length} frames left out")
    if kept_out is not None:
        videos = np.intersect1d(videos, kept_out)
        if not len(videos):
            raise ShardSetError(
                f"{source.store.location}: the runs held out no video of {config.length} frames or more",
                expected="videos that the runs did not train on",
                fix="name another shard set, or say which videos to take anyway, as with --set split=train"
                if index.splits()
                else "name another shard set with --data",
            )
    if config.videos is not None and config.videos < len(videos):
        return index.first_by_hash(videos, config.videos)
    return np.asarray(videos)
