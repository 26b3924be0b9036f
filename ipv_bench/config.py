"""Typed configuration: pydantic models, YAML presets, `--set key=value`.

Each component declares its config beside itself as a subclass of `Config`; a command resolves preset →
`--config` file → `--set` overrides into one of them. Unknown keys and wrong types are refused with the nearest known
name.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ipv_bench.bounded_yaml import parse_yaml, read_yaml
from ipv_bench.config_faults import refusal
from ipv_bench.errors import ConfigError, UnknownNameError, nearest_name
from ipv_bench.file_names import shown


class Config(BaseModel):
    """Base of all configs: frozen, every field typed and documented, unknown keys refused."""

    # Without `use_attribute_docstrings`: reading every field's text out of the source is a fifth of a command's start.
    # No field means anything by an infinite number, and JSON, in which `run.json` keeps a config, has none.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ConfigT = TypeVar("ConfigT", bound=Config)


@dataclass(frozen=True)
class Resolved(Generic[ConfigT]):
    """A config, and how it came about.

    Attributes:
        config: the typed, complete config.
        preset: the preset's name.
        overrides: dotted key → value, for each value that differs from the preset, by file or `--set`.
    """

    config: ConfigT
    preset: str
    overrides: dict[str, Any]


def preset_names(area: str, presets: Traversable | None = None) -> list[str]:
    """Names of the presets of `area` ("pretrain", "finetune", ...) in the folder `presets`; None: ours."""
    folder = _area_folder(area, presets)
    if not folder.is_dir():
        return []
    return sorted({entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name[0] != "_"})


def load_preset(area: str, name: str, parts: Iterable[str] = (), presets: Traversable | None = None) -> dict[str, Any]:
    """Values of a preset.

    A preset is a folder `<name>/` with one file per part, or one file `<name>.yaml` for all parts that have none. The
    first of `parts` that has a file is taken (fine-tuning passes "<suite>-<task>" and "<suite>", each with "@<method>"
    before it alone: settings differ by suite). A file may name another one in `base:`, of its folder or of the one
    above, whose values it changes; files whose names start with `_` are only that.

    Args:
        area: "pretrain", "finetune", ...
        name: of the preset.
        parts: see above.
        presets: folder with a folder per area; None: ours.

    Raises:
        UnknownNameError: no such preset, or no file of it fits.
    """
    folder, wanted = _area_folder(area, presets), list(parts)
    if name in preset_names(area, presets):
        inside = folder / name
        for part in wanted:
            if (inside / f"{part}.yaml").is_file():
                return _read_with_base((inside, folder), f"{part}.yaml")
        if (folder / f"{name}.yaml").is_file():
            return _read_with_base((folder,), f"{name}.yaml")
        known = [
            entry.name.removesuffix(".yaml")
            for entry in inside.iterdir()
            if entry.name[0] != "_" and "@" not in entry.name
        ]
        raise UnknownNameError(f"suite for {area} preset {name!r}:", wanted[-1] if wanted else "", known)
    raise UnknownNameError(f"{area} preset", name, preset_names(area, presets))


def _area_folder(area: str, presets: Traversable | None) -> Traversable:
    return (presets or resources.files("ipv_bench") / "presets") / area


def _read_with_base(folders: Sequence[Traversable], file_name: str) -> dict[str, Any]:
    """A file of the first of `folders` that has it, over what its `base:` names there."""
    folder = next((folder for folder in folders if (folder / file_name).is_file()), folders[0])
    values: dict[str, Any] = yaml.safe_load((folder / file_name).read_text()) or {}
    base = values.pop("base", None)
    return merge(_read_with_base(folders, f"{base}.yaml"), values) if base else values


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Values of a user's YAML config.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    if not Path(path).exists():
        raise ConfigError(
            f"cannot read the config {path}: No such file or directory", expected="a YAML file", fix="check the path"
        )
    values = read_yaml(
        path, error=ConfigError, expected="YAML, each key once", fix="mend the line that the message names"
    )
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds a {type(values).__name__}",
            expected="key: value lines",
            fix="write each setting as a line of its own, `key: value`",
        )
    return values


def parse_override(text: str) -> tuple[str, Any]:
    """Split `key=value`; the value is read as YAML (`true`, `3`, `[a, b]`, `null`, text).

    Raises:
        ConfigError: there is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"--set {text!r} has no key and value",
            expected="key=value, such as data.batch_size=8",
            fix="write both in one word, in quotes where the value has spaces",
        )
    told = {"expected": "a number, a word or a list [a, b]", "fix": "close its brackets and quotes"}
    return key.strip(), parse_yaml(value, f"--set {shown(text)}: the value", error=ConfigError, **told)


def parse_overrides(overrides: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    """Overrides as dotted key → value, from `key=value` texts or from a mapping that already is one."""
    return dict(overrides) if isinstance(overrides, Mapping) else dict(parse_override(text) for text in overrides)


def resolve(
    config_class: type[ConfigT],
    area: str,
    preset: str,
    *,
    parts: Iterable[str] = (),
    config_file: str | Path | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    fixed: Mapping[str, Any] | None = None,
    presets: Traversable | None = None,
) -> Resolved[ConfigT]:
    """Build a config from a preset, a file and overrides, in this order.

    `fixed` holds values that stand as if the preset had them; `presets` is the folder of the presets, None: ours.

    Raises:
        UnknownNameError: unknown preset.
        ConfigError: unknown key (the nearest one is named), wrong type, or value out of range.
    """
    base = merge(load_preset(area, preset, parts, presets), fixed or {})
    values = merge(base, read_config_file(config_file)) if config_file else base
    for key, value in parse_overrides(overrides).items():
        check_key(config_class, key)
        values = merge(values, nested(key, value))
    config = build(config_class, values)
    before, after = (
        flatten(build(config_class, base).model_dump(mode="json")),
        flatten(config.model_dump(mode="json")),
    )
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return Resolved(config, preset, changed)


def build(config_class: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Check `values` and build the config.

    Raises:
        ConfigError: unknown key, wrong type, missing field, or value out of range; all of them in one message.
    """
    for key in flatten(values):
        check_key(config_class, key)
    try:
        return config_class.model_validate(values)
    except ValidationError as error:
        raise refusal(error, config_class) from None


def check_key(config_class: type[BaseModel], key: str) -> None:
    """Refuse a dotted key that the config does not have, naming the nearest one.

    Raises:
        ConfigError: unknown key.
    """
    current: type[BaseModel] | None = config_class
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if current is None:
            if depth and not _takes_mapping(config_class, parts[:depth]):
                name = ".".join(parts[:depth])
                raise ConfigError(
                    f"{name} is a value and has no field {part!r}",
                    expected=f"{name} with a value of its own",
                    fix=f"set {name} itself",
                )
            return
        if part not in current.model_fields:
            known = list(flatten_fields(config_class))
            near = nearest_name(key, known) or nearest_name(part, current.model_fields)
            raise ConfigError(
                f"unknown config key {key!r}",
                expected=f"one of {', '.join(sorted(current.model_fields))}",
                fix=f"did you mean {near!r}?" if near else "leave it out",
            )
        current = _inner_config(current.model_fields[part].annotation)


def _takes_mapping(config_class: type[BaseModel], parts: list[str]) -> bool:
    current: Any = config_class
    for part in parts[:-1]:
        current = _inner_config(current.model_fields[part].annotation) if current is not None else None
        if current is None:
            return True
    annotation = current.model_fields[parts[-1]].annotation
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    return any(typing.get_origin(option) is dict or option is dict for option in options)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _inner_config(annotation: Any) -> type[BaseModel] | None:
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    for option in options:
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def flatten_fields(config_class: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Dotted name → annotation of every field, nested ones included."""
    found: dict[str, Any] = {}
    for name, field in config_class.model_fields.items():
        inner = _inner_config(field.annotation)
        if inner is None:
            found[prefix + name] = field.annotation
        else:
            found.update(flatten_fields(inner, f"{prefix}{name}."))
    return found


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted key → value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found.update(flatten(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def nested(key: str, value: Any) -> dict[str, Any]:
    """`nested("a.b", 1)` is `{"a": {"b": 1}}`."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping; neither is modified."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def lay(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested `base` with dotted `changes` laid over it."""
    values = dict(base)
    for key, value in changes.items():
        values = merge(values, nested(key, value))
    return values


def in_sections(key: str, names: Iterable[str]) -> bool:
    """Whether a dotted key is one of `names`, or a field of one."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line per dotted key whose value differs: `key: old → new`."""
    before, after = flatten(old), flatten(new)
    keys = sorted(before.keys() | after.keys())
    missing = "(absent)"
    return [
        f"{key}: {before.get(key, missing)!r} → {after.get(key, missing)!r}"
        for key in keys
        if before.get(key, missing) != after.get(key, missing)
    ]
