"""Task suites: how tasks are named by others, and what a suite's tasks are scored by."""

from __future__ import annotations

import re

from ipv_bench.plugins import plugin_names
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

_OTHER_NAMES = {
    "carla": {
        "ClearNoon": "clear_noon", "WetSunset": "wet_sunset", "Changing": "dynamic_weather",
        "dynamic": "dynamic_weather", "DynamicWeather": "dynamic_weather",
    },
}  # fmt: skip
"""Suite → a task's name in the ContextWM release's logs and its paper → ours."""

_PREFIXES = (
    "dmc_vision", "dmc_proprio", "dmcr", "dmc", "metaworld", "rlbench", "myosuite", "maniskill", "carla", "atari100k",
    "atari57", "atari200m", "atari", "crafter", "minecraft", "dmlab", "procgen", "robodesk", "loconav", "pinpad",
    "bsuite", "memorymaze",
)  # fmt: skip
"""Suites by which Dreamer's family begins its task names: `<suite>_<task>`."""

_DMC_TASKS = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse", "two_poles", "three_poles"),
    "cheetah": ("run",),
    "cup": ("catch",),
    "dog": ("stand", "walk", "trot", "run", "fetch"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("upright", "swim"),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run", "run_pure_state"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("walk", "run", "escape", "fetch"),
    "reach": ("duplo",),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer6", "swimmer15"),
    "walker": ("stand", "walk", "run"),
}
DMC_TASKS = frozenset(f"{domain}_{task}" for domain, tasks in _DMC_TASKS.items() for task in tasks)
"""The DeepMind Control Suite's tasks as `<domain>_<task>`; `cup_catch` and `reach_duplo` as DrQ-v2 has them."""

_NAMESPACES = ("ALE", "dm_control", "gymnasium_robotics", "minigrid", "procgen", "shimmy")
ALGORITHM = re.compile(
    r"(a2c|a3c|apv|bc|contextwm|curl|ddpg|dqn|dreamer|drq|impala|iql|isodream|planet|ppo|rainbow|random|sac|td3|tdmpc|tqc)",
    re.IGNORECASE,
)
"""How names of algorithms begin."""
_GYM_ID = re.compile(r"[A-Za-z][\w.:-]*-v\d{1,3}")
"""An environment's name as Gymnasium registers it, with its version."""


def suite_metric(suite: str) -> Metric:
    """What a suite's tasks are scored by."""
    return SUITE_METRIC.get(suite, "return")


def our_task(suite: str, task: str) -> str:
    """A task's name as we spell it, where others spell it otherwise."""
    return _OTHER_NAMES.get(suite, {}).get(task, task)


def known_task(name: str) -> tuple[str, str] | None:
    """Suite and task of a name that is surely a task's; None for any other name.

    `dmc_walker_walk`, `walker-walk` and `dmc/walker_walk` → ("dmc", "walker_walk"); `Hopper-v4` → ("", "Hopper-v4");
    `ALE/Pong-v5` → ("ALE", "Pong-v5").
    """
    plain = name if "_" in name else name.replace("-", "_")
    if plain.lower() in DMC_TASKS:
        return "dmc", plain.lower()
    for prefix in _PREFIXES:
        if plain.startswith(prefix + "_") and len(plain) > len(prefix) + 1:
            rest = plain[len(prefix) + 1 :]
            return (prefix, rest) if re.fullmatch(r"\w+", rest) else None
    if name.startswith("mw-") and len(name) > 3:
        return split_tdmpc2_task(name)
    space, slash, task = name.partition("/")
    if slash and task and (is_suite(space) or space in plugin_names("suites")):
        return space, task
    return ("", name) if _GYM_ID.fullmatch(name) and not _is_algorithm(name) else None


def _is_algorithm(name: str) -> bool:
    """Whether a name begins with an algorithm's and goes on with an environment's: `sac-Ant-v4`."""
    first, _, rest = name.partition("-")
    return bool(re.fullmatch(rf"{ALGORITHM.pattern}(v?\d)?", first, re.IGNORECASE) and _GYM_ID.fullmatch(rest))


def is_suite(name: str) -> bool:
    """Whether a name is that of a known suite or of a namespace of environments."""
    return name in _PREFIXES or name in _NAMESPACES or name in SUITE_METRIC


def split_task(name: str) -> tuple[str, str]:
    """Suite and task of any task's name; no suite where none is known."""
    return known_task(name) or ("", name)


def split_dreamer_task(name: str) -> tuple[str, str]:
    """Suite and task of Dreamer's `<suite>_<task>`; DreamerV3's `dmc_vision` and `dmc_proprio` count as suites.

    `metaworld_drawer_open` → ("metaworld", "drawer_open"). A name without an underscore has no suite.
    """
    known = known_task(name)
    if known:
        return known
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
