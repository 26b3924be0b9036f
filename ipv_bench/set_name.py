"""What a shard set is called: as its data set, or by a name of its own, so that sets from one reader stay apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ipv_bench.config import parse_overrides
from ipv_bench.errors import ConfigError
from ipv_bench.file_names import is_name, shown
from ipv_bench.plugins import plugin_names

LONGEST = 60
"""Characters of a name of one's own: several are joined in the names of run folders."""
TAKEN = ("none", "published", "unknown")
"""What run folders and records say of models that saw no videos, or nobody knows which."""


def own_name(name: str, dataset: str) -> bool:
    """Whether a set of the data set `dataset` may be called `name`, which is not the data set's."""
    return (
        is_name(name) and len(name) <= LONGEST and name not in (dataset, *TAKEN, *plugin_names("datasets"))
    )  # fmt: skip


def check_set_name(name: str, dataset: str) -> None:
    """Whether a set of `dataset` may be called `name`; empty: as the data set.

    Raises:
        ConfigError: it is no name, one that means something else in runs, or that of another data set, for which runs
            and figures would take the set.
    """
    if name in ("", dataset) or own_name(name, dataset):
        return
    if is_name(name) and len(name) <= LONGEST:
        means = (
            "in run folders it says something else" if name in TAKEN else f"runs and figures would take it for {name}"
        )
        raise ConfigError(
            f"name={name} for a set of the data set {dataset}",
            expected=f"{dataset}, or a name that nothing else has: {means}",
            fix=f"choose another, such as {dataset}-{name}",
        )
    raise ConfigError(
        f"name is {shown(name)}",
        expected=f"letters, digits, _ and - (at most {LONGEST})",
        fix="choose another, such as kitchen-2026",
    )


def default_places(dataset: str, overrides: Iterable[str]) -> tuple[Path, Path]:
    """Raw release and shard set of a `prepare` without `--source` and `--out`: by the name that the set will have.

    A release that lies under the data set's name is taken where none lies under the set's own.
    """
    name = parse_overrides(overrides).get("name")
    called = name if isinstance(name, str) and own_name(name, dataset) else dataset
    source, usual = Path("data/raw") / called, Path("data/raw") / dataset
    if not source.is_dir() and usual.is_dir():
        source = usual
    return source, Path("data/shards") / called
