"""Which runs may be pooled into one number: not runs of different environments, and no run twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ipv_bench.came_later import CAME_LATER
from ipv_bench.config import differences, flatten
from ipv_bench.joined_sets import told_sets
from ipv_bench.suite_facts import suite_resource_keys
from reports.scores.findings import Finding, refusal, warning
from reports.scores.score_table import ScoredRun

TASK_FIELDS = (
    "camera", "time_limit", "vary", "textures",
    "environment", "kwargs", "picture", "image_key", "success_key", "action_low", "action_high",
)  # fmt: skip
"""Fields of `env_fingerprint` that may differ from task to task of one suite; within a task they must not."""
MACHINE_FIELDS = (
    "training.device", "training.threads", "training.compile", "training.cuda_graph", "training.deterministic",
    "training.tensorboard", "training.wandb", "training.log_every", "training.checkpoint_minutes",
    "training.checkpoint_every", "training.checkpoint_episodes", "training.keep_last", "training.keep_every",
    "training.stop_grace_seconds", "data.workers", "data.prefetch", "data.cache", "envs.workers",
    "envs.step_timeout_seconds",
)  # fmt: skip
"""Config fields that say where a run was computed, and what it logs and keeps, not what it learned; a suite names its
own beside them."""

SAMPLED = "evaluation.explore"
"""Config field: evaluations sample their actions."""

Pool = tuple[str, str, str]


def pool_of(run: ScoredRun) -> Pool:
    """(suite, label, pre-training): runs that have these in common are one method's on one suite."""
    return run.suite, run.label, origin(run)


def origin(run: ScoredRun) -> str:
    """What a run was pre-trained on, and how long, as text; empty when it was not, or when nothing says so."""
    data = told_sets(run.pretraining.get("data") or [])
    number, updates = run.pretraining.get("num_videos"), run.pretraining.get("updates")
    parts = [
        data,
        f"{number} videos" if data and number else "",
        f"{updates:,} updates" if isinstance(updates, int) else "",
        *changes_of_its_model(run),
    ]
    return ", ".join(part for part in parts if part)


def changes_of_its_model(run: ScoredRun) -> list[str]:
    """Overrides of the model that a run started from, such as `loss.kl_scale=0.1`, beside those that are its own.

    Those of data and of the length of training are said by the other fields of `pretraining`.
    """
    own = set(run.variant.split(","))
    found = [part for part in str(run.pretraining.get("variant") or "").split(",") if part and part not in own]
    return [part for part in found if not part.startswith(("training.", "data."))]


def pools(runs: Iterable[ScoredRun]) -> dict[Pool, list[ScoredRun]]:
    """Runs by pool, in order."""
    found: dict[Pool, list[ScoredRun]] = {}
    for run in runs:
        found.setdefault(pool_of(run), []).append(run)
    return found


def pool_name(pool: Pool) -> str:
    """For messages: `contextwm (ssv2) on dmc`."""
    suite, label, data = pool
    return label + (f" ({data})" if data else "") + (f" on {suite}" if suite else "")


def without_duplicates(runs: Sequence[ScoredRun]) -> tuple[list[ScoredRun], list[Finding]]:
    """Of several runs with one (method, variant, pre-training, task, seed): the longest, when their configs agree.

    With different configs, or models that they start from, nobody can say which one is meant; the first in order of
    path is used, and it is a refusal.
    """
    same: dict[tuple[Any, ...], list[ScoredRun]] = {}
    for run in runs:
        same.setdefault((*pool_of(run), run.task, run.seed), []).append(run)
    kept: set[int] = set()
    findings: list[Finding] = []
    for copies in same.values():
        ordered = sorted(copies, key=lambda run: run.source)
        if len(copies) == 1:
            kept.add(id(copies[0]))
            continue
        changed = [*config_differences(ordered), *_other_starts(ordered)]
        chosen = ordered[0] if changed else max(ordered, key=_length)
        kept.add(id(chosen))
        findings.append(_duplicates(chosen, ordered, changed))
    return [run for run in runs if id(run) in kept], findings


def _length(run: ScoredRun) -> tuple[float, int]:
    """How far a run came, and in how many evaluations."""
    return (float(run.env_steps[-1]) if run.num_points else -1.0), run.num_points


def _duplicates(chosen: ScoredRun, copies: Sequence[ScoredRun], changed: Sequence[str]) -> Finding:
    sources = [run.source for run in copies]
    where = ", ".join(sources)
    if changed:
        return refusal(
            "duplicate_configs",
            f"{chosen.name} was found {len(copies)} times with different configs ({'; '.join(changed[:5])}) in "
            f"{where}; only {chosen.source} was used",
            "give the runs different variants or seeds, or leave all but one out",
            sources,
        )
    return warning(
        "duplicate_runs",
        f"{chosen.name} was found {len(copies)} times in {where}; only the longest, {chosen.source}, was used",
        "leave the others out",
        sources,
    )


def _other_starts(runs: Sequence[ScoredRun]) -> list[str]:
    """One line where runs start from different weights, or from videos of the same name that are others."""
    lines = []
    for name, of in (("parent.checkpoint_sha256", start_of), ("shard_sets.inventory_sha256", contents_of)):
        known = list(dict.fromkeys(found for found in map(of, runs) if found))
        if len(known) > 1:
            lines.append(f"{name}: {' → '.join(repr(text[:12] + '…') for text in known[:3])}")
    return lines


def start_of(run: ScoredRun) -> str:
    """Hash of the checkpoint that a run starts from; empty where there is none, or nothing says so."""
    parent = run.record.get("parent")
    found = parent.get("checkpoint_sha256") if isinstance(parent, Mapping) else None
    return found if isinstance(found, str) else ""


def contents_of(run: ScoredRun) -> str:
    """Hashes of the inventories of the sets that a run's model saw, in order; empty where nothing says so."""
    sets = run.record.get("shard_sets")
    found = [one.get("inventory_sha256") for one in sets if isinstance(one, Mapping)] if isinstance(sets, list) else []
    return "+".join(text for text in found if isinstance(text, str))


def config_differences(runs: Sequence[ScoredRun]) -> list[str]:
    """One line per config field that is not the same in all runs, fields about the machine aside."""
    first = _config(runs[0])
    lines: dict[str, str] = {}
    for run in runs[1:]:
        for line in differences(first, _config(run)):
            lines.setdefault(line.split(": ", 1)[0], line)
    return [lines[key] for key in sorted(lines)]


def _config(run: ScoredRun) -> dict[str, Any]:
    config = run.record.get("config")
    found = CAME_LATER | flatten(config) if isinstance(config, Mapping) else {}
    aside = {*MACHINE_FIELDS, *suite_resource_keys(run.suite), "seed"}
    return {key: value for key, value in found.items() if key not in aside}


def same_environment(runs: Sequence[ScoredRun], *, allow_mixed: bool = False) -> tuple[list[ScoredRun], list[Finding]]:
    """Leave out the runs whose environment differs from that of most of their pool.

    Args:
        runs: all runs.
        allow_mixed: keep them, marked as mixed: their label says so wherever it is shown.

    Returns:
        The runs to use, and one refusal (or, with `allow_mixed`, warning) per pool with differences.
    """
    left_out: set[int] = set()
    mixed: set[Pool] = set()
    findings: list[Finding] = []
    for pool, its_runs in pools(runs).items():
        outsiders = _outsiders(its_runs, lambda run: _key(run, suite_wide=True))
        rest = [run for run in its_runs if id(run) not in {id(one) for one in outsiders}]
        for task in sorted({run.task for run in rest}):
            of_task = [run for run in rest if run.task == task]
            of_one_task = _key_of_task if all(run.action_repeat for run in of_task) else partial(_key, suite_wide=False)
            outsiders += _outsiders(of_task, of_one_task)
        if not outsiders:
            continue
        usual = [run for run in its_runs if id(run) not in {id(one) for one in outsiders}]
        main = next((run for run in usual if run.task == outsiders[0].task), usual[0])
        findings.append(_mixed_environments(pool, main, outsiders, allow_mixed))
        if allow_mixed:
            mixed.add(pool)
        else:
            left_out |= {id(run) for run in outsiders}
    kept = [replace(run, mixed=True) if pool_of(run) in mixed else run for run in runs if id(run) not in left_out]
    return kept, findings


def scored_under(run: ScoredRun) -> dict[str, Any]:
    """What a run's scores depend on beside its method: the environment, and whether its evaluations sampled actions."""
    config = run.record.get("config")
    evaluation = config.get("evaluation") if isinstance(config, Mapping) else None
    sampled = isinstance(evaluation, Mapping) and evaluation.get("explore") is True
    return {**run.env_fingerprint, **({SAMPLED: True} if sampled else {})}


def methods_own(one: ScoredRun, other: ScoredRun) -> set[str]:
    """Fields of `scored_under` in which two methods may differ and still be compared: each has its own.

    The size of the pictures is what a method looks at, not what it is asked to do. How its evaluations choose actions
    is its own where one preset says so for both; what somebody set for one of them alone, or nobody recorded, is not.
    """
    recorded = all(SAMPLED in flatten(run.record.get("config") or {}) for run in (one, other))
    overrides = [run.record.get("overrides") for run in (one, other)]
    overridden = any(SAMPLED in flatten(changed) for changed in overrides if isinstance(changed, Mapping))
    preset = one.record.get("preset")
    as_preset = recorded and not overridden and preset and preset == other.record.get("preset")
    return {"image_size", *([SAMPLED] if as_preset else [])}


def _key(run: ScoredRun, *, suite_wide: bool) -> str:
    fields = {key: value for key, value in scored_under(run).items() if not (suite_wide and key in TASK_FIELDS)}
    return json.dumps(fields, sort_keys=True, default=str)


def _key_of_task(run: ScoredRun) -> str:
    return json.dumps(_on_its_task(run), sort_keys=True, default=str)


def _on_its_task(run: ScoredRun) -> dict[str, Any]:
    """`scored_under`, with an action repeat that a log says and no fingerprint: it differs from task to task, as in
    PlaNet's settings, and within a task it must not."""
    said = {} if run.action_repeat is None else {"action_repeat": run.action_repeat}
    return said | scored_under(run)


def _outsiders(runs: Sequence[ScoredRun], key: Any) -> list[ScoredRun]:
    """Runs that are not of the most frequent kind (of the first in order of key, when several are as frequent)."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[key(run)] = counts.get(key(run), 0) + 1
    main = min(counts, key=lambda kind: (-counts[kind], kind))
    return [run for run in runs if key(run) != main]


def _mixed_environments(pool: Pool, main: ScoredRun, others: Sequence[ScoredRun], allowed: bool) -> Finding:
    lines = dict.fromkeys(line for run in others for line in differences(_on_its_task(main), _on_its_task(run)))
    other = f"{len(others)} runs have another environment, or way of scoring, than {main.name}"
    text = f"{pool_name(pool)}: {other} ({'; '.join(lines)})"
    names = [run.name for run in others]
    if allowed:
        return warning("mixed_environments", f"{text}; they are pooled, and marked as mixed", "", names)
    return refusal(
        "mixed_environments",
        f"{text}; they were left out",
        "run them again in one environment, or pool them knowingly with --allow-mixed",
        names,
    )
