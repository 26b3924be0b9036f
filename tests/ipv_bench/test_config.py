"""Configs: presets, files, overrides, and what is refused with which words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, PositiveInt, field_validator, model_validator

from ipv_bench import config
from ipv_bench.bounded_json import as_model
from ipv_bench.config_faults import SECTION, RefusedValueError
from ipv_bench.errors import ConfigError, RunError, UnknownNameError


class Inner(config.Config):
    depth: int = 8
    kind: Literal["a", "b"] = "a"

    @model_validator(mode="after")
    def _even(self) -> Inner:
        if self.depth % 2:
            raise RefusedValueError(
                f"{SECTION}depth {self.depth} is odd", expected="an even one", fix=f"set {SECTION}depth=2"
            )
        return self


class Ruled(config.Config):
    """Fields whose values are told by their types and bounds."""

    name: str
    share: float = Field(0.5, ge=0, lt=1)
    size: int = Field(64, ge=32, multiple_of=16)
    count: PositiveInt | None = None
    graph: Literal["auto"] | bool = False
    steps: list[PositiveInt] = Field([1], min_length=1)
    sizes: tuple[PositiveInt, ...] = Field((1,), min_length=1)
    by_name: dict[str, Inner] = {}
    rows: list[Inner] = []
    plain: int = 0

    @field_validator("plain")
    @classmethod
    def _small(cls, value: int) -> int:
        if value > 5:
            raise ValueError("it is too large")
        return value


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


FAULTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a bound": (
        {"share": 1}, "share is 1", "a number, at least 0, below 1", "give share such a value, or leave it out",
    ),
    "all bounds, whichever is broken": (
        {"size": 8}, "size is 8", "a whole number, at least 32, a multiple of 16",
        "give size such a value, or leave it out",
    ),
    "a bound inside of what may be null": (
        {"count": 0}, "count is 0", "a whole number, above 0 or null", "give count such a value, or leave it out",
    ),
    "a union, told once by its key": (
        {"graph": "fast"}, "graph is 'fast'", "auto or true or false", "give graph such a value, or leave it out",
    ),
    "an empty list": (
        {"steps": []}, "steps is []", "a list, 1 or more long", "give steps such a value, or leave it out",
    ),
    "a number without an end": (
        {"share": math.inf}, "share is inf", "a finite number, at least 0, below 1",
        "give share such a value, or leave it out",
    ),
    "an element": ({"steps": [3, -1]}, "steps.1 is -1", "a whole number, above 0", "give steps.1 such a value"),
    "the only element": (
        {"sizes": [0]}, "sizes.0 is 0", "a whole number, above 0", "give sizes.0 such a value",
    ),
    "null": ({"share": None}, "share is null", "a number, at least 0, below 1", "give share such a value, or leave it "
             "out"),
    "a value for a section": (
        {"rows": [7]}, "rows.0 is 7", "a section with depth, kind", "give rows.0 such a value",
    ),
    "a choice far inside": (
        {"by_name": {"x": {"kind": "c"}}}, "by_name.x.kind is 'c'", "one of a, b",
        "give by_name.x.kind such a value, or leave it out",
    ),
    "an unknown key in a list": (
        {"rows": [{"dept": 4}]}, "unknown config key 'rows.0.dept'", "one of depth, kind", "did you mean 'depth'?",
    ),
    "a rule of ours, by keys from the root": (
        {"by_name": {"x": {"depth": 3}}}, "by_name.x.depth 3 is odd", "an even one", "set by_name.x.depth=2",
    ),
    "a rule that says no more": (
        {"plain": 9}, "plain: it is too large (found 9)", "a whole number", "change plain",
    ),
    "nothing where something must be": ({"name": ...}, "name is missing", "a text", "set name"),
    "two faults": (
        {"share": 1, "by_name": {"x": {"depth": 3}}}, "share is 1; by_name.x.depth 3 is odd",
        "share: a number, at least 0, below 1; an even one",
        "give share such a value, or leave it out; set by_name.x.depth=2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_says_what_was_found_what_was_expected_and_what_to_do(case: str) -> None:
    changes, found, expected, fix = FAULTS[case]
    values = {key: value for key, value in {"name": "n", **changes}.items() if value is not ...}
    with pytest.raises(ConfigError) as caught:
        config.build(Ruled, values)
    assert caught.value.found == f"the config has wrong values: {found}"
    assert (caught.value.expected, caught.value.fix) == (expected, fix)


def test_a_rule_of_ours_is_whole_where_no_command_tells_it() -> None:
    with pytest.raises(ValueError, match=r"depth 3 is odd \(expected: an even one; to do: set depth=2\)"):
        Inner(depth=3)
    with pytest.raises(RunError) as caught:
        as_model(Inner, {"depth": 3}, "run.json", error=RunError, fix="restore it")
    assert (caught.value.expected, caught.value.fix) == ("an even one", "restore it")
    assert caught.value.found.endswith("depth 3 is odd")


@pytest.mark.parametrize("key", ["inner.depth.more", "inner.x", "zzz", "zzz.depth"])
def test_a_key_that_is_not_there_says_which_are(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.check_key(Outer, key)
    assert caught.value.expected
    assert caught.value.fix
    assert "dry-run" not in caught.value.fix


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
