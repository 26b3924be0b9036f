"""What a config file beside a log says about its run: method, task, seed and action repeat, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.readers.bounded import read_foreign_config
from reports.readers.path_layouts import NEUTRAL, Fields
from reports.scores.task_names import known_task, split_dreamer_task, split_task

FILES = (
    "config.yaml", "used_config.yaml", ".hydra/config.yaml", "config.yml", "args.yml", "args.yaml", "params.json",
    "config.json", "args.json", "variant.json", "hparams.yaml", "flags.yaml", "flags.json", "configs.yaml",
)  # fmt: skip
"""Names of config files, in the order in which they are looked for."""
_TASK = (
    "task",
    "env_id",
    "env_name",
    "env",
    "environment",
    "task_name",
    "env.id",
    "env.name",
    "env.task",
    "environment.name",
)
_SEED = ("seed", "run_seed", "random_seed", "training.seed", "general.seed", "exp.seed", "debugging.seed")
_METHOD = (
    "method",
    "algo",
    "algorithm",
    "agent_name",
    "algo.name",
    "algo_name",
    "exp_name",
    "agent.name",
    "model_name",
)
_NO_METHODS = {"default", "exp", "experiment", "test", "debug", "run", "train"}
"""Values of `exp_name` that tools ship."""
_REPEAT = ("action_repeat", "env.action_repeat", "frame_skip")


@dataclass(frozen=True)
class ConfigBeside:
    """A config beside a log.

    Attributes:
        values: the config as plain values; empty when there is none.
        fields: method, suite, task and seed, as far as it names them.
        action_repeat: control steps per agent step, where it says.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    fields: Fields = field(default_factory=dict)
    action_repeat: int | None = None


def config_beside(folder: Path) -> ConfigBeside:
    """The first usable config in a log's folder, or in its run's folder when the log lies in `eval/` or the like."""
    for path in _places(folder):
        values = read_foreign_config(path)
        if values:
            return ConfigBeside(values, _fields(values), _whole(_first(values, _REPEAT)))
    return ConfigBeside()


def _places(folder: Path) -> Iterator[Path]:
    here = folder.resolve()
    for _ in range(3):
        for name in FILES:
            if (here / name).is_file():
                yield here / name
        yield from _inside(here)
        if not NEUTRAL.fullmatch(here.name):
            return
        here = here.parent


def _inside(folder: Path) -> Iterator[Path]:
    """rl-zoo keeps a run's settings in a folder named after its environment: `<env>_1/<env>/args.yml`."""
    inner = folder / folder.name.rpartition("_")[0]
    if inner != folder and (inner / "args.yml").is_file():
        yield inner / "args.yml"


def _fields(values: Mapping[str, Any]) -> Fields:
    found: Fields = {}
    task = _text(_first(values, _TASK))
    if task:
        suite, name = split_dreamer_task(task) if _is_dreamers(values, task) else split_task(task)
        found = {"task": name} | ({"suite": suite} if suite else {})
        named = _text(values.get("suite"))
        if named:
            found["suite"] = named
    seed = _first(values, _SEED)
    if isinstance(seed, int | float | str) and not isinstance(seed, bool) and str(seed).strip():
        found["seed"] = str(seed)
    method = _text(_first(values, _METHOD))
    if method and method.lower() not in _NO_METHODS:
        found["method"] = method
    return found


def _is_dreamers(values: Mapping[str, Any], task: str) -> bool:
    """Dreamer's family writes `task: <suite>_<task>`; so does nobody who gives the suite apart."""
    return ("task" in values and "logdir" in values) or known_task(task) is not None


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        found: Any = values
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
            if isinstance(found, Mapping) and set(found) <= {"desc", "value"}:  # as W&B writes every field
                found = found.get("value")
        if isinstance(found, str | int | float) and not isinstance(found, bool) and found != "":
            return found
    return None


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1000 else None
