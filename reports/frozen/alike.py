"""What must be the same for runs to be of one entry, and what does not matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ipv_bench.came_later import CAME_LATER
from ipv_bench.config import flatten, in_sections
from ipv_bench.suite_facts import suite_resource_keys
from reports.frozen.checked_run import CheckedRun, Deviation
from reports.scores.pooling import TASK_FIELDS

NO_MATTER = (
    "training.device", "training.threads", "training.cuda_graph", "training.deterministic", "training.tensorboard",
    "training.wandb", "training.log_every", "training.checkpoint_minutes", "training.checkpoint_every",
    "training.checkpoint_episodes", "training.keep_last", "training.keep_every", "training.stop_grace_seconds", "envs",
    "data.sets", "data.workers", "data.prefetch", "data.cache", "evaluation.parallel", "evaluation.video_episodes",
    "evaluation.random_episodes", "validation", "init_allow",
)  # fmt: skip
"""Config that decides where and how fast a run is made, and what it logs: runs of an entry may differ in it, and from
the preset. A suite names its own beside these (its servers' ports): see `does_not_matter`."""

SCORED_BY = "evaluation.explore"
"""Which actions are scored: one answer for all tasks of an entry, which tables show."""


def unlike(one: CheckedRun, first: CheckedRun) -> Iterator[Deviation]:
    """Values in which a run differs from the first of its entry and task: they would not be one method's."""
    pairs = [("", one.run.record, first.run.record), ("pretrain.", one.pretrain or {}, first.pretrain or {})]
    for prefix, record, other in pairs:
        yield from _differing(_told(record), _told(other), prefix, f"as seed {first.run.seed} has it")


def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str, whose: str) -> Iterator[Deviation]:
    for key in sorted(found.keys() | wanted):
        was, here = wanted.get(key, "absent"), found.get(key, "absent")
        if was != here:
            yield Deviation(prefix + key, str(here), f"{was}, {whose}")


def _told(record: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key → value of all that must be the same for two runs of a task to be of one method."""
    environment = flatten({"env_fingerprint": record.get("env_fingerprint") or {}})
    return CAME_LATER | kept_config(record) | environment


def scored_otherwise(one: CheckedRun, first: CheckedRun) -> Iterator[Deviation]:
    """Of an entry's runs on all tasks, one that was scored otherwise than the first: the IQM would mix the two."""
    found, wanted = _samples(one.run.record), _samples(first.run.record)
    if found != wanted:
        yield Deviation(SCORED_BY, str(found), f"{wanted}, as {first.run.task_id} seed {first.run.seed} has it")


def elsewhere(one: CheckedRun, first: CheckedRun) -> Iterator[Deviation]:
    """Of an entry's runs on all tasks of a suite, one with another version of its simulator, or another of what all
    tasks of a suite share."""
    found, wanted = (_of_suite(of) for of in (one, first))
    yield from _differing(found, wanted, "env_fingerprint.", f"as {first.run.task_id} seed {first.run.seed} has it")


def _of_suite(one: CheckedRun) -> dict[str, Any]:
    fields = flatten(one.run.env_fingerprint)
    return {key: value for key, value in fields.items() if key.partition(".")[0] not in TASK_FIELDS}


def kept_config(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's config, dotted key → value, without what does not matter."""
    config, suite = flatten(record.get("config") or {}), str(record.get("suite") or "")
    return {key: value for key, value in config.items() if not does_not_matter(key, suite)}


def kept_overrides(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's overrides without what does not matter, and without where data lay."""
    suite = str(record.get("suite") or "")
    found = flatten(record.get("overrides") or {})
    return {key: value for key, value in found.items() if key != "data.sets" and not does_not_matter(key, suite)}


def does_not_matter(key: str, suite: str) -> bool:
    return key in suite_resource_keys(suite) or in_sections(key, NO_MATTER)


def scored_actions(record: Mapping[str, Any]) -> str:
    """Which actions a run's evaluations played, in words."""
    return "sampled" if _samples(record) else "most likely"


def _samples(record: Mapping[str, Any]) -> bool:
    return flatten(record.get("config") or {}).get(SCORED_BY, CAME_LATER[SCORED_BY]) is True
