"""What the doctor says of other packages' plug-ins: where each is from, whether it loads, which names clash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ipv_bench.doctor_check import Check, python_run
from ipv_bench.extras import EXTRAS, install_command, missing_modules
from ipv_bench.plugins import KINDS, WORDS, Kind, Plugin, all_plugins, clashes

PLUGIN_DOORS: Mapping[Kind, str] = {
    "datasets": "pipelines.datasets.base:MEMBERS",
    "samples": "",
    "suites": "models.envs.registry:MEMBERS",
    "readers": "reports.readers.registry:MEMBERS",
    "methods": "models.methods.base:MEMBERS",
}
"""Kind of plug-in → where the members stand that its protocol asks for."""

LOAD_PLUGIN = """
import importlib, sys
from ipv_bench.errors import IpvBenchError
from ipv_bench.plugins import all_plugins
kind, name, package, door = sys.argv[1:]
module, _, attribute = door.partition(":")
members = getattr(importlib.import_module(module), attribute) if door else ()
plugin = next(p for p in all_plugins(kind) if (p.name, p.package) == (name, package))
try:
    plugin.load(members)
except IpvBenchError as error:
    sys.exit(error.found)
"""


def plugins() -> Iterator[Check]:
    """What other packages add, each loaded in a process of its own; a name that is given twice is a defect."""
    for kind in KINDS:
        twice = clashes(kind)
        for plugin in all_plugins(kind):
            if plugin.is_ours:
                continue
            others = [other.package for other in twice.get(plugin.name, ()) if other != plugin]
            yield _plugin(plugin, others)


def _plugin(plugin: Plugin, others: list[str]) -> Check:
    name = f"{WORDS[plugin.kind]} {plugin.name}"
    if others:
        found = f"{plugin.package} gives it ({plugin.target}), and {' and '.join(others)} does too"
        return Check(name, "wrong", found, "uninstall one of the packages, or rename its entry point")
    if plugin.kind == "methods" and missing_modules(EXTRAS["train"].modules):
        return Check(name, "missing", f"{plugin.package}; not tried without torch", install_command("train"), True)
    problem = python_run(LOAD_PLUGIN, arguments=(plugin.kind, plugin.name, plugin.package, PLUGIN_DOORS[plugin.kind]))
    if problem:
        return Check(name, "wrong", problem, f"mend or uninstall {plugin.package.split()[0]}")
    return Check(name, "ok", f"{plugin.package} ({plugin.target})")
