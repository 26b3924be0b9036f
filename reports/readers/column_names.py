"""Which column of a table is which: our names, the config's `columns:` map, and what others call them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

REQUIRED = ("method", "task", "seed", "step", "score")
OPTIONAL = ("suite", "variant", "metric", "action_repeat")

ALIASES: Mapping[str, tuple[str, ...]] = {
    "method": ("agent", "algo", "algorithm", "model", "approach", "name", "policy", "label", "group"),
    "task": ("env", "env_id", "env_name", "environment", "game", "task_name", "domain_task", "level"),
    "suite": ("benchmark", "domain", "family"),
    "seed": ("run_seed", "random_seed", "run", "run_id", "trial", "rep", "replicate"),
    "step": (
        "env_steps", "env_step", "frame", "frames", "steps", "timestep", "timesteps", "time_steps", "total_timesteps",
        "global_step", "environment_steps", "num_steps", "interactions", "iteration", "epoch", "x",
    ),
    "score": (
        "episode_reward", "episode_return", "episodic_return", "eval_return", "return", "reward", "returns",
        "mean_reward", "mean_return", "average_return", "success", "success_rate", "eval_success", "value", "result",
        "y",
    ),
}  # fmt: skip
"""What others call our columns, the likeliest first: for the map that a message suggests, never used unasked."""

DRQV2 = {"method": "agent", "task": "task", "seed": "seed", "step": "frame", "score": "episode_reward"}
"""The columns of DrQ-v2's published curves, which are read unasked."""


def plain(name: str) -> str:
    """A column's name in small letters, with `_` between words."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def our_columns(header: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Our name → the column that has it: by the config's map, else by our own name in any letters.

    DrQ-v2's set of names is recognised as a whole.
    """
    spelled = {plain(name): name for name in reversed(header)}
    found = {name: spelled[name] for name in (*REQUIRED, *OPTIONAL) if name in spelled}
    if not set(REQUIRED) <= set(found) and set(DRQV2.values()) <= set(spelled):
        found |= {ours: spelled[theirs] for ours, theirs in DRQV2.items()}
    for ours, theirs in columns.items():
        if theirs in header:
            found[ours] = theirs
        elif plain(theirs) in spelled:
            found[ours] = spelled[plain(theirs)]
    return found


def suggested_columns(header: Sequence[str], found: Mapping[str, str]) -> dict[str, str]:
    """A `columns:` map that would make a table readable: for each column that is missing, the likeliest one."""
    spelled = {plain(name): name for name in reversed(header)}
    free = {short: name for short, name in spelled.items() if name not in found.values()}
    suggested: dict[str, str] = {}
    for ours in REQUIRED:
        if ours in found:
            continue
        likely = [alias for alias in ALIASES[ours] if alias in free] or [
            short for short in free if any(word in short.split("_") for word in (ours, *ALIASES[ours]))
        ]
        if likely:
            suggested[ours] = free.pop(likely[0])
    return suggested


def as_line(columns: Mapping[str, str]) -> str:
    """The map as one line of the config."""
    return "columns: {" + ", ".join(f"{ours}: {_quoted(theirs)}" for ours, theirs in columns.items()) + "}"


def _quoted(name: str) -> str:
    return (
        name if re.fullmatch(r"[A-Za-z_][\w/.-]*", name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
