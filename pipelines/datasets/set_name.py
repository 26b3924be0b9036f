"""What a shard set is called: as its data set, or by a name of its own, so that sets from one reader stay apart."""

from __future__ import annotations

from collections.abc import Iterable

from ipv_bench.config import parse_overrides
from ipv_bench.errors import ConfigError
from ipv_bench.file_names import NAME_RULE, is_name, shown
from ipv_bench.plugins import plugin_names


def check_set_name(name: str, dataset: str) -> None:
    """Whether a set of `dataset` may be called `name`; empty: as the data set.

    Raises:
        ConfigError: it is no name, or that of another data set, for which the set would be taken in runs and figures.
    """
    if name and not is_name(name):
        raise ConfigError(f"name is {shown(name)}", expected=NAME_RULE, fix="choose another, such as kitchen-2026")
    if name != dataset and name in plugin_names("datasets"):
        raise ConfigError(
            f"name={name} for a set of the data set {dataset}",
            expected=f"{dataset}, or a name that no data set has: runs and figures would take it for {name}",
            fix=f"choose another, such as {dataset}-{name}",
        )


def default_place(dataset: str, overrides: Iterable[str]) -> str:
    """Folder below data/raw/ and data/shards/ of a set without `--source` and `--out`: its name.

    One that is no name leads nowhere: `check_set_name` refuses it before anything is read or written.
    """
    name = parse_overrides(overrides).get("name")
    return str(name) if is_name(name) else dataset
