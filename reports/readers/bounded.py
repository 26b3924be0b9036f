"""Loading of packed bytes and of foreign configs within bounds: size, depth, number of values; nothing is run.

A file from somebody else may be a terabyte, nest a hundred thousand lists, or hold a mapping that contains itself.
Whatever it is, it is read or refused by name, in bounded time and memory.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ipv_bench.errors import InputError

LARGEST_BYTES = 1 << 30
"""Unpacked bytes of one score file that are read into memory."""
LARGEST_CONFIG_BYTES = 1 << 18
"""Configs beside logs are pages of text; PyYAML takes seconds for a megabyte."""
MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_RECORD_VALUES = 1_000_000
"""A run's own record may list many shard sets."""


def read_bounded(path: Path, limit: int = LARGEST_BYTES) -> bytes:
    """The bytes of a file, unpacked when it is gzip-compressed (by its first bytes, not by its name).

    Raises:
        InputError: it cannot be read or unpacked, or holds more than `limit` bytes.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = gzip.GzipFile(fileobj=file).read(limit + 1) if packed else file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read: {error}",
            expected="a file that can be read, whole where it is packed",
            fix="restore the file, or leave it out",
        ) from None
    if len(data) > limit:
        raise InputError(
            f"{path} holds more than {limit >> 20} MiB", expected="a file of scores", fix="leave the file out"
        )
    return data


def check_bounds(values: Any, name: str) -> None:
    """Refuse values that nest too deeply or are too many for a run's record.

    Raises:
        InputError: see above.
    """
    try:
        _plain(values, [MAX_RECORD_VALUES], MAX_DEPTH)
    except ValueError as error:
        raise InputError(f"{name} holds {error}", expected="a record of a few pages", fix="leave the run out") from None


class _PlainLoader(yaml.SafeLoader):
    """YAML's plain values; a tag that names a class (`!!python/object:...`) is passed over and its contents kept."""


def _untagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


_PlainLoader.add_multi_constructor("", _untagged)
_PlainLoader.add_multi_constructor("tag:", _untagged)


def read_foreign_config(path: Path) -> dict[str, Any]:
    """A foreign project's config in YAML or JSON, as plain values; empty when there is none or it is unusable.

    A config beside a log is an extra: one that cannot be read leaves the log's names to be found otherwise.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST_CONFIG_BYTES else b""
        _check_depth(data)
        values = json.loads(data) if path.suffix == ".json" else yaml.load(data, _PlainLoader)
        values = _plain(_pairs(values), [MAX_VALUES], MAX_DEPTH)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
        return {}
    return dict(values) if isinstance(values, Mapping) else {}


def _check_depth(data: bytes) -> None:
    """Refuse deep nesting before a parser sees it: PyYAML takes seconds to fail at it."""
    depth = 0
    for bracket in re.findall(rb"[\[{}\]]", data):
        depth += 1 if bracket in b"[{" else -1
        if depth > 4 * MAX_DEPTH:
            raise ValueError("nests too deeply")
    if re.search(rb"(?:[-?:] +){%d}" % MAX_DEPTH, data):
        raise ValueError("nests too deeply")


def _pairs(values: Any) -> Any:
    """A list of pairs as a mapping: how PyYAML writes an ordered dictionary."""
    if isinstance(values, list) and len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    if isinstance(values, list) and values and all(isinstance(item, list) and len(item) == 2 for item in values):
        return {str(key): value for key, value in values}
    return values


def _plain(value: Any, left: list[int], depth: int) -> Any:
    """A copy that surely ends: YAML's aliases can make a page of text a tree without end."""
    left[0] -= 1
    if left[0] < 0 or depth < 0:
        raise ValueError("too many values, or too deep")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, left, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item, left, depth - 1) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        raise ValueError("an integer that no config holds")
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
