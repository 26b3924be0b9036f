"""What the papers' figures name and this toolkit cannot run yet, each with the reason.

Figures draw such runs where a log has them; `report --missing-commands` and `sweep` skip them and say why. An entry
goes by itself: as soon as a plug-in of the name is known (`ipv_bench.plugins`), it is planned no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ipv_bench.plugins import plugin_names

_METHODS: Mapping[str, str] = {}
_TASKS: Mapping[str, str] = {}


def planned_methods() -> dict[str, str]:
    """Method → why it cannot be run yet."""
    known = set(plugin_names("methods"))
    return {name: reason for name, reason in _METHODS.items() if name not in known}


def planned_tasks() -> dict[str, str]:
    """Task, `<suite>/<task>` → why it cannot be run yet; a suite that is known brings all of its tasks."""
    known = set(plugin_names("suites"))
    return {name: reason for name, reason in _TASKS.items() if name.partition("/")[0] not in known}


@dataclass(frozen=True)
class Planned:
    """What is planned at one moment; looking through all installed packages takes 40 ms, so ask once for many runs."""

    methods: Mapping[str, str] = field(default_factory=planned_methods)
    tasks: Mapping[str, str] = field(default_factory=planned_tasks)

    def why(self, method: str, task: str) -> str:
        """Why runs of a method on a task cannot be made; empty where they can, or where neither is planned."""
        return self.methods.get(method) or self.tasks.get(task) or ""
