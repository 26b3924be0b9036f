"""What a task suite says of itself that other rooms need; asked of its plug-in, ours or another package's."""

from __future__ import annotations

from functools import cache

from ipv_bench.errors import IpvBenchError
from ipv_bench.plugins import find_plugin


@cache
def suite_resource_keys(suite: str) -> frozenset[str]:
    """Config keys of a suite's runs that say where its environments run and how patiently: hosts, ports, timeouts.

    Args:
        suite: its name; none are known of one that is not installed here.

    Returns:
        Dotted keys, all of them in `env`: runs that differ in these alone have one config.
    """
    try:
        config = find_plugin("suites", suite).load(("config",)).config
    except (IpvBenchError, ImportError):
        return frozenset()
    return frozenset(f"env.{name}" for name in getattr(config, "resource_fields", ()))
