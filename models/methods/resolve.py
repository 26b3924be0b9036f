"""Config of a run by its method: which method is meant, its presets, its sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ipv_bench.config import Resolved, lay, load_preset, merge, parse_overrides, read_config_file, resolve
from ipv_bench.errors import ConfigError
from models.methods.base import OUR_PRESETS, Method, find_method
from models.world_models.config import DEFAULT_METHOD, MethodConfig

ConfigT = TypeVar("ConfigT", bound=MethodConfig)


def resolve_for_method(
    config_class: Callable[[Method], type[ConfigT]],
    area: str,
    preset: str,
    *,
    parts: Iterable[str] = (),
    config_file: str | Path | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
) -> Resolved[ConfigT]:
    """Resolve a config whose class and presets follow the method.

    The method is what `--set method=` says, else the config file, else the preset of ours. In `overrides` of the result
    it stands where it is not the preset's own. What a choice brings with it (`MethodConfig.brought`) stands as if the
    preset had it.

    Args:
        config_class: gives a method's config class.
        area: "pretrain" or "finetune".
        preset: name of the preset.
        parts: see `ipv_bench.config.load_preset`; before each comes its file for this method alone, `<part>@<method>`.
        config_file: YAML over the preset.
        overrides: `key=value` texts, or dotted key → value, over both.

    Raises:
        UnknownNameError: unknown preset or method.
        ConfigError: unknown key or wrong value.
        PluginError: the method belongs to another package and does not work.
    """
    changes, parts = parse_overrides(overrides), list(parts)
    file_values = read_config_file(config_file) if config_file else {}
    named = changes.pop("method", None) or file_values.get("method")
    own = _preset_method(area, preset, parts) if named is None else None
    name = named or own or DEFAULT_METHOD
    if not isinstance(name, str):
        raise ConfigError(
            f"method is {name!r}", expected="the name of a method", fix="`ipv-bench doctor` lists those that there are"
        )
    method = find_method(name)
    parts = [file for part in parts for file in (f"{part}@{name}", part)]
    own_class, preset_values = config_class(method), load_preset(area, preset, parts, method.presets)
    chosen = lay(merge(preset_values, file_values), changes)
    resolved = resolve(
        own_class, area, preset, parts=parts, config_file=config_file, overrides=changes,
        fixed=lay({"method": name}, own_class.brought(chosen)), presets=method.presets,
    )  # fmt: skip
    preset_method = preset_values.get("method") or DEFAULT_METHOD
    said = {} if name == preset_method else {"method": name}
    derived = resolved.config.derived()
    chosen = {key: value for key, value in resolved.overrides.items() if key not in derived}
    return Resolved(resolved.config, resolved.preset, said | chosen)


def _preset_method(area: str, preset: str, parts: Iterable[str]) -> Any:
    return load_preset(area, preset, parts, OUR_PRESETS).get("method")
