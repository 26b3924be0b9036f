"""TensorBoard event files, read without TensorBoard: records of length, checksum and a protocol-buffer `Event`.

Only what a scalar needs is decoded: Event.wall_time (1), Event.step (2), Event.summary (5), Summary.value (1),
Value.tag (1), Value.simple_value (2), Value.tensor (8) with one number in it. Field numbers: event.proto,
summary.proto, tensor.proto of TensorBoard. Checksums are not verified; a damaged record ends the file.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ipv_bench.run_record import RUN_FILE
from reports.readers.base import Read, ReadOptions
from reports.readers.log_run import choose_score, log_run
from reports.readers.run_names import names_of_log
from reports.readers.score_names import PREFIX
from reports.scores.findings import Finding, note
from reports.scores.restarts import find_restarts, restarted

_MIRRORED = (RUN_FILE, "metrics.jsonl", "scores.jsonl")
"""Logs of which event files in the same folder are a mirror."""
_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")


@dataclass
class _Events:
    """The scalars of one file: tag → (step, value) in the order in which they were written.

    Attributes:
        began: seconds of the first event.
        scalars: all of them; a tag's leading `scalars/` is taken off.
        whole: False when the file ends in the middle of a record, or with a damaged one.
    """

    path: Path
    began: float = math.inf
    scalars: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    whole: bool = True


class TensorBoard:
    """Reads the event files of a folder as one run."""

    name = "tensorboard"
    uses = ("*tfevents*",)

    def accepts(self, path: Path) -> bool:
        """A folder with `*tfevents*` files that holds no log of ours or Dreamer's (of which they are mirrors)."""
        if not path.is_dir() or any((path / name).exists() for name in _MIRRORED):
            return False
        return any(file.is_file() for file in path.glob("*tfevents*"))

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read the run; several event files are a run that was resumed, in the order of their first events.

        Raises:
            InputError: no event has a score's tag; the tags found are named.
            ConfigError: `run_fields.yaml` is wrong.
        """
        names = names_of_log(path, options)
        files = sorted((_read_events(file) for file in path.glob("*tfevents*") if file.is_file()), key=_order)
        findings: list[Finding] = [
            note("cut_off_log", f"{events.path} ends in the middle of a record; it was used up to there")
            for events in files
            if not events.whole
        ]
        present = sorted({tag for events in files for tag in events.scalars})
        score = choose_score(path, present, names, options)
        steps, values, is_score = _joined(files, score.name)
        restarts = find_restarts(steps)
        kept = is_score & restarts.keep
        run, said = log_run(self.name, path, names, score, steps[kept], values[kept])
        if len(restarts.places):
            findings.append(restarted(run.name, restarts, int((is_score & ~restarts.keep).sum()), str(path)))
        return Read(runs=(run,), findings=(said, *findings))


def _order(events: _Events) -> tuple[float, list[tuple[int, str]]]:
    """By time, then by name with its numbers as numbers (`.9.` before `.10.`)."""
    pieces = re.findall(r"\d+|\D+", events.path.name)
    return events.began, [(int(piece[:18]), "") if piece.isdigit() else (-1, piece) for piece in pieces]


def _joined(files: Sequence[_Events], tag: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps and values of a tag over all files, and whether each is a score: others mark where a file goes on.

    A resumed run logs its losses before it evaluates again: the step at which it went on is the first of any of its
    tags that count what the score's steps count.
    """
    points: list[tuple[float, float, bool]] = []
    before: dict[str, float] = {}
    for events in files:
        if tag not in events.scalars:
            continue
        first = _went_on_at(events, tag, before)
        before |= {name: its_points[-1][0] for name, its_points in events.scalars.items()}
        if points and math.isfinite(first):
            points.append((first, 0.0, False))
        points += [(step, value, True) for step, value in events.scalars[tag]]
    steps, values, is_score = np.array(points, dtype=np.float64).reshape(-1, 3).T
    return steps, values, is_score.astype(bool)


def _went_on_at(events: _Events, tag: str, before: Mapping[str, float]) -> float:
    """The first step of a file among the tags that count as the score does; infinite where there is none.

    A tag of one value may be a setting, written at step 0. What stood elsewhere than the score when the files before
    ended counts something else, updates or episodes; so, of a new tag, does what ends at less than half of the
    score's last step or beyond twice that (agent steps with an action repeat of 2 are half of the environment's).

    Args:
        events: a file.
        tag: the score's.
        before: tag → its last step in the files before.
    """
    last = events.scalars[tag][-1][0]
    found = math.inf
    for name, points in events.scalars.items():
        if name in before and tag in before:
            alike = 0.75 * before[tag] <= before[name] <= 1.5 * before[tag]
        else:
            alike = 0.5 * last < points[-1][0] <= 2 * last
        if alike and len(points) > 1:
            found = min(found, points[0][0])
    return found


def _read_events(file: Path) -> _Events:
    found = _Events(file)
    left = file.stat().st_size
    with open(file, "rb") as stream:
        while header := stream.read(12):
            if len(header) < 12:
                return _cut(found)
            (length,) = struct.unpack("<Q", header[:8])
            left -= 16 + length
            if left < 0:  # cut off, or the length itself is damaged
                return _cut(found)
            data = stream.read(length)
            if len(data) < length or len(stream.read(4)) < 4:
                return _cut(found)
            try:
                _add_event(data, found)
            except (IndexError, struct.error, UnicodeDecodeError):
                return _cut(found)
    return found


def _cut(events: _Events) -> _Events:
    events.whole = False
    return events


def _add_event(event: bytes, found: _Events) -> None:
    step, summaries = 0, []
    for number, value in _messages(event):
        if number == 1 and isinstance(value, bytes) and math.isinf(found.began):
            seconds = float(_DOUBLE.unpack(value)[0])
            found.began = seconds if math.isfinite(seconds) else 0.0
        elif number == 2 and isinstance(value, int):
            step = value - (1 << 64) if value >> 63 else value
        elif number == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for number, value in _messages(summary):
            if number == 1 and isinstance(value, bytes):
                tag, scalar = _value_of(value)
                if scalar is not None:
                    found.scalars.setdefault(tag.removeprefix(PREFIX), []).append((step, scalar))


def _value_of(message: bytes) -> tuple[str, float | None]:
    tag, scalar = "", None
    for number, value in _messages(message):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            tag = value.decode()
        elif number == 2:
            scalar = _FLOAT.unpack(value)[0]
        elif number == 8:
            scalar = _number_in_tensor(value)
    return tag, scalar


def _number_in_tensor(tensor: bytes) -> float | None:
    """The value of a tensor of one float (dtype 1) or double (dtype 2); None for others, such as images."""
    fields = dict(_messages(tensor))
    kind = {1: _FLOAT, 2: _DOUBLE}.get(fields.get(1))  # type: ignore[arg-type]
    content = fields.get(4) or fields.get(5 if kind is _FLOAT else 6)
    if kind is None or not isinstance(content, bytes) or len(content) != kind.size:
        return None
    return float(kind.unpack(content)[0])


def _messages(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number and value of each field: varints as int, everything else as bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value: int | bytes
            value, place = _varint(data, place)
        else:
            if kind == 2:
                size, place = _varint(data, place)
            else:
                size = {1: 8, 5: 4}.get(kind, -1)
            if size < 0 or place + size > len(data):
                raise IndexError("a field reaches beyond its message")
            value, place = data[place : place + size], place + size
        yield key >> 3, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise IndexError("a varint of more than ten bytes")


READER = TensorBoard()
