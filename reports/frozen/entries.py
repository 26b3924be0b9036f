"""Runs by the entries of a leaderboard, and what an entry has on one task alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ipv_bench.came_later import CAME_LATER
from ipv_bench.config import in_sections
from ipv_bench.run_record import variant_name
from reports.frozen.alike import kept_config, scored_actions
from reports.frozen.checked_run import CheckedRun


def known_entries(runs: Sequence[CheckedRun]) -> dict[str, list[CheckedRun]]:
    """Runs by entry: a method with what it chose, apart by whether it was pre-trained."""
    kinds: dict[str, set[str]] = {}
    for one in runs:
        kinds.setdefault(one.entry, set()).add(str(one.run.pretraining.get("kind")))
    found: dict[str, list[CheckedRun]] = {}
    for one in runs:
        random = len(kinds[one.entry]) > 1 and one.run.pretraining.get("kind") in (None, "none")
        found.setdefault(f"{one.entry}, from random weights" if random else one.entry, []).append(one)
    return dict(sorted(_joined(found).items()))


def _joined(found: Mapping[str, list[CheckedRun]]) -> dict[str, list[CheckedRun]]:
    """Entries of one method that share no task are one, which chose by task; the page says what it set on which.

    Where a task has runs with two choices nobody can say which belongs to the others: they stay apart.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, runs in found.items():
        run = runs[0].run
        starts = [part for part in run.variant.split(",") if part.startswith("init=")]
        random = name.removeprefix(runs[0].entry)
        plain = run.method + ("@" if starts else "") + ",".join(starts) + random
        alike.setdefault((plain, str(run.pretraining.get("kind")), scored_actions(run.record)), []).append(name)
    joined: dict[str, list[CheckedRun]] = {}
    for (plain, *_), names in alike.items():
        tasks = [task for name in names for task in {one.run.task_id for one in found[name]}]
        if len(names) > 1 and len(tasks) == len(set(tasks)) and plain not in {*found} - {*names}:
            joined[plain] = [one for name in names for one in found[name]]
        else:
            joined |= {name: found[name] for name in names}
    return joined


def set_by_task(runs: Sequence[CheckedRun]) -> tuple[str, ...]:
    """What an entry has on one task alone: `dmc/walker_stand: replay.batch_size=16, reward.gain=0.1 (chosen)`.

    That is what was chosen there among its free fields, and what its presets have otherwise on other tasks of the same
    suite, the environment's own settings apart.
    """
    chosen: dict[str, set[str]] = {}
    for one in runs:
        parts = one.entry.partition("@")[2].split(",")
        chosen.setdefault(one.run.task_id, set()).update(p for p in parts if p and not p.startswith("init="))
    its_own = {task: set(parts) for task, parts in chosen.items()}
    for suite in sorted({one.run.suite for one in runs}):
        configs = {one.run.task_id: CAME_LATER | kept_config(one.run.record) for one in runs if one.run.suite == suite}
        for key in sorted(set.intersection(*(set(config) for config in configs.values()))):
            values = {task: config[key] for task, config in configs.items()}
            if not in_sections(key, ("env",)) and len(set(map(str, values.values()))) > 1:
                for task, value in values.items():
                    its_own[task].add(variant_name({key: value}))
    everywhere = set.intersection(*its_own.values()) if its_own else set()
    told = {
        task: [f"{part} (chosen)" if part in chosen[task] else part for part in sorted(parts - everywhere)]
        for task, parts in sorted(its_own.items())
    }
    return tuple(f"{task}: {', '.join(parts)}" for task, parts in told.items() if parts)
