"""Configs: presets, files, overrides, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from ipv_bench import config
from ipv_bench.errors import ConfigError, UnknownNameError


class Inner(config.Config):
    depth: int = 8
    kind: Literal["a", "b"] = "a"


class Outer(config.Config):
    inner: Inner = Inner()
    lr: float = 1e-3
    names: list[str] = []
    extra: dict[str, int] = {}


def test_overrides_are_read_as_yaml_and_reach_nested_fields(tmp_path: Path) -> None:
    pairs = config.parse_overrides(["inner.depth=16", "lr=3e-4", "names=[x, y]", "extra.k=3"])
    values: dict = {}
    for key, value in pairs.items():
        config.check_key(Outer, key)
        values = config.merge(values, config.nested(key, value))
    built = config.build(Outer, values)
    assert (built.inner.depth, built.lr, built.names, built.extra) == (16, 3e-4, ["x", "y"], {"k": 3})
    assert built.inner.kind == "a"


@pytest.mark.parametrize(
    ("key", "suggested"), [("inner.dept", "inner.depth"), ("iner.depth", "inner.depth"), ("lrr", "lr")]
)
def test_an_unknown_key_names_the_nearest(key: str, suggested: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{suggested}'"):
        config.check_key(Outer, key)


def test_a_field_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="'depth' is a value|inner.depth is a value"):
        config.check_key(Outer, "inner.depth.more")


@pytest.mark.parametrize("values", [{"inner": {"depth": "deep"}}, {"inner": {"kind": "c"}}, {"lr": None}])
def test_a_wrong_value_names_its_field_and_what_was_found(values: dict) -> None:
    key = next(iter(config.flatten(values)))
    with pytest.raises(ConfigError, match=key):
        config.build(Outer, values)


@pytest.mark.parametrize("text", ["depth", "=3", "lr=[1"])
def test_a_malformed_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        config.parse_override(text)


def test_a_config_file_must_be_a_yaml_mapping(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for text in ("- 1", "a: [", "just words"):
        file.write_text(text)
        with pytest.raises(ConfigError):
            config.read_config_file(file)
    with pytest.raises(ConfigError, match="cannot read"):
        config.read_config_file(tmp_path / "absent.yaml")


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tiny'"):
        config.load_preset("pretrain", "tinny")


def test_differences_show_each_key_that_changed() -> None:
    lines = config.differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
    assert lines == ["a.c: 2 → 3", "d: '(absent)' → 4"]
