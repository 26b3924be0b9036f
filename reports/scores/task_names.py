"""Task suites: how tasks are named by others, and what a suite's tasks are scored by."""

from __future__ import annotations

from reports.scores.score_table import Metric

SUITE_METRIC: dict[str, Metric] = {
    "dmc": "return",
    "dmcr": "return",
    "metaworld": "success",
    "rlbench": "success",
    "myosuite": "success",
    "maniskill": "success",
    "carla": "return",
    "atari": "return",
}
"""What each suite is reported in; other suites by their return."""

_MANISKILL = {"lift-cube", "pick-cube", "stack-cube", "pick-ycb", "turn-faucet"}


def suite_metric(suite: str) -> Metric:
    """What a suite's tasks are scored by."""
    return SUITE_METRIC.get(suite, "return")


def split_dreamer_task(name: str) -> tuple[str, str]:
    """Suite and task of Dreamer's `<suite>_<task>`; DreamerV3's `dmc_vision` and `dmc_proprio` count as suites.

    `metaworld_drawer_open` → ("metaworld", "drawer_open"). A name without an underscore has no suite.
    """
    suite, underscore, task = name.partition("_")
    return (suite, task) if underscore else ("", name)


def split_tdmpc2_task(name: str) -> tuple[str, str]:
    """Suite and task of TD-MPC2's file names, hyphens as underscores.

    `mw-` is Meta-world, `myo-` MyoSuite, five names are ManiSkill's, and the rest are DMControl's.
    """
    prefix, _, rest = name.partition("-")
    if prefix == "mw":
        return "metaworld", rest.replace("-", "_")
    if prefix == "myo":
        return "myosuite", rest.replace("-", "_")
    return ("maniskill" if name in _MANISKILL else "dmc"), name.replace("-", "_")
