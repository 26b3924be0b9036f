"""Which runs each line of a described figure is made of, which are missing, and names that cannot be right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ipv_bench.config import flatten
from ipv_bench.errors import ConfigError, UnknownNameError
from ipv_bench.planned import Planned, planned_methods, planned_tasks
from ipv_bench.plugins import plugin_names
from reports.config import FigureConfig, MethodLine, PanelConfig
from reports.figures.one_pretraining import of_most, pretrained_on
from reports.scores.pooling import changes_of_its_model
from reports.scores.score_table import ScoredRun, flatten_where, matches

KNOWN_FIELDS = (
    "method", "variant", "suite", "task", "seed", "metric", "format", "status", "preset", "label",
    "pretraining.kind", "pretraining.data", "pretraining.num_videos", "pretraining.updates", "pretraining.variant",
    "parent.run", "context.fusion", "reward.dual", "reward.gain", "init_parts", "latent_action.posterior",
)  # fmt: skip
"""Fields that a `where` may name although no run that was read has them."""


@dataclass(frozen=True)
class MissingRun:
    """A run that a figure asks for and that was not among those read.

    Attributes:
        drawn: a run of its seed is drawn, which has not ended or is of another preset: it still is to be made.
    """

    figure: str
    label: str
    where: tuple[tuple[str, Any], ...]
    suite: str
    task: str
    seed: int
    preset: str
    drawn: bool = False


@dataclass(frozen=True)
class Selection:
    """The runs of one panel.

    Attributes:
        title: the panel's title.
        show: "tasks" (one task) or "aggregate".
        tasks: `suite/task` of each task in it.
        groups: legend label → runs, also for labels without runs.
        missing: runs that are not there.
        config: the panel's description, complete.
        left_out: runs that fit a line but for changes that it does not name: label → name of the run → those changes.
        pretrained_on: what the runs of a line were pre-trained on, where they differ in it: label → words → names of
            the runs. Those of the first words are drawn.
    """

    title: str
    show: str
    tasks: tuple[str, ...]
    groups: Mapping[str, tuple[ScoredRun, ...]]
    missing: tuple[MissingRun, ...]
    config: PanelConfig
    left_out: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    pretrained_on: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)


@cache
def known_tasks() -> dict[str, tuple[str, ...]]:
    """Suite → its task names, as `finetune` knows them."""
    text = (resources.files("ipv_bench") / "presets" / "figures" / "_tasks.yaml").read_text()
    return {suite: tuple(tasks) for suite, tasks in yaml.safe_load(text).items()}


def check_names(figure: FigureConfig, runs: Sequence[ScoredRun]) -> None:
    """Refuse methods, suites, tasks and fields that neither we nor the runs know.

    Raises:
        UnknownNameError: the name, with the nearest known one.
        ConfigError: the data of a pre-training are no list, and would fit no run.
    """
    tasks_of = _tasks_of_suites(runs)
    fields = set(KNOWN_FIELDS).union(*(_field_names(run) for run in _one_per_format(runs)))
    values = {
        "method": {*plugin_names("methods"), *planned_methods(), *(run.method for run in runs)},
        "suite": set(tasks_of),
    }
    panels = [figure.filled(panel) for panel in figure.panels]
    for panel in panels:
        if panel.suite not in tasks_of:
            raise UnknownNameError("suite in the figure:", panel.suite, tasks_of)
        _all_known("task in the figure:", panel.tasks, tasks_of[panel.suite])
    shown = {task for panel in panels for task in panel.tasks}
    for panel in panels:
        for line in panel.methods:
            _all_known(f"on_task of {line.label}, task of the figure:", line.on_task, shown)
            for task in ("", *line.on_task):
                where = flatten_where(_conditions(figure, panel, line, task))
                if isinstance(where.get("pretraining.data"), str):
                    raise ConfigError(
                        f"{line.label}: pretraining.data is {where['pretraining.data']!r}",
                        expected="a list of data set names, such as [ssv2]",
                        fix=f"write [{where['pretraining.data']}] in the figure's `where`",
                    )
                _all_known("field in the figure's where:", where, fields)
                for key, known in values.items():
                    _all_known(f"{key} in the figure:", _wanted(where.get(key)), known)


def _tasks_of_suites(runs: Sequence[ScoredRun]) -> dict[str, set[str]]:
    """Suite → its tasks: those that `finetune` knows, those that are planned, and those that runs were made of."""
    found = {suite: set(tasks) for suite, tasks in known_tasks().items()}
    for suite, task in [*(name.split("/") for name in planned_tasks()), *((run.suite, run.task) for run in runs)]:
        found.setdefault(suite, set()).add(task)
    return found


def _one_per_format(runs: Sequence[ScoredRun]) -> Iterable[ScoredRun]:
    return {(run.format, run.method, run.variant): run for run in runs}.values()


def _field_names(run: ScoredRun) -> set[str]:
    names = set(flatten({**run.record, "pretraining": run.pretraining, "env_fingerprint": run.env_fingerprint}))
    return names | {name.removeprefix("config.") for name in names}


def _wanted(value: Any) -> list[str]:
    options = value["any"] if isinstance(value, Mapping) else [value]
    return [str(option) for option in options if option not in (None, "")]


def _all_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    everything = set(known)
    for name in names:
        if name not in everything:
            raise UnknownNameError(kind, name, everything - {""})


def select_panels(
    name: str, figure: FigureConfig, runs: Sequence[ScoredRun], logged: Sequence[ScoredRun] | None = None
) -> list[Selection]:
    """The panels of a figure, with their runs.

    Args:
        name: the figure's name.
        figure: its description.
        runs: all runs that were read, on their suites' scales.
        logged: the same runs with scores as they were logged, for panels that show these; None: `runs` as they are.
    """
    selections = []
    for panel in map(figure.filled, figure.panels):
        shown = runs if panel.scores != "logged" or logged is None else logged
        starts = _starts(figure, panel, shown)
        groups_of_tasks = [[task] for task in panel.tasks] if panel.show == "tasks" else [panel.tasks]
        for tasks in groups_of_tasks:
            default = tasks[0].replace("_", " ") if panel.show == "tasks" else f"{panel.suite}, {len(tasks)} tasks"
            selections.append(_select(name, figure, panel, tasks, panel.title or default, shown, starts))
    return selections


def _starts(figure: FigureConfig, panel: PanelConfig, runs: Sequence[ScoredRun]) -> dict[str, str]:
    """What the runs of each line that are drawn were pre-trained on: label → words; over all tasks of the panel."""
    found = {}
    for line in panel.methods:
        conditions = {task: _conditions(figure, panel, line, task) for task in panel.tasks}
        fitting = [run for run in runs if run.suite == panel.suite and run.task in conditions]
        fitting = [run for run in fitting if _fits(run, conditions[run.task], figure.ignore_changes) == ()]
        found[line.label] = of_most([pretrained_on(run, conditions[run.task]) for run in fitting])
    return found


def _fits(run: ScoredRun, where: Mapping[str, Any], ignored: Sequence[str] | str) -> tuple[str, ...] | None:
    """Changes of a run that the line's conditions do not name; None where it does not fulfil these."""
    return unnamed_changes(run, where, ignored) if matches(run, where) else None


def _select(
    name: str, figure: FigureConfig, panel: PanelConfig, tasks: list[str], title: str, runs: Sequence[ScoredRun],
    starts: Mapping[str, str],
) -> Selection:  # fmt: skip
    groups: dict[str, tuple[ScoredRun, ...]] = {}
    missing: list[MissingRun] = []
    left_out: dict[str, dict[str, tuple[str, ...]]] = {}
    pretrained: dict[str, dict[str, tuple[str, ...]]] = {}
    candidates = [run for run in runs if run.suite == panel.suite and run.task in tasks]
    for line in panel.methods:
        conditions = {task: _conditions(figure, panel, line, task) for task in tasks}
        of_start: dict[str, list[ScoredRun]] = {starts[line.label]: []}
        for run in candidates:
            unnamed = _fits(run, conditions[run.task], figure.ignore_changes)
            if unnamed:
                left_out.setdefault(line.label, {})[run.name] = unnamed
            elif unnamed is not None:
                of_start.setdefault(pretrained_on(run, conditions[run.task]), []).append(run)
        found = of_start[starts[line.label]]
        groups[line.label] = tuple(found)
        if len(of_start) > 1:
            pretrained[line.label] = {words: tuple(run.name for run in of) for words, of in of_start.items()}
        for task, where in conditions.items():
            drawn = [run.seed for run in found if run.task == task and run.num_points]
            seeds = [run.seed for run in found if run.task == task and is_there(run, _presets(figure, where))]
            absent = _missing(name, figure, line, where, panel.suite, task, drawn)
            known = {one.seed for one in absent}
            missing += absent
            missing += [
                replace(one, drawn=True)
                for one in _missing(name, figure, line, where, panel.suite, task, seeds)
                if one.seed not in known
            ]
    ids = tuple(f"{panel.suite}/{task}" for task in tasks)
    return Selection(title, panel.show, ids, groups, tuple(missing), panel, left_out, pretrained)


def _presets(figure: FigureConfig, where: Mapping[str, Any]) -> tuple[str, ...]:
    """Presets that runs of a line are made with: those that it chooses by, else the figure's."""
    return tuple(_wanted(flatten_where(where).get("preset"))) or (figure.preset,)


def is_there(run: ScoredRun, presets: Sequence[str]) -> bool:
    """Whether a run need not be made any more: it has scores, has ended, and is of one of the presets, if it says so.

    A run of ours that is not finished has a command again: the same one, which goes on with it.
    """
    made_by = run.record.get("preset")
    ended = run.status in ("finished", "unknown")
    return bool(run.num_points) and ended and (not made_by or str(made_by) in presets)


def unnamed_changes(run: ScoredRun, where: Mapping[str, Any], ignored: Sequence[str] | str) -> tuple[str, ...]:
    """What a run changes of its method, or of the method that it was pre-trained by, without the line naming it.

    Variants say it (`intrinsic.beta=0.0,init=none`); `init=` repeats what `pretraining` says.

    Args:
        run: one that fulfils `where`.
        where: the line's conditions; `variant` or `pretraining.variant` in it decides for itself.
        ignored: keys that make no difference; "all": any.
    """
    named = flatten_where(where)
    if ignored == "all":
        return ()
    own = [] if "variant" in named else [part for part in run.variant.split(",") if part]
    before = [] if "pretraining.variant" in named else changes_of_its_model(run)
    keys = {part: part.partition("=")[0] for part in (*own, *before)}
    return tuple(part for part, key in keys.items() if key not in {"init", *named, *ignored})


def _conditions(figure: FigureConfig, panel: PanelConfig, line: MethodLine, task: str) -> dict[str, Any]:
    """What the runs of a line on a task fulfil."""
    return {**figure.usual, **panel.where, **line.usual, **line.where, **line.on_task.get(task, {})}


_ABSENT = object()


def _missing(
    name: str,
    figure: FigureConfig,
    line: MethodLine,
    where: Mapping[str, Any],
    suite: str,
    task: str,
    seeds: Sequence[str],
) -> list[MissingRun]:
    if isinstance(figure.seeds, int):
        absent = [seed for seed in range(figure.seeds) if str(seed) not in seeds]
        absent = absent[: max(0, figure.seeds - len(set(seeds)))]  # other seeds than 0 … n-1 count as well
    else:
        absent = [seed for seed in figure.seeds if str(seed) not in seeds]
    usual = flatten_where({**figure.usual, **line.usual})
    conditions = tuple((key, value) for key, value in flatten_where(where).items() if usual.get(key, _ABSENT) != value)
    preset = _presets(figure, where)[0]
    return [MissingRun(name, line.label, conditions, suite, task, seed, preset) for seed in absent]


def missing_lines(missing: Sequence[MissingRun], planned: Planned) -> list[str]:
    """For a panel: one line per method and task that lacks runs, shortened to the method where all tasks lack all."""
    counts: dict[tuple[str, str], int] = {}
    for run in missing:
        if run.drawn:
            continue
        counts[run.label, run.task] = counts.get((run.label, run.task), 0) + 1
    tasks_of: dict[str, dict[str, int]] = {}
    for (label, task), count in counts.items():
        tasks_of.setdefault(label, {})[task] = count
    lines = []
    later = {run.label for run in missing if planned.why(_method(run), f"{run.suite}/{run.task}")}
    for label, tasks in tasks_of.items():
        if label in later:
            lines.append(f"not built yet, no log: {label}")
            continue
        total = sum(tasks.values())
        of = f" of {len(tasks)} tasks" if len(tasks) > 1 else ""
        lines.append(f"missing {total} run{'s' if total > 1 else ''}{of}: {label}")
    return lines


def _method(run: MissingRun) -> str:
    method = dict(run.where).get("method")
    return str(method["any"][0] if isinstance(method, Mapping) else method)
