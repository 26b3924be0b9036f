"""`inspect`: what a shard set holds, in numbers and as a contact sheet."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.bounded_tables import read_table
from ipv_bench.errors import ShardSetError
from ipv_bench.open_store import open_store
from ipv_bench.segment_source import SegmentSource
from ipv_bench.shard_set import SAMPLES_FILE, SAMPLES_SCHEMA, SOURCES_FILE, SOURCES_SCHEMA, Manifest, read_manifest
from ipv_bench.shard_store import REPAIR
from pipelines.decoding.pixels_revision import REVISIONS, pixels_revision

HISTOGRAM_BINS = 10
DECORD_COLOURS = ": video with subsampled colour is 0.6 to 1.4 levels darker than through pyav (docs/pipelines.md)"
"""decord truncates where it makes RGB; measured on a filmed clip in H.264 and VP9, 8 and 10 bits, both ranges."""
_BAR_WIDTH = 40


@dataclass(frozen=True)
class Inspection:
    """Statistics of a shard set.

    Attributes:
        name, dataset, called, profile, encoding: as in the manifest.
        totals: sources, samples, frames, bytes, … as in the manifest.
        counts: which rule gave which count, beside the paper's and the official lists'.
        sources: status or "quarantined: reason" → source items.
        num_videos: source videos that were written (samples, unless `clip_frames` cut them).
        frames_per_video: min, median, mean and max.
        histogram: (first frame count, last frame count, videos) per bin.
        frame_sizes: "HxW" → samples.
        fps: frames per second → samples; 0 where unknown.
        hours: running time of the videos with a known rate.
        bytes_per_frame: stored bytes, the tar's own included.
        pixels: revision of the rules that made its pixels; see `pipelines.decoding.pixels_revision`.
        decoder: of its videos, with what is known of its colours.
        splits, labels: name → videos, the most frequent first.
        tracks: name → type, shape of one frame's entry, unit, note; empty for unlabelled sets.
    """

    folder: str
    name: str
    dataset: str
    called: str
    profile: str
    encoding: str
    totals: dict[str, int]
    counts: list[dict[str, Any]]
    sources: dict[str, int]
    num_videos: int
    frames_per_video: dict[str, float]
    histogram: list[tuple[int, int, int]]
    frame_sizes: dict[str, int]
    fps: dict[str, int]
    hours: float
    bytes_per_frame: float
    splits: dict[str, int]
    labels: dict[str, int]
    pixels: int
    decoder: str
    tracks: dict[str, dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        frames = self.frames_per_video
        found = [
            f"{self.called} ({self.profile} profile, {self.encoding}) in {self.folder}",
            f"videos     {self.num_videos}; source items {_listed(self.sources)}",
            f"frames     {self.totals.get('num_frames', 0)}, {_duration(self.hours)} of video with a known rate",
            f"per video  min {frames['min']:g}, median {frames['median']:g}, mean {frames['mean']:.1f},"
            f" max {frames['max']:g} frames",
            f"pictures   {_listed(self.frame_sizes)}; fps {_listed(self.fps)}",
            f"storage    {self.totals.get('size_bytes', 0) / 1e6:.2f} MB, {self.bytes_per_frame:.0f} bytes per frame",
        ]
        found.append(f"colours    pixels revision {self.pixels}: {REVISIONS.get(self.pixels, 'unknown here')}")
        found += [f"decoder    {self.decoder}"]
        found += [f"splits     {_listed(self.splits)}"] if self.splits else []
        found += [f"labels     {_listed(self.labels, 8)}"] if self.labels else []
        found += [f"tracks     {_track_line(name, track)}" for name, track in self.tracks.items()]
        found += [_count_line(count) for count in self.counts]
        return [*found, "frames per video:", *self._histogram_lines()]

    def _histogram_lines(self) -> list[str]:
        most = max((count for *_, count in self.histogram), default=1)
        width = max((len(str(last)) for _, last, _ in self.histogram), default=1)
        return [
            f"  {first:>{width}} … {last:>{width}}  {'#' * round(_BAR_WIDTH * count / most):<{_BAR_WIDTH}} {count}"
            for first, last, count in self.histogram
        ]


def inspect(folder: str | Path, contact_sheet: str | Path | None = None) -> Inspection:
    """Statistics of a shard set, and optionally a PNG of frames from some of its videos.

    Args:
        folder: a local shard set, or the address of a remote one.
        contact_sheet: PNG file to write.

    Raises:
        ShardSetError: absent, unfinished or damaged.
        OutputError: the PNG cannot be written.
    """
    if "://" not in str(folder):
        read_manifest(folder)
    source = SegmentSource(open_store(folder))
    result = _statistics(source)
    if contact_sheet is not None:
        from pipelines.shards.contact_sheet import write_contact_sheet

        write_contact_sheet(source, contact_sheet)
    return result


def _statistics(source: SegmentSource) -> Inspection:
    manifest, index = source.manifest, source.index
    frames, columns = index.video_frames, index.columns
    first_rows = index.sample_rows[index.video_samples[:-1]]
    samples = _table(source, SAMPLES_FILE)
    fps = samples["fps"].to_numpy()
    seconds = columns["num_frames"][fps > 0] / fps[fps > 0]
    sizes = Counter(zip(columns["height"].tolist(), columns["width"].tolist(), strict=True))
    num_frames = int(frames.sum())
    size_bytes = manifest.totals.get("size_bytes", 0)
    return Inspection(
        folder=source.store.location,
        name=manifest.name,
        dataset=manifest.dataset,
        called=manifest.called,
        profile=manifest.profile,
        encoding=manifest.encoding,
        totals=manifest.totals,
        counts=manifest.counts,
        sources=_sources(source, manifest),
        num_videos=len(frames),
        frames_per_video=_summary(frames),
        histogram=_histogram(frames),
        frame_sizes={f"{height}x{width}": count for (height, width), count in sizes.most_common()},
        fps={f"{rate:g}": count for rate, count in Counter(fps.round(3).tolist()).most_common()},
        hours=float(seconds.sum()) / 3600,
        bytes_per_frame=size_bytes / num_frames if num_frames else 0.0,
        splits=_frequencies(samples["split"].take(first_rows).to_pylist()),
        labels=_frequencies(samples["label"].take(first_rows).to_pylist()),
        pixels=pixels_revision(manifest.options),
        decoder=_decoder(manifest),
        tracks={name: entry.model_dump() for name, entry in sorted(manifest.tracks.items())},
    )


def _decoder(manifest: Manifest) -> str:
    name = str(manifest.versions.get("decoder", ""))
    return name + DECORD_COLOURS if name == "decord" else name


def _table(source: SegmentSource, name: str) -> Any:
    schema = SAMPLES_SCHEMA if name == SAMPLES_FILE else SOURCES_SCHEMA
    where = f"{source.store.location}: {name}"
    return read_table(source.store.read(name), schema, where, error=ShardSetError, fix=REPAIR)


def _sources(source: SegmentSource, manifest: Manifest) -> dict[str, int]:
    table = _table(source, SOURCES_FILE)
    pairs = zip(table["status"].to_pylist(), table["reason"].to_pylist(), strict=True)
    return dict(Counter(f"{status}: {why}" if status == "quarantined" else status for status, why in pairs))


def _summary(frames: np.ndarray) -> dict[str, float]:
    if not len(frames):
        return {"min": 0.0, "median": 0.0, "mean": 0.0, "max": 0.0}
    values = {"min": frames.min(), "median": np.median(frames), "mean": frames.mean(), "max": frames.max()}
    return {name: float(value) for name, value in values.items()}


def _histogram(frames: np.ndarray) -> list[tuple[int, int, int]]:
    """(first, last, videos) for up to ten bins of equal width in whole frames."""
    if not len(frames):
        return []
    low, high = int(frames.min()), int(frames.max())
    width = max(1, -(-(high - low + 1) // HISTOGRAM_BINS))
    counts = np.bincount((frames - low) // width)
    return [(low + n * width, low + (n + 1) * width - 1, int(count)) for n, count in enumerate(counts)]


def _frequencies(names: list[str]) -> dict[str, int]:
    return dict(Counter(name for name in names if name).most_common())


def _listed(counts: dict[str, int], limit: int = 6) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:limit])
    return shown + (f", … ({len(counts)} in all)" if len(counts) > limit else "")


def _track_line(name: str, track: dict[str, Any]) -> str:
    words = "; ".join(filter(None, (track["unit"], track["note"])))
    return f"{name}: {track['dtype']} ({', '.join(['T', *map(str, track['shape'])])})" + (f": {words}" if words else "")


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"


def _count_line(count: dict[str, Any]) -> str:
    others = [f"{name} {count[name]}" for name in ("paper", "official") if count.get(name) is not None]
    note = f": {count['note']}" if count.get("note") else ""
    return f"count      {count.get('ours')} {count.get('rule')}" + (f" ({', '.join(others)})" if others else "") + note
