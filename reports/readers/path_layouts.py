"""What a log's path says in the layouts that the field's tools write; nothing where it is not one of them.

    CleanRL     runs/<env>__<exp>__<seed>__<time>
    SB3         <env>/<ALGO>_<n>            rl-zoo: <algo>/<env>_<n>
    SheepRL     <algo>/<env>/<date>_<exp>_<seed>/version_0
    RLlib       <ALGO>_<env>_<trial>_<number>_<params>_<date>
    Hydra       <date>/<time>_key=value,...
    others      <task>/<method>/<seed>, <method>/<task>/<seed>, <suite>/<task>/<method>/<seed>, <task>/<method>_<seed>

A part counts as a task only when it is surely one (`known_task`), so that a method is never taken for a task or a task
for a method; a date is neither; a number of eight digits or more is a time and no seed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from reports.scores.task_names import ALGORITHM, is_suite, known_task, split_task

NEUTRAL = re.compile(
    r"(train|training|eval|evals|evaluation|evaluator|evaluations|test|tests|actor|learner|environment_loop|logs?|tb|"
    r"tensorboard|tensorboard_logs?|tf_logs?|events|summaries|summary|metrics|scalars|logger|csv|version_\d+|"
    r"lightning_logs|\.hydra|in_graph_\w+)",
    re.IGNORECASE,
)
"""Folders below a run's own, which say nothing about it."""
EVALUATION = re.compile(r"(eval|evals|evaluation|evaluator|evaluations|test)", re.IGNORECASE)
TRAINING = re.compile(r"(train|training|actor)", re.IGNORECASE)
"""Folders that say whether their logs are of the evaluation or of training."""
_CONTAINER = re.compile(
    r"(runs?|logs?|logdirs?|results?|outputs?|out|exps?|exp_local|experiments?|data|local|multirun|tmp|temp|tb|scores?|"
    r"tensorboard|wandb|mlruns|checkpoints|models?|acme|ray_results|curves|home|root|work|mnt|scratch|users?|"
    r"ipv-bench-report-.*)",
    re.IGNORECASE,
)
"""Folders that hold runs: no name of anything, and nothing above them is one."""
TIME = re.compile(
    r"(\d{4}[-_.]?\d{2}[-_.]?\d{2}([-_. T]?\d{2}([-_:.]?\d{2}){1,2})?(\.\d+)?Z?"
    r"|\d{2}[-_:.]\d{2}[-_:.]\d{2}|\d{8,14}(\.\d+)?)"
)
"""A date, a time, or both; also seconds since 1970."""
_TIME_BEFORE = re.compile(r"^(?:" + TIME.pattern + r")[-_]+(?=\D)")
_TIME_AFTER = re.compile(r"[-_]+(?:" + TIME.pattern + r")$")
SEED = re.compile(r"(?:(?:seed|s|run|rep|trial)[-_=]?)?(\d{1,7})", re.IGNORECASE)
_NAME_AND_SEED = re.compile(r"(?P<name>.*?[^_-])(?:[-_](?:seed|s|run)[-_=]?|[-_])(?P<seed>\d{1,7})", re.IGNORECASE)
_RLLIB = re.compile(
    r"(?P<method>[A-Za-z]\w*?)_(?P<task>[A-Za-z][^_].*?)_(?:[0-9a-f]{5,8}_\d{5}(?:_.*)?|\d+_\d{4}-\d\d-\d\d_.*)"
)
_KEYS = {
    "seed": "seed", "task": "task", "env": "task", "env_id": "task", "env_name": "task", "method": "method",
    "agent": "method", "algo": "method", "algorithm": "method", "suite": "suite", "task_name": "task",
}  # fmt: skip

Fields = dict[str, str]


def own_parts(folder: PurePath) -> list[str]:
    """The parts of a log's folder that may name something, outermost first: no folders of the tool, no containers."""
    parts = [part for part in folder.parts if part != folder.anchor]
    while parts and NEUTRAL.fullmatch(parts[-1]):
        parts.pop()
    for place in range(len(parts) - 1, -1, -1):
        if _CONTAINER.fullmatch(parts[place]):
            return parts[place + 1 :]
    return parts


def layout_fields(folder: PurePath) -> Fields:
    """What the path of a log's folder says: any of method, suite, task and seed."""
    parts = own_parts(folder)[-5:]
    for place in range(len(parts) - 1, -1, -1):
        found = _one_folder(parts[place], parts[place - 1] if place else "")
        if found:
            return found
    keyed: Fields = {}
    for part in parts:
        keyed |= {} if SEED.fullmatch(part) else _key_values(part)
    if keyed:
        plain = [
            name for part in parts if "=" not in part and (name := without_time(part)) and not SEED.fullmatch(name)
        ]
        return (_task_and_method(plain) if plain else {}) | keyed
    if len(parts) > 1 and parts[-1].isdigit() and TIME.fullmatch(parts[-2]):
        return {}  # Hydra numbers its jobs below a date: no seed
    plain = [name for part in parts if (name := without_time(part))]
    return _folders(plain) if plain else {}


def without_time(part: str) -> str:
    """A folder's name without the date before or behind it; empty when it is a date."""
    return "" if TIME.fullmatch(part) else _TIME_AFTER.sub("", _TIME_BEFORE.sub("", part))


def run_name_fields(name: str) -> Fields:
    """What a run's name says (a tracker's, or a folder's alone)."""
    return _one_folder(name, "") or _key_values(name) or _folders(name.split("/"))


def _one_folder(part: str, above: str) -> Fields:
    """Fields of a folder that says everything in its name: CleanRL's and RLlib's."""
    pieces = part.split("__")
    if len(pieces) >= 3 and re.fullmatch(r"\d{1,7}", pieces[2]) and pieces[0] and pieces[1]:
        task = f"{above}/{pieces[0]}" if above and is_suite(above) and known_task(f"{above}/{pieces[0]}") else pieces[0]
        suite, task = split_task(task)
        return {"method": pieces[1], "suite": suite, "task": task, "seed": pieces[2]}
    found = _RLLIB.fullmatch(part)
    if found:
        suite, task = split_task(found["task"])
        return {"method": found["method"], "suite": suite, "task": task, **_key_values(part)}
    return {}


def _key_values(part: str) -> Fields:
    """`task=walker_walk,seed=1`, as Hydra names folders."""
    found: Fields = {}
    for name, value in re.findall(
        r"(?:^|[,_+ ])\+*([A-Za-z][\w.]*?)=([^,=]+?)(?=,|$|_[A-Za-z][\w.]*=|_\d{4}-\d\d)", part
    ):
        short = name.split(".")[-1]
        field = "seed" if short.endswith("_seed") else _KEYS.get(short)
        if field == "task":
            suite, task = split_task(value)
            found |= {"task": task} | ({"suite": suite} if suite else {})
        elif field:
            found.setdefault(field, value)
    return found


def _folders(parts: Sequence[str]) -> Fields:
    """Fields of nested folders, from what each of them surely is."""
    inner = parts[-1]
    seed = SEED.fullmatch(inner)
    if seed:
        return _task_and_method(parts[:-1]) | {"seed": seed.group(1)}
    inner = _TIME_AFTER.sub("", inner)
    named = _NAME_AND_SEED.fullmatch(inner)
    if not named or known_task(inner):
        return _task_and_method(parts)
    name, number = named["name"], named["seed"]
    if not re.search(r"[A-Za-z]", name):
        return {}
    above = [part for part in parts[:-1] if part != name]  # Spinning Up: <exp>/<exp>_s<seed>
    joined = _joined(name) if len(above) < len(parts) - 1 else {}
    if "method" in joined:  # <algo>-<env>/<algo>-<env>_s<seed>
        return joined | {"seed": number}
    if len(above) >= 2 and name == f"{above[-2]}_{above[-1]}":  # SheepRL: <algo>/<env>/<algo>_<env>_<seed>
        suite, task = split_task(above[-1])
        return {"method": above[-2], "suite": suite, "task": task, "seed": number}
    return _task_and_method([*above, name]) | {"seed": number}


def _task_and_method(parts: Sequence[str]) -> Fields:
    """Task and method among the two innermost folders: known when exactly one of them is surely a task."""
    if len(parts) >= 2:
        first, second = parts[-2], parts[-1]
        tasks = [known_task(first), known_task(second)]
        if tasks[0] and not tasks[1]:
            return _with_suite(parts[:-2], tasks[0]) | {"method": second}
        if tasks[1] and not tasks[0]:
            return _method_above(parts[:-1], tasks[1])
        ours = len(parts) >= 3 and is_suite(parts[-3]) and not ALGORITHM.match(first)
        if ours and not any(tasks):  # <suite>/<task>/<method>
            return {"suite": parts[-3], "task": first, "method": second}
    elif len(parts) == 1:
        return _joined(parts[0])
    return {}


def _with_suite(above: Sequence[str], task: tuple[str, str]) -> Fields:
    suite = task[0] or (above[-1] if above and is_suite(above[-1]) else "")
    return {"suite": suite, "task": task[1]}


def _method_above(parts: Sequence[str], task: tuple[str, str]) -> Fields:
    """<method>/<task>, or <method>/<suite>/<task>."""
    fields = _with_suite(parts, task)
    above = [part for part in parts if not is_suite(part)]
    return fields | ({"method": above[-1]} if above else {})


def _joined(part: str) -> Fields:
    """`<task>-<method>` or `<method>-<task>` in one name, when exactly one way of cutting it has a known task."""
    for marks in (r"-+", r"[-_]+"):
        found = [
            fields for mark in re.finditer(marks, part) for fields in _cut(part[: mark.start()], part[mark.end() :])
        ]
        if len(found) == 1:
            return found[0]
    known = known_task(part)
    return {"suite": known[0], "task": known[1]} if known else {}


def _cut(first: str, second: str) -> list[Fields]:
    pairs = [(known_task(task), method) for task, method in ((first, second), (second, first))]
    return [
        {"suite": task[0], "task": task[1], "method": method}
        for task, method in pairs
        if task and method and not known_task(method)
    ]
