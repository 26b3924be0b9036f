"""Plug-ins: data sets, sample releases, task suites, log readers and methods, ours and those of other packages.

Ours stand in `OURS`; another package names its own as entry points of its distribution, in the group
`ipv_bench.<kind>`:

    [project.entry-points."ipv_bench.datasets"]
    my-videos = "my_package.videos:DATA_SET"

Nothing is imported before it is used. A name that two packages give is refused when it is used, naming both.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any, Literal, get_args

from ipv_bench.errors import IpvBenchError, PluginError, UnknownNameError

Kind = Literal["datasets", "samples", "suites", "readers", "methods"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OUR_PACKAGE = "ipv-bench"

OURS: Mapping[Kind, Mapping[str, str]] = {
    "datasets": {
        "ssv2": "pipelines.datasets.ssv2:DATA_SET",
        "human36m": "pipelines.datasets.human36m:DATA_SET",
        "youtube-driving": "pipelines.datasets.youtube_driving:DATA_SET",
        "ego4d": "pipelines.datasets.ego4d:DATA_SET",
        "rlbench": "pipelines.datasets.rlbench:DATA_SET",
        "folder": "pipelines.datasets.folder:DATA_SET",
        "episodes": "pipelines.datasets.episodes:DATA_SET",
        "lerobot": "pipelines.datasets.lerobot:DATA_SET",
    },
    "samples": {
        "ssv2": "pipelines.samples.ssv2:write_sample",
        "human36m": "pipelines.samples.human36m:write_sample",
        "youtube-driving": "pipelines.samples.youtube_driving:write_sample",
        "ego4d": "pipelines.samples.ego4d:write_sample",
        "rlbench": "pipelines.samples.rlbench:write_sample",
        "folder": "pipelines.samples.folder:write_sample",
        "lerobot": "pipelines.samples.lerobot:write_sample",
        "moving-blob": "pipelines.samples.moving_blob:write_sample",
        "moving-blob-distractor": "pipelines.samples.moving_blob:write_sample_with_distractor",
    },
    "suites": {
        "dmc": "models.envs.dmc:SUITE",
        "metaworld": "models.envs.metaworld:SUITE",
        "dmcr": "models.envs.dmc_remastered:SUITE",
        "carla": "models.envs.carla.suite:SUITE",
        "metaworld-remastered": "models.envs.metaworld_remastered:SUITE",
        "highway": "models.envs.highway:SUITE",
        "gym": "models.envs.gym:SUITE",
        "robosuite": "models.envs.robosuite:SUITE",
    },
    "readers": {
        "run": "reports.readers.run_format1:READER",
        "protocol-result": "reports.readers.protocol_result:READER",
        "dreamer-metrics": "reports.readers.dreamer_metrics:READER",
        "tensorboard": "reports.readers.tensorboard:READER",
        "dreamerv3-scores": "reports.readers.dreamerv3_scores:READER",
        "tdmpc2": "reports.readers.tdmpc2:READER",
        "wandb-export": "reports.readers.wandb_export:READER",
        "sb3-evaluations": "reports.readers.sb3_evaluations:READER",
        "sb3-monitor": "reports.readers.sb3_monitor:READER",
        "rllib-results": "reports.readers.rllib_results:READER",
        "run-table": "reports.readers.run_table:READER",
        "plain-csv": "reports.readers.plain_csv:READER",
    },
    "methods": {
        "contextwm": "models.methods.contextwm:METHOD",
        "apv": "models.methods.apv:METHOD",
        "dreamerv2": "models.methods.dreamerv2:METHOD",
        "prelar": "models.methods.prelar:METHOD",
        "uwm": "models.methods.uwm:METHOD",
        "drqv2": "models.methods.drqv2.method:METHOD",
        "isodream": "models.methods.isodream:METHOD",
    },
}
"""Kind → name → where it is. Readers are asked in this order, those of other packages before ours."""

WORDS: Mapping[Kind, str] = {
    "datasets": "data set",
    "samples": "sample release",
    "suites": "task suite",
    "readers": "log reader",
    "methods": "method",
}
"""What messages call one of a kind."""


@dataclass(frozen=True)
class Plugin:
    """A plug-in that is known and not yet imported.

    Attributes:
        kind: what it is.
        name: as on the command line.
        target: `module:attribute`.
        package: the distribution that it comes from, with its version where it is not ours.
    """

    kind: Kind
    name: str
    target: str
    package: str

    @property
    def is_ours(self) -> bool:
        """Whether it is part of ipv-bench."""
        return self.package == OUR_PACKAGE

    def load(self, members: tuple[str, ...] = ()) -> Any:
        """Import it.

        Args:
            members: what the protocol of its kind asks for.

        Raises:
            PluginError: it cannot be imported, or lacks a member.
            ModuleNotFoundError: ours, where an optional package is not installed.
        """
        module, _, attribute = self.target.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except IpvBenchError:
            raise
        except Exception as error:  # foreign code may raise anything; whatever it is belongs to its package
            if self.is_ours:
                raise
            raise PluginError(
                f"{WORDS[self.kind]} {self.name!r} of {self.package} cannot be loaded from {self.target}: "
                f"{type(error).__name__}: {error}",
                expected="a module that can be imported and has that name",
                fix=f"mend or uninstall {self.package.split()[0]}",
            ) from error
        lacking = [member for member in members if not hasattr(found, member)]
        if lacking:
            raise PluginError(
                f"{WORDS[self.kind]} {self.name!r} of {self.package} ({self.target}) lacks {', '.join(lacking)}",
                expected=f"an object with {', '.join(members)}; docs/plugins.md has a complete example",
                fix=f"mend or uninstall {self.package.split()[0]}",
            )
        return found


def all_plugins(kind: Kind) -> Iterator[Plugin]:
    """Every plug-in of a kind: other packages' first, by package and name, then ours. Nothing is imported."""
    yield from _foreign(kind)
    for name, target in OURS[kind].items():
        yield Plugin(kind, name, target, OUR_PACKAGE)


def plugin_names(kind: Kind) -> list[str]:
    """The names of a kind: ours in our order, then other packages' sorted."""
    return list(dict.fromkeys([*OURS[kind], *sorted(plugin.name for plugin in _foreign(kind))]))


def find_plugin(kind: Kind, name: str) -> Plugin:
    """The plug-in of that name.

    Raises:
        UnknownNameError: there is none; the nearest is named.
        PluginError: several packages give one of that name.
    """
    found = [plugin for plugin in all_plugins(kind) if plugin.name == name]
    if not found:
        raise UnknownNameError(WORDS[kind], name, plugin_names(kind))
    if len(found) > 1:
        raise PluginError(
            f"{WORDS[kind]} {name!r} is given by {' and by '.join(plugin.package for plugin in found)}",
            expected="one package per name",
            fix="uninstall one of the packages, or rename its entry point",
        )
    return found[0]


def clashes(kind: Kind) -> dict[str, list[Plugin]]:
    """Names that several packages give."""
    by_name: dict[str, list[Plugin]] = {}
    for plugin in all_plugins(kind):
        by_name.setdefault(plugin.name, []).append(plugin)
    return {name: plugins for name, plugins in by_name.items() if len(plugins) > 1}


def _foreign(kind: Kind) -> list[Plugin]:
    entries = [entry for entry in _our_entries(_path_now()) if entry.group == f"ipv_bench.{kind}"]
    # One distribution may be seen through several folders of the path.
    found = {(entry.name, entry.value, _package(entry)): entry for entry in entries}
    plugins = [Plugin(kind, name, value.replace(" ", ""), package) for name, value, package in found]
    return sorted(plugins, key=lambda plugin: (plugin.package, plugin.name))


@lru_cache(maxsize=1)
def _our_entries(path: tuple[tuple[str, int, int], ...]) -> list[metadata.EntryPoint]:
    """Entry points in groups of ours, of what is installed in those folders.

    The files of all installed packages are read for them, a plan asks thirty times, and they stay as they are until
    something is installed, which changes its folder.
    """
    found = metadata.entry_points()
    return [entry for group in found.groups if group.startswith("ipv_bench.") for entry in found.select(group=group)]


def _path_now() -> tuple[tuple[str, int, int], ...]:
    """Where packages are looked for: each folder, which one that is, and when it was changed; zeros where it is not."""
    places = []
    for place in sys.path:
        try:
            found = os.stat(place or ".")
            places.append((place, found.st_ino, found.st_mtime_ns))
        except OSError:
            places.append((place, 0, 0))
    return tuple(places)


def _package(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
