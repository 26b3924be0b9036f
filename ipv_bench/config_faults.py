"""What is wrong with a config, in the words of every message: what was found, what was expected, what to do.

A validator of ours raises `RefusedValueError` with all three. What pydantic finds by a field's own type and bounds is
told from these: `drqv2.noise.steps is -1`, expected `a whole number, at least 0`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ipv_bench.errors import ConfigError, nearest_name
from ipv_bench.file_names import shown

SECTION = "\0section\0"
"""In texts of a `RefusedValueError`: the section that its validator is of, with a dot ("extractor."), or nothing."""

_KINDS: Mapping[Any, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list", tuple: "a list",
    dict: "key: value lines",
}  # fmt: skip
_BOUNDS: Mapping[str, str] = {
    "ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}", "multiple_of": "a multiple of {}",
    "min_length": "{} or more long", "max_length": "at most {} long",
}  # fmt: skip


class RefusedValueError(ValueError):
    """Raised by a validator of a config; `build` makes a `ConfigError` of it, which says the same.

    Args:
        found: the keys, and the values that cannot be.
        expected: what they should be.
        fix: which key to set to what.
    """

    def __init__(self, found: str, *, expected: str, fix: str) -> None:
        self.found, self.expected, self.fix = found, expected, fix
        super().__init__(f"{found} (expected: {expected}; to do: {fix})".replace(SECTION, ""))

    def at(self, section: str) -> Fault:
        """The fault, with its keys from the whole config's root."""
        before = f"{section}." if section else ""
        return Fault(*(text.replace(SECTION, before) for text in (self.found, self.expected, self.fix)))


@dataclass(frozen=True)
class Fault:
    """One fault of a config.

    Attributes:
        found, expected, fix: see `ipv_bench.errors.IpvBenchError`.
        key: dotted key that `expected` is about where it does not name one itself.
    """

    found: str
    expected: str
    fix: str
    key: str = ""


def refusal(error: ValidationError, config_class: type[BaseModel]) -> ConfigError:
    """All faults that pydantic and our validators found, as one error."""
    errors = error.errors(include_url=False)
    found = [one for one in errors if not _follows_from_others(one, errors)]
    faults = list(dict.fromkeys(_fault(one, config_class) for one in found))
    named = [f"{fault.key}: {fault.expected}" if fault.key and faults[1:] else fault.expected for fault in faults]
    return ConfigError(
        "the config has wrong values: " + "; ".join(fault.found for fault in faults),
        expected="; ".join(dict.fromkeys(named)),
        fix="; ".join(dict.fromkeys(fault.fix for fault in faults)),
    )


def _follows_from_others(error: Mapping[str, Any], errors: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a list is only called too short because elements of it, which have errors of their own, do not count."""
    place = tuple(error["loc"])
    return error["type"] == "too_short" and any(
        len(one["loc"]) > len(place) and tuple(one["loc"][: len(place)]) == place for one in errors
    )


def own_refusal(error: Mapping[str, Any]) -> RefusedValueError | None:
    """What a validator of ours raised, of an entry of `ValidationError.errors()`; None: another fault."""
    raised = error.get("ctx", {}).get("error")
    return raised if isinstance(raised, RefusedValueError) else None


def _fault(error: Mapping[str, Any], config_class: type[BaseModel]) -> Fault:
    place, found, kind = _Place.of(config_class, error["loc"]), error.get("input"), error["type"]
    own, key = own_refusal(error), place.key
    if own is not None:
        return own.at(key)
    if kind == "extra_forbidden":
        return _unknown(place)
    change = f"give {key} such a value" if key else "change one of them"
    if kind == "missing":
        return Fault(f"{key} is missing", place.expected, f"set {key}", key)
    if place.field is not None and not place.field.is_required():
        change += ", or leave it out"
    if kind in ("value_error", "assertion_error"):  # of a validator that says no more
        text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        rule = isinstance(found, Mapping)  # about several fields: it says by itself what it found
        where = f"{key}: " if key else ""
        return Fault(
            where + text + ("" if rule else f" (found {_value(found)})"),
            "values that go together" if rule or not place.expected else place.expected,
            f"change {key}" if key else "change one of them", "" if rule else key,
        )  # fmt: skip
    if error["loc"] and error["loc"][-1] == "[key]":
        return Fault(f"{key} is the name of an entry", "names that are texts", "put it in quotes")
    expected = place.expected or str(error["msg"])
    if kind == "string_type" and isinstance(found, int | float | date):  # YAML reads more than texts
        change = f"""put it in quotes, so that it is a text (--set '{key}="…"'), or leave it out"""
    if kind == "finite_number":
        expected = expected.replace(_KINDS[float], "a finite number", 1)
    return Fault(f"{key} is {_value(found)}", expected, change, key)


def _unknown(place: _Place) -> Fault:
    name, known = place.key.rpartition(".")[2], place.siblings
    near = nearest_name(name, known)
    return Fault(
        f"unknown config key {place.key!r}",
        f"one of {', '.join(sorted(known))}",
        f"did you mean {near!r}?" if near else "leave it out",
        place.key.rpartition(".")[0],
    )


@dataclass(frozen=True)
class _Place:
    """Where in a config a fault is.

    Attributes:
        key: dotted.
        expected: what may stand there, by type and bounds.
        field: the field itself; None: inside a list or mapping, or unknown.
        siblings: fields of the section that it would be one of.
    """

    key: str
    expected: str
    field: FieldInfo | None
    siblings: tuple[str, ...]

    @classmethod
    def of(cls, config_class: type[BaseModel], loc: Iterable[int | str]) -> _Place:
        """The place that pydantic's `loc` means: it names the members of unions too, which are no keys."""
        parts: list[str] = []
        current: Any = config_class
        bounds: tuple[Any, ...] = ()
        field: FieldInfo | None = None
        siblings: tuple[str, ...] = ()
        whole: Any = config_class
        for part in loc:
            if part == "[key]":  # it is about the name itself
                break
            options = _options(current)
            if len(options) > 1:  # then the part says which of them
                current = next((one for one in options if _tag(one) == str(part).partition("[")[0]), None)
                continue
            (option,) = options or (None,)
            if _is_section(option):
                siblings, field = tuple(option.model_fields), option.model_fields.get(str(part))
                current, bounds = (field.annotation, tuple(field.metadata)) if field else (None, ())
            elif option is not None:
                current, bounds, field = _element(option, part), (), None
            else:
                continue
            whole = current
            parts.append(str(part))
        return cls(".".join(parts), _phrase(whole, bounds), field, siblings)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _bare(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation, and the bounds that it carries itself (`PositiveInt`)."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *bounds = typing.get_args(annotation)
        return inner, tuple(bounds)
    return annotation, ()


def _options(annotation: Any) -> tuple[Any, ...]:
    """What a value may be of beside null."""
    bare, _ = _bare(annotation)
    return tuple(_bare(one)[0] for one in _union(bare) or (bare,) if one not in (type(None), None))


def _union(bare: Any) -> tuple[Any, ...]:
    """Members of a union; empty: it is none."""
    return typing.get_args(bare) if typing.get_origin(bare) in (typing.Union, types.UnionType) else ()


def _tag(annotation: Any) -> str:
    """What pydantic calls a member of a union, without what stands in brackets."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return "literal"
    return str(getattr(origin or annotation, "__name__", ""))


def _element(annotation: Any, part: int | str) -> Any:
    """What a list or a mapping holds at `part`; None: it says no more."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple and Ellipsis not in arguments and isinstance(part, int):
        return arguments[part] if part < len(arguments) else None
    if typing.get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if arguments else None


def _phrase(annotation: Any, bounds: Iterable[Any]) -> str:
    """What may stand somewhere, in words; empty where anything may."""
    bare, own = _bare(annotation)
    limits = [
        words.format(getattr(bound, name))
        for bound in (*own, *bounds)
        for name, words in _BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    options = _union(bare)
    if not options:
        return ", ".join([word for word in (_kind(bare),) if word] + limits)
    kinds = [_phrase(one, ()) for one in options if one is not type(None)]
    text = ", ".join([" or ".join(kinds), *limits])
    return text + (", or null" if limits else " or null") if type(None) in options else text


def _kind(bare: Any) -> str:
    origin = typing.get_origin(bare)
    if origin is Literal:
        words = [_value(one) if not isinstance(one, str) else one or "''" for one in typing.get_args(bare)]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if _is_section(bare):
        return f"a section with {', '.join(sorted(bare.model_fields))}"
    if origin is tuple and Ellipsis not in typing.get_args(bare):
        return f"a list of {len(typing.get_args(bare))}"
    return _KINDS.get(origin or bare, "")


def _value(value: Any) -> str:
    """A value as YAML has it, short."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        text = "[" + ", ".join(_value(one) for one in value[:20]) + "]"
        return text if len(text) <= 80 else text[:80] + "…"
    if isinstance(value, Mapping):
        return "a section"
    return shown(value)
