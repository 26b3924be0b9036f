"""TensorBoard event files, read without TensorBoard: records of length, checksum and a protocol-buffer `Event`.

Only what a scalar needs is decoded: Event.step (2), Event.summary (5), Summary.value (1), Value.tag (1),
Value.simple_value (2), Value.tensor (8) with one number in it. Field numbers: event.proto, summary.proto, tensor.proto
of TensorBoard. Checksums are not verified; a damaged record ends the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ipv_bench.errors import InputError
from ipv_bench.run_record import RUN_FILE
from reports.readers.base import Read, ReadOptions, RunFields, read_fields
from reports.readers.dreamer_metrics import LOGS, method_of_folder, seed_of_folder, task_of_folder
from reports.scores.findings import Finding, note
from reports.scores.score_table import Metric, ScoredRun
from reports.scores.task_names import suite_metric

TAGS: dict[Metric, tuple[str, ...]] = {
    "success": ("eval_success", "eval/success", "eval/success_rate", "train_success"),
    "return": (
        "eval_return", "eval/return", "eval/mean_reward", "eval/episode_reward", "eval_episode/score",
        "charts/episodic_return", "rollout/ep_rew_mean", "train_return", "episode/score",
    ),
}  # fmt: skip
"""Tags of scores, in the order in which they are looked for; a leading `scalars/` is taken off."""

_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")


class TensorBoard:
    """Reads the event files of a folder as one run."""

    name = "tensorboard"

    def accepts(self, path: Path) -> bool:
        """A folder with `*tfevents*` files that holds no log of ours or Dreamer's (of which they are mirrors)."""
        if not path.is_dir() or any((path / name).exists() for name in (RUN_FILE, *LOGS)):
            return False
        return any(path.glob("*tfevents*"))

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read the run; several event files (a resumed run) are read in the order of their names.

        Raises:
            InputError: no event has a score's tag; the tags found are named.
            ConfigError: `run_fields.yaml` is wrong.
        """
        fields = read_fields(path)
        suite, task = task_of_folder(path, fields, {})
        scalars: dict[str, list[tuple[float, float]]] = {}
        findings: list[Finding] = []
        for file in sorted(path.glob("*tfevents*")):
            if not _read_scalars(file, scalars):
                findings.append(note("cut_off_log", f"{file} ends in the middle of a record; it was used up to there"))
        metric, tag = _score_tag(path, scalars, fields, options, suite)
        factor = fields.action_repeat if fields.steps_are == "agent_steps" and fields.action_repeat else 1
        points = np.array(scalars[tag], dtype=np.float64).reshape(-1, 2)
        run = ScoredRun(
            method=fields.method or method_of_folder(path),
            variant=fields.variant or "",
            suite=suite,
            task=task,
            seed=str(fields.seed if fields.seed is not None else seed_of_folder(path)),
            env_steps=points[:, 0] * factor,
            scores=points[:, 1],
            metric=metric,
            source=str(path),
            format=self.name,
            action_repeat=fields.action_repeat,
            env_fingerprint=fields.env_fingerprint,
            pretraining=fields.pretraining,
        )
        findings.append(note("score_name", f"{path}: the score is {tag!r}", subjects=[run.name]))
        return Read(runs=(run,), findings=tuple(findings))


def _score_tag(
    folder: Path, scalars: dict[str, list[tuple[float, float]]], fields: RunFields, options: ReadOptions, suite: str
) -> tuple[Metric, str]:
    if fields.score and fields.score in scalars:
        return "score", fields.score
    wanted = suite_metric(suite) if options.metric == "auto" else options.metric
    orders: tuple[Metric, ...] = (wanted,) if options.metric != "auto" else (wanted, "return", "success")
    for metric in () if fields.score else orders:
        for tag in TAGS[metric]:
            if tag in scalars:
                return metric, tag
    names = ", ".join(sorted(scalars)[:20]) or "none"
    raise InputError(
        f"{folder}: no event has a score; its scalar tags are {names}",
        expected=fields.score or f"one of {', '.join(tag for metric in orders for tag in TAGS[metric])}",
        fix="name the tag in run_fields.yaml beside the event files (score: ...)",
    )


def _read_scalars(file: Path, scalars: dict[str, list[tuple[float, float]]]) -> bool:
    """Add the scalars of a file, tag → (step, value); False when its end is cut off or damaged."""
    with open(file, "rb") as stream:
        while header := stream.read(12):
            if len(header) < 12:
                return False
            (length,) = struct.unpack("<Q", header[:8])
            if length > 1 << 30:  # no event is so large: the length itself is damaged
                return False
            data = stream.read(length)
            if len(data) < length or len(stream.read(4)) < 4:
                return False
            try:
                for step, tag, value in _scalars_of(data):
                    scalars.setdefault(tag.removeprefix("scalars/"), []).append((step, value))
            except (IndexError, struct.error, UnicodeDecodeError):
                return False
    return True


def _scalars_of(event: bytes) -> Iterator[tuple[int, str, float]]:
    step, summaries = 0, []
    for number, value in _messages(event):
        if number == 2 and isinstance(value, int):
            step = value - (1 << 64) if value >> 63 else value
        elif number == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for number, value in _messages(summary):
            if number == 1 and isinstance(value, bytes):
                tag, scalar = _value_of(value)
                if scalar is not None:
                    yield step, tag, scalar


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
