"""YAML that somebody else made: no objects, bounded nesting, bounded repetition by aliases, none of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ipv_bench.bounded_file import (
    INTEGER_HIGH,
    INTEGER_LOW,
    MAX_DEPTH,
    MEGABYTE,
    ErrorKind,
    is_well_formed,
    read_text,
)
from ipv_bench.errors import InputError
from ipv_bench.file_names import shown

MAX_NODES = 200_000
"""Values and keys after aliases are written out."""


class _BoundedLoader(yaml.SafeLoader):
    """Counts nodes and levels while they are composed: a text that would grow is refused before it does."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth, self._count = 0, 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node, with its children; an alias counts as much as what it stands for."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            node: Any = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise _at(event, "an alias stands for a part that contains it")
            self._add(self._sizes[id(node)], event)
            return node
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _at(event, f"nested deeper than {MAX_DEPTH} levels")
        before = self._count
        self._add(1, event)
        node = super().compose_node(parent, index)
        self._sizes[id(node)] = self._count - before
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping's node; the plain reader would take the last of two values of one key without a word."""
        node: Any = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], Any] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                first = seen.setdefault((key.tag, key.value), key)
                if first is not key:
                    raise _at(key, f"{shown(key.value, 100)} is said twice (first in line {first.start_mark.line + 1})")
        return node

    def _add(self, count: int, event: Any) -> None:
        self._count += count
        if self._count > MAX_NODES:
            raise _at(event, f"more than {MAX_NODES:,} values, aliases written out")


def _at(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def parse_yaml(text: str, where: str, *, error: ErrorKind = InputError, expected: str = "", fix: str = "") -> Any:
    """The value of a YAML text.

    Args:
        text: the text.
        where: file or option for messages.
        error: kind of error to raise.
        expected, fix: of the error.

    Raises:
        error: no YAML, a key twice in one mapping, tags other than the plain ones, nested deeper than 64 levels,
            an alias that contains itself, more than 200,000 values, a whole number beyond 64 bits, half a character.
    """
    loader = None
    try:
        loader = _BoundedLoader(text)
        value = loader.get_single_data()
        _check_scalars(value)
    except yaml.MarkedYAMLError as found:
        raise error(f"{where} is not YAML: {_first_words(found)}", expected=expected, fix=fix) from None
    except (
        # What PyYAML's constructors let through for texts such as `!!bool x`, `!!int ""`, `2024-99-99`.
        yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError, RecursionError
    ) as found:  # fmt: skip
        raise error(f"{where} is not YAML: {shown(str(found), 200)}", expected=expected, fix=fix) from None
    finally:
        if loader is not None:
            loader.dispose()
    return value


def read_yaml(
    path: str | Path, *, error: ErrorKind = InputError, limit: int = MEGABYTE, expected: str = "", fix: str = ""
) -> Any:
    """The value in a YAML file; see `parse_yaml`.

    Raises:
        error: it is absent, no regular file, larger than `limit` bytes, or not such YAML.
    """
    text = read_text(path, error=error, limit=limit, fix=fix)
    return parse_yaml(text, str(path), error=error, expected=expected, fix=fix)


def _check_scalars(value: Any) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set):
            waiting += item
        elif isinstance(item, int) and not INTEGER_LOW <= item <= INTEGER_HIGH:
            raise ValueError("a whole number beyond 64 bits")
        elif isinstance(item, str) and not is_well_formed(item):
            raise ValueError("half a character (a lone surrogate)")


def _first_words(found: yaml.MarkedYAMLError) -> str:
    words = found.problem or found.context or "unreadable"
    mark = found.problem_mark or found.context_mark
    return words[:300] + (f" in line {mark.line + 1}, column {mark.column + 1}" if mark else "")
