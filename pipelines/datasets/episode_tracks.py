"""Which arrays of episode files become tracks, and how: a rule for the whole set, found from all of its files.

An episode file is an `.npz` of plain arrays with one entry per frame. Every sample of a set has the same tracks, so the
files are asked what they declare (no data is read for that), and the commonest type and shape of each array is the
set's; a file that deviates is quarantined when its turn comes. When an action was taken is no property of the array, so
it is looked up in the data: files in the layout of DreamerV2's replay have an action of zeros at frame 0, into which
none led; files that hold the action taken at frame t have none there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ipv_bench.bounded_arrays import npz_headers, read_npz
from ipv_bench.errors import ConfigError, InputError, SourceError
from ipv_bench.file_names import Name
from ipv_bench.tracks import ACTION, MAX_SIDES, MAX_VALUES
from pipelines.datasets.base import TrackSpec
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure

UNITS: Mapping[str, str] = {
    ACTION: "the environment's action",
    "state": "the environment's state",
    "reward": "the task's reward on arriving at the frame",
    "discount": "0 … 1, of what follows the frame",
    "is_first": "1 at the first frame of an episode, else 0",
    "is_last": "1 at the last frame of an episode, else 0",
    "is_terminal": "1 where the task ended, else 0",
    "success": "1 where the task counts as solved, else 0",
}
"""Arrays that are kept when they are there → unit."""

ActionTime = Literal["auto", "led_into", "taken_at"]
_LOOK_AT = 64
"""Files whose first actions are read to tell when actions were taken."""
_LARGEST_EXACT = 1 << 24
"""Whole numbers up to this one are exact in float32."""
MAX_TRACK_BYTES = 1 << 30
"""Of all tracks of one source item."""


class EpisodesConfig(PrepareConfig):
    """Fields of data sets that are made of episode files."""

    tracks: tuple[Name, ...] = Field(tuple(UNITS), max_length=50)
    """Arrays to keep beside the frames; the usual ones where they are there, others must be; `[]` keeps none."""
    action_time: ActionTime = "auto"
    """When `action[t]` of the source was taken: it led into frame t, or it was taken at frame t (then it is shifted by
    one); auto looks whether the actions at frame 0 are zero."""

    source_fps: float | None = Field(None, gt=0)
    """Frames per second of the episodes, which state none themselves; null: unknown."""

    def options(self) -> dict[str, Any]:
        """Without these at their defaults: sets are what they were before there were tracks and rates."""
        defaults = {name: type(self).model_fields[name].default for name in ("tracks", "action_time", "source_fps")}
        return {
            key: value for key, value in super().options().items()
            if key not in defaults or value != _plain(defaults[key])
        }  # fmt: skip


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@dataclass
class TrackRule:
    """What the set keeps of its files.

    Attributes:
        specs: the tracks.
        taken_at: those that are shifted by one.
        warnings: lines for the user.
        notes: lines for the user that are no warnings.
    """

    specs: tuple[TrackSpec, ...] = ()
    taken_at: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_tracks(source: Path, paths: Sequence[str], config: EpisodesConfig) -> TrackRule:
    """The rule for a release of episode files.

    Args:
        source: folder of the release.
        paths: of its files, relative to `source`, in order.
        config: of the job.

    Raises:
        SourceError: an array that was asked for is in no file, or can be used in none.
        ConfigError: frames are to be left out between others, which would tear actions from their frames.
    """
    rule = TrackRule()
    headers = [found for path in paths if (found := _headers(source / path, config.tracks)) is not None]
    for name in config.tracks:
        spec = _spec(name, [found.get(name, "") for found in headers], rule)
        if spec is not None:
            rule.specs += (spec,)
    if not rule.specs:
        return rule
    if config.frame_stride != 1 or config.fps is not None:
        raise ConfigError(
            f"frame_stride={config.frame_stride}, fps={config.fps} with the tracks "
            + ", ".join(spec.name for spec in rule.specs),
            expected="every frame: an action leads from one frame to the next",
            fix="leave both at their defaults, or keep no tracks with `--set 'tracks=[]'`",
        )
    if ACTION in (spec.name for spec in rule.specs):
        taken_at = config.action_time == "taken_at"
        if config.action_time == "auto":
            taken_at, note = _told_by_first_actions(source, paths)
            rule.notes.append(note)
        rule.taken_at = (ACTION,) if taken_at else ()
        rule.specs = tuple(_with_note(spec, taken_at) if spec.name == ACTION else spec for spec in rule.specs)
    return rule


def _headers(path: Path, names: Sequence[str]) -> dict[str, Any] | None:
    try:
        return npz_headers(path, names)
    except InputError:  # its decoder will say what is wrong with it
        return None


def _spec(name: str, declared: Sequence[Any], rule: TrackRule) -> TrackSpec | None:
    """The set's track of this name, None when most files have no such array."""
    absent = sum(not header for header in declared)
    facts = [_facts(name, header) for header in declared if header]
    usable = Counter(found for found in facts if not isinstance(found, str))
    if not usable and (facts or name not in UNITS):
        why = next((found for found in facts if isinstance(found, str)), "it is in none of them")
        raise SourceError(
            f"the array `{name}` can be used in none of {len(declared)} episode files: {why}",
            expected="a plain array of numbers with one entry per frame",
            fix="leave it out: name the arrays to keep with `--set 'tracks=[…]'` (none: `tracks=[]`)",
        )
    if not facts or absent > len(facts):
        if facts:
            rule.warnings.append(f"{len(facts)} of {len(declared)} files have an array `{name}`: too few to keep it")
        return None
    (dtype, shape), _ = min(usable.items(), key=lambda pair: (-pair[1], pair[0]))
    return TrackSpec(name, dtype, shape, UNITS.get(name, ""))


def _facts(name: str, header: Any) -> tuple[str, tuple[int, ...]] | str:
    """Stored type and shape of an entry of a declared array, or why it cannot be used."""
    if isinstance(header, str):
        return header
    sides, _, dtype = header
    shape = tuple(sides[1:]) or ((1,) if name == ACTION else ())
    stored = stored_type(dtype)
    if stored is None or not sides or len(shape) > MAX_SIDES or np.prod([float(side) for side in shape]) > MAX_VALUES:
        return f"it is {str(dtype)[:40]} {str(sides)[:80]}"
    return stored, shape


def stored_type(dtype: np.dtype[Any]) -> str | None:
    """The type in which an array is stored as a track; None when it cannot be one."""
    if dtype.kind == "b" or dtype == np.uint8:
        return "uint8"
    return "float32" if dtype.kind in "fiu" else None


def _told_by_first_actions(source: Path, paths: Sequence[str]) -> tuple[bool, str]:
    """Whether the files hold the action taken at each frame: most of the first actions are not zero. And what was
    seen, since recordings of such actions that begin at rest look like the others."""
    nonzero = looked_at = 0
    places = np.unique(np.linspace(0, len(paths) - 1, _LOOK_AT).round().astype(np.int64)) if paths else ()
    for path in (paths[place] for place in places):
        try:
            values = read_npz(source / path, names=(ACTION,), limit=MAX_TRACK_BYTES).get(ACTION)
        except InputError:
            continue
        if values is not None and len(values.shape) and len(values) and stored_type(values.dtype):
            looked_at, nonzero = looked_at + 1, nonzero + bool(values[0].any())
    seen = f"action_time=auto: at frame 0 they are zero in {looked_at - nonzero} of {looked_at} files looked at"
    if 2 * nonzero > looked_at:
        return True, (
            f"actions are taken for those done at each frame, and shifted by one ({seen}); if each led into its frame, "
            "--set action_time=led_into"
        )
    return False, (
        f"actions are taken for those that led into each frame ({seen}); if each was done at its frame, in recordings "
        "that begin at rest, --set action_time=taken_at"
    )


def _with_note(spec: TrackSpec, taken_at: bool) -> TrackSpec:
    if taken_at:
        note = "led into its frame, zero at frame 0; shifted by one: the source holds the action taken at each frame"
    else:
        note = "led into its frame, zero at frame 0; as in the source"
    return TrackSpec(spec.name, spec.dtype, spec.shape, spec.unit, note)


def read_members(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an episode file.

    Raises:
        SourceFailure: `bad_annotation` when one is absent or holds Python objects (which are never read), `corrupt`
            when the file is damaged.
    """
    try:
        declared = npz_headers(path, names)
    except InputError as error:
        raise SourceFailure("corrupt", _without_path(error, path)) from None
    for name in names:
        header = declared.get(name)
        if header is None or isinstance(header, str):
            raise SourceFailure("bad_annotation", header or f"no array {name!r} in it, as the other files have")
    try:
        return read_npz(path, where="it", names=names, limit=MAX_TRACK_BYTES)
    except InputError as error:
        raise SourceFailure("corrupt", _without_path(error, path)) from None


def _without_path(error: InputError, path: Path) -> str:
    return error.found.replace(str(path), "it")


def as_track(spec: TrackSpec, values: np.ndarray) -> np.ndarray:
    """An array in its stored type and shape.

    Raises:
        SourceFailure: `bad_annotation`: it is of another type or shape than the set's, or holds what float32 cannot.
    """
    stored = stored_type(values.dtype)
    if not values.ndim or stored != spec.dtype:
        raise SourceFailure("bad_annotation", f"{spec.name} is {values.dtype} {values.shape}, the set's {spec.dtype}")
    if spec.name == ACTION and values.ndim == 1:
        values = values[:, None]
    if values.shape[1:] != spec.shape:
        message = f"{spec.name} has the shape {values.shape[1:]} in each frame, the set {spec.shape}"
        raise SourceFailure("bad_annotation", message)
    whole_numbers = values.dtype.kind in "iu" and stored == "float32" and values.size
    if whole_numbers and max(abs(int(values.min())), abs(int(values.max()))) > _LARGEST_EXACT:
        raise SourceFailure("bad_annotation", f"{spec.name} holds whole numbers beyond float32's")
    with np.errstate(over="ignore"):
        return values.astype(stored)
