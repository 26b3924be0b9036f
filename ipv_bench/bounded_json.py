"""JSON that somebody else made: bounded nesting, bounded numbers, whole characters, the kind that is expected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ipv_bench.bounded_file import (
    INTEGER_HIGH,
    INTEGER_LOW,
    MAX_DEPTH,
    ErrorKind,
    decode_text,
    is_well_formed,
    read_bytes,
    strings,
    too_deep,
    unreadable,
)
from ipv_bench.config_faults import own_refusal
from ipv_bench.errors import InputError
from ipv_bench.file_names import shown

MAX_LINE_BYTES = 64 << 20
"""Longest line of a log; evaluations with many episodes have kilobytes."""

Model = TypeVar("Model", bound=BaseModel)


class _NumberError(ValueError):
    """A number that is refused, as it stands in the text."""

    def __init__(self, text: str, kind: str, expected: str) -> None:
        super().__init__(kind)
        self.text, self.kind, self.expected = text, kind, expected


def _whole(text: str) -> int:
    if len(text) <= 21 and INTEGER_LOW <= (number := int(text)) <= INTEGER_HIGH:
        return number
    raise _NumberError(text, f"a whole number of {len(text.lstrip('-'))} digits", "at most 64 bits")


def _no_constant(text: str) -> float:
    raise _NumberError(text, "no JSON number", "a finite number, or null")


_STRICT = json.JSONDecoder(parse_int=_whole, parse_constant=_no_constant)
_WITH_NAN = json.JSONDecoder(parse_int=_whole)


def parse_json(
    text: str | bytes,
    where: str,
    *,
    error: ErrorKind = InputError,
    expect: type[dict[Any, Any]] | type[list[Any]] | None = None,
    nan: bool = False,
    fix: str = "",
) -> Any:
    """The value of a JSON text.

    Args:
        text: UTF-8 when bytes.
        where: file (and line) for messages.
        error: kind of error to raise.
        expect: `dict` or `list`, when the whole must be an object or an array.
        nan: whether `NaN` and `Infinity`, which are no JSON but are written by many programs, are read.
        fix: what the user can do.

    Raises:
        error: no JSON, another kind, nested deeper than 64, a whole number beyond 64 bits, half a character.
    """
    if isinstance(text, bytes):
        text = decode_text(text, where, error=error, fix=fix)
    try:
        value = (_WITH_NAN if nan else _STRICT).decode(text)
    except RecursionError:
        raise _nested(where, error, fix) from None
    except _NumberError as found:
        line = text.count("\n", 0, max(text.find(found.text), 0)) + 1
        told = f"{where} line {line}: {shown(found.text, 24)} is {found.kind}"
        raise error(told, expected=found.expected, fix=fix) from None
    except ValueError as found:
        raise error(f"{where} is not JSON: {found}", expected="one JSON document, whole", fix=fix) from None
    if too_deep(value):
        raise _nested(where, error, fix)
    if "\\u" in text and not all(map(is_well_formed, strings(value))):
        raise error(
            f"{where} holds half a character (a lone surrogate \\ud800 … \\udfff)", expected="whole ones", fix=fix
        )
    if expect is not None and not isinstance(value, expect):
        wanted = "an object {…}" if expect is dict else "an array […]"
        raise error(f"{where} holds {_kind(value)}", expected=wanted, fix=fix)
    return value


def read_json(
    path: str | Path,
    *,
    error: ErrorKind = InputError,
    expect: type[dict[Any, Any]] | type[list[Any]] | None = None,
    nan: bool = False,
    limit: int = 1 << 30,
    fix: str = "",
) -> Any:
    """The value in a JSON file; see `parse_json`.

    Raises:
        error: it is absent, no regular file, larger than `limit` bytes, or not such JSON.
    """
    data = read_bytes(path, error=error, limit=limit, fix=fix)
    return parse_json(data, str(path), error=error, expect=expect, nan=nan, fix=fix)


def read_json_lines(path: str | Path, *, error: ErrorKind = InputError, fix: str = "") -> Iterator[dict[str, Any]]:
    """Objects of a log with one a line; a last line that is cut off (a running or killed run) is left out.

    Raises:
        error: the file is absent or cannot be read, or a line before the last is no JSON object; the line is named.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise error(f"{path} is " + ("no regular file" if path.exists() else "absent"), expected="a log", fix=fix)
        with open(path, "rb") as file:
            number = 0
            while (raw := file.readline(MAX_LINE_BYTES + 1)).endswith(b"\n"):
                number += 1
                where = f"{path} line {number}"
                value: dict[str, Any] = parse_json(raw, where, error=error, expect=dict, fix=fix)
                yield value
    except OSError as found:
        raise unreadable(path, found, error=error, fix=fix) from found
    if len(raw) > MAX_LINE_BYTES:
        raise error(
            f"{path} line {number + 1} is longer than {MAX_LINE_BYTES:,} bytes", expected="one object a line", fix=fix
        )


def as_model(model: type[Model], values: Any, where: str, *, error: ErrorKind = InputError, fix: str = "") -> Model:
    """Values that were read from a file, as a pydantic model.

    Raises:
        error: a field is absent or of another type; the first one is named.
    """
    try:
        return model.model_validate(values)
    except ValidationError as found:
        first = found.errors(include_input=False, include_url=False)[0]
        place = ".".join(shown(part, 60).strip("'") for part in first["loc"]) or "the whole"
        own = own_refusal(first)
        told = own.at("") if own else None
        raise error(
            f"{where}: {place}: {told.found if told else first['msg'].removeprefix('Value error, ')}",
            expected=told.expected if told else "the fields that ipv-bench writes there",
            fix=fix,
        ) from None
    except RecursionError:
        raise _nested(where, error, fix) from None


def _nested(where: str, error: ErrorKind, fix: str) -> Exception:
    return error(f"{where} is nested too deeply", expected=f"at most {MAX_DEPTH} levels", fix=fix)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a text", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")
