"""Whether runs follow a frozen protocol, and in what they deviate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.config import flatten, in_sections
from ipv_bench.frozen_protocol import Protocol, load_protocol, protocol_hash
from ipv_bench.joined_sets import told_sets
from ipv_bench.run_record import variant_name
from ipv_bench.suite_facts import suite_resource_keys
from reports.frozen.alike import NO_MATTER, does_not_matter, elsewhere, scored_otherwise, unlike
from reports.frozen.checked_run import CheckedRun, CheckedRuns, Deviation
from reports.scores.score_table import Collection, ScoredRun

NOT_CONFIG = ("data.sets", "method")
"""Overrides of every run: where the data lie is checked by their names, the method is what is compared."""

LONGEST_EPISODE = 1000
"""Environment steps of an episode where the config does not say: those of DM Control."""


def check_runs(name: str, collection: Collection) -> CheckedRuns:
    """Hold every run of the protocol's suites to the protocol.

    Args:
        name: the protocol's, with or without `protocol:` in front.
        collection: what was read; pre-training runs in it are those that agents start from.

    Raises:
        UnknownNameError: there is no such protocol.
    """
    protocol, digest = load_protocol(name), protocol_hash(name)
    models = {str(Path(run.source).resolve()): run.record for run in collection.pretraining}
    following: dict[tuple[str, ...], CheckedRun] = {}
    first: dict[tuple[str, ...], CheckedRun] = {}
    first_of_entry: dict[tuple[str, ...], CheckedRun] = {}
    first_of_suite: dict[tuple[str, ...], CheckedRun] = {}
    deviating: list[CheckedRun] = []
    for run in collection.runs:
        pretrain = _start_of(run, models)
        found = tuple(_deviations(protocol, digest, run, pretrain))
        entry, imposed = entry_of(protocol, run)
        key = (entry, str(run.pretraining.get("kind")), run.task_id, run.seed)
        checked = CheckedRun(run, pretrain, found, entry, imposed)
        other = following.get(key)
        if not found and other is not None:
            if other.sha256 == checked.sha256:
                continue  # the same run, given twice
            twice = Deviation("seed", f"{run.seed}, as {other.run.source}", "each once")
            checked = replace(checked, deviations=(twice,))
        elif not found:
            apart = tuple(unlike(checked, first.setdefault(key[:-1], checked)))
            apart = apart or tuple(scored_otherwise(checked, first_of_entry.setdefault(key[:2], checked)))
            apart = apart or tuple(elsewhere(checked, first_of_suite.setdefault((*key[:2], run.suite), checked)))
            checked = replace(checked, deviations=apart)
        if checked.deviations:
            deviating.append(checked)
        else:
            following[key] = checked
    for run in (one.run for one in collection.left_out):  # those that the report could not use, as far as they deviate
        pretrain = _start_of(run, models)
        found = tuple(_deviations(protocol, digest, run, pretrain))
        if found:
            deviating.append(CheckedRun(run, pretrain, found, *entry_of(protocol, run)))
    return CheckedRuns(name.removeprefix("protocol:"), digest, protocol, tuple(following.values()), tuple(deviating))


def entry_of(protocol: Protocol, run: ScoredRun) -> tuple[str, tuple[str, ...]]:
    """What a run is called on a leaderboard, and the fields that it only has as the protocol wants them.

    The name is the method with what was chosen. A value that the protocol fixes is no choice; where a method's presets
    have another one on some suites, the runs of all suites are one entry all the same. (The size of the pictures that
    an agent looks at follows from that of the environment's.)
    """
    recorded, fixed = run.record.get("overrides"), dict(protocol.fixed.finetune.get(run.suite, {}))
    overrides = flatten(recorded) if isinstance(recorded, Mapping) else {}
    if fixed.get("env.image_size") == overrides.get("env.image_size", ()):
        fixed["image.size"] = fixed["env.image_size"]
    imposed = tuple(sorted(key for key, value in overrides.items() if fixed.get(key, ()) == value))
    if not imposed:
        return run.label, ()
    apart = (*imposed, *NOT_CONFIG, *NO_MATTER, *suite_resource_keys(run.suite))
    chosen = variant_name({key: value for key, value in overrides.items() if not in_sections(key, apart)})
    starts = [part for part in run.variant.split(",") if part.startswith("init=")]
    return replace(run, variant=",".join(part for part in (chosen, *starts) if part)).label, imposed


def _start_of(run: ScoredRun, models: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The record of the run that a run starts from: in its result file, or among the runs that were read."""
    if isinstance(run.record.get("pretrain"), Mapping):
        record = run.record["pretrain"]
        return {**record, "config": record.get("config") or {}}
    parent = run.record.get("parent")
    place = parent.get("run") if isinstance(parent, Mapping) else None
    if not isinstance(place, str) or not place:
        return None
    # Run folders are named as seen from the workspace, which holds the run's own folder.
    for folder in (Path(), *Path(run.source).resolve().parents):
        found = models.get(str((folder / place).resolve()))
        if found is not None:
            return found
    return None


def _deviations(
    protocol: Protocol, digest: str, run: ScoredRun, pretrain: Mapping[str, Any] | None
) -> Iterator[Deviation]:
    record = run.record
    named = record.get("protocol")
    if isinstance(named, Mapping) and str(named.get("name")) and named.get("sha256") != digest:
        yield Deviation("protocol", f"{named.get('name')} ({str(named.get('sha256'))[:12]}…)", f"{digest[:12]}…")
    if not record.get("config"):
        yield Deviation("config", "not recorded", "a run that says how it was made")
        return
    if run.task_id not in protocol.tasks:
        yield Deviation("task", run.task_id, ", ".join(protocol.tasks))
        return
    if run.seed not in map(str, range(protocol.seeds)):
        yield Deviation("seed", run.seed, f"0 to {protocol.seeds - 1}")
    if run.status != "finished":
        yield Deviation("status", run.status, "finished")
    elif run.num_points < protocol.score.evaluations:
        yield Deviation("evaluations", str(run.num_points), f"at least {protocol.score.evaluations}")
    else:
        yield from _of_evaluations(run, protocol.fixed.finetune.get(run.suite, {}))
    metric = protocol.score.metrics[run.suite]
    if run.metric != metric:
        yield Deviation("metric", run.metric, metric)
    if record.get("preset") != protocol.preset:
        yield Deviation("preset", str(record.get("preset")), protocol.preset)
    yield from _of_config(protocol, run.method, record, protocol.fixed.finetune.get(run.suite, {}), "")
    if run.pretraining.get("kind") not in (None, "none") or record.get("parent") or pretrain is not None:
        yield from _of_pretraining(protocol, run, pretrain)


def _of_evaluations(run: ScoredRun, fixed: Mapping[str, Any]) -> Iterator[Deviation]:
    """Evaluations that the protocol announces and that are not there: what ended badly must not be cut off.

    (A run whose config has other numbers deviates in these.)
    """
    config, steps = flatten(run.record["config"]), run.env_steps
    wanted = {key: value for key, value in fixed.items() if config.get(key) == value}
    total, every, episodes = (
        wanted.get(key) for key in ("training.env_steps", "evaluation.every", "evaluation.episodes")
    )
    if every and total and steps[-1] < total // every * every:
        yield Deviation("evaluations", f"until {steps[-1]:,.0f} environment steps", f"until {total:,}")
    apart = np.diff(steps)
    # They come at ends of episodes, and of a round of all environments' where there are several.
    count, limit = config.get("envs.count"), config.get("env.time_limit")
    rounds = (count if isinstance(count, int) else 1) * (limit if isinstance(limit, int) else LONGEST_EPISODE)
    if every and len(apart) and apart.max() >= max(2 * every, every + rounds):
        place = int(apart.argmax())
        found = f"none between {steps[place]:,.0f} and {steps[place + 1]:,.0f} environment steps"
        yield Deviation("evaluations", found, f"one every {every:,}")
    if episodes and run.episodes is not None:
        other = run.episodes[run.episodes != episodes]
        if len(other):
            found = f"{other[0]} episodes in {len(other)} of {run.num_points}"
            yield Deviation("evaluations", found, f"{episodes} in each")


def _of_pretraining(protocol: Protocol, run: ScoredRun, pretrain: Mapping[str, Any] | None) -> Iterator[Deviation]:
    data = sorted(map(str, run.pretraining.get("data") or []))
    if data != sorted(protocol.data.names):
        yield Deviation("pretraining.data", told_sets(data), told_sets(protocol.data.names))
    if run.pretraining.get("num_videos"):
        yield Deviation("pretraining.num_videos", str(run.pretraining["num_videos"]), "all")
    samples = sum(_count(one) for one in run.record.get("shard_sets") or [])
    if protocol.data.num_samples and samples != protocol.data.num_samples:
        yield Deviation("shard_sets.num_samples", str(samples), str(protocol.data.num_samples))
    if pretrain is None:
        parent = run.record.get("parent") or {}
        yield Deviation("pretrain", f"{parent.get('run') or 'unknown'} was not given", "the run that it starts from")
        return
    if pretrain.get("kind", "pretrain") != "pretrain":  # it saw actions, which videos do not have
        yield Deviation("pretrain.kind", str(pretrain["kind"]), "pretrain")
    if pretrain.get("preset") != protocol.pretrain_preset:
        yield Deviation("pretrain.preset", str(pretrain.get("preset")), protocol.pretrain_preset)
    if pretrain.get("status") != "finished":
        yield Deviation("pretrain.status", str(pretrain.get("status")), "finished")
    yield from _of_config(protocol, run.method, pretrain, protocol.fixed.pretrain, "pretrain.")
    wanted = flatten(pretrain.get("config") or {}).get("training.updates")
    if run.pretraining.get("updates") != wanted:  # one of its earlier checkpoints
        yield Deviation("pretraining.updates", str(run.pretraining.get("updates")), f"{wanted}, its last ones")


def _count(shard_set: Any) -> int:
    number = shard_set.get("num_samples") if isinstance(shard_set, Mapping) else None
    return number if isinstance(number, int) else 0


def _of_config(
    protocol: Protocol, method: str, record: Mapping[str, Any], fixed: Mapping[str, Any], prefix: str
) -> Iterator[Deviation]:
    """Fixed values that differ, and overrides of what is not free and does matter."""
    config, suite = flatten(record.get("config") or {}), str(record.get("suite") or "")
    for key, wanted in fixed.items():
        if config.get(key, "absent") != wanted:
            yield Deviation(prefix + key, str(config.get(key, "absent")), str(wanted))
    for key, value in flatten(record.get("overrides") or {}).items():
        allowed = key in NOT_CONFIG or does_not_matter(key, suite) or protocol.is_free(key, method)
        if key not in fixed and not allowed:
            yield Deviation(prefix + key, str(value), f"as in preset {record.get('preset')}")
