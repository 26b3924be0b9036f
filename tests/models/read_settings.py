"""Settings that a config looks at: tests of several methods share small ones, and what a method has not is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from ipv_bench.config import Resolved, in_sections, parse_overrides
from ipv_bench.errors import ConfigError
from models.finetuning.config import resolve_finetuning
from models.pretraining.config import resolve_pretraining


def read_settings(
    resolve: Callable[[dict[str, Any]], Resolved[Any]], values: Mapping[str, Any], words: Iterable[str] = ()
) -> dict[str, Any]:
    """Those of `values` that have an effect beside one another and beside the `--set key=value` in `words`.

    All of them where the config is refused for another reason, which the command will tell.
    """
    given = list(words)
    own = parse_overrides(word for flag, word in pairwise(given) if flag == "--set")
    try:
        config = resolve({**values, **own}).config
    except ConfigError:
        return dict(values)
    unread = config.unread()
    return {key: value for key, value in values.items() if not in_sections(key, unread)}


def read_pretraining(values: Mapping[str, Any]) -> dict[str, Any]:
    """`read_settings` of the pre-training preset `tiny`."""
    return read_settings(lambda values: resolve_pretraining("tiny", overrides=values), values)


def read_finetuning(values: Mapping[str, Any], words: Iterable[str] = (), suite: str = "dmc") -> dict[str, Any]:
    """`read_settings` of the fine-tuning preset `tiny`."""
    parts = (suite,) if suite else ()
    return read_settings(lambda values: resolve_finetuning("tiny", suite, parts=parts, overrides=values), values, words)


def read_agent(values: Mapping[str, Any]) -> dict[str, Any]:
    """`read_settings` of an agent that is made apart from any suite, as `build_agent("tiny", ...)` does."""
    return read_finetuning(values, suite="")
