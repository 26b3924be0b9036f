"""How long an update of each of label_efficiency.py's models takes, and whether what is kept of that is still so."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from label_efficiency_protocol import LEARNERS, PRESET, TRAINED, Learner, pretraining_settings
from label_efficiency_times import TIMES_FILE, Times
from paired_timing import machine

from ipv_bench.config import differences, flatten
from models.adapting.config import resolve_adapting
from models.adapting.labelled_training import LabelledBatch, LabelledTraining
from models.finetuning.config import RESOURCE_KEYS
from models.methods.base import adaptation_of, find_method
from models.pretrain import build_training
from models.pretraining.plan import plan_pretraining

ACTIONS = 6
"""Numbers of an action of the task."""
NOT_TIMED = ("training.updates", "features.own.updates", "data.sets", *RESOURCE_KEYS)
"""Fields that no update's time depends on."""


SHOWN = 5
"""Differences of one method's settings that a refusal names."""


def measure() -> Times:
    """CPU-seconds of an update at the benchmark's settings, on random images, one thread: medians of five."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, TRAINED, 64, 64, 3), dtype=torch.uint8, generator=generator)
    action = torch.rand((8, TRAINED, ACTIONS), generator=generator).numpy()
    found = Times({}, {}, {}, {}, machine())
    for name, learner in LEARNERS.items():
        training = build_training(PRESET, _changes(learner))
        if learner.pretrained:
            if learner.own_features:
                fit = partial(_fit_again, training.model.features, images.flatten(0, 1))
                found.features[learner.method] = _median_seconds(fit)
            found.pretrain[learner.method] = _median_seconds(partial(training.step, images))
            found.settings[learner.method] = settings_of(learner)
        adapting = _adapting(learner, training.config.model_dump(mode="json"))
        found.adapt[name] = _median_seconds(partial(adapting.step, LabelledBatch(images.numpy(), action)))
    return found


def check_times(times: Times) -> None:
    """Before anything is made: the updates of today's settings were timed.

    Raises:
        SystemExit: a preset was changed since; says whose, and in what.
    """
    learners = [learner for learner in LEARNERS.values() if learner.pretrained]
    changed = {one.method: _difference(times.settings.get(one.method), settings_of(one)) for one in learners}
    changed = {method: words for method, words in changed.items() if words}
    if changed:
        told = "".join(f"\n    {method}: {words}" for method, words in changed.items())
        raise SystemExit(
            f"settings of {', '.join(changed)} are not those whose updates were timed: before the first run "
            f"`python benchmarks/label_efficiency.py --measure` times them anew; after it the protocol is fixed{told}"
        )


def settings_of(learner: Learner) -> dict[str, Any]:
    """The resolved settings of a pre-training that decide how long an update takes, by dotted key."""
    config = flatten(plan_pretraining(PRESET, overrides=_changes(learner)).config.model_dump(mode="json"))
    return {key: value for key, value in config.items() if key not in NOT_TIMED}


def _difference(timed: dict[str, Any] | str | None, now: dict[str, Any]) -> str:
    """How settings differ from those that were timed, in words; empty where they do not."""
    if timed is None:
        return "never timed"
    if isinstance(timed, str):
        is_same = timed == hashlib.sha256(json.dumps(now, sort_keys=True).encode()).hexdigest()
        return "" if is_same else f"{TIMES_FILE.name} holds only a hash of what was timed, so it cannot be said in what"
    lines = differences(timed, now)
    more = f"; … ({len(lines)} in all)" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def _changes(learner: Learner) -> list[str]:
    fitted = ["features.own.updates=1"] if learner.own_features else []
    return ["training.threads=1", "training.device=cpu", *pretraining_settings(learner), *fitted]


def _adapting(learner: Learner, found: dict[str, Any]) -> LabelledTraining:
    """What `adapt` trains by default, with random weights."""
    config = resolve_adapting(learner.method, found, PRESET, ()).config
    parts = next(iter(adaptation_of(find_method(learner.method)).parts))
    return LabelledTraining(
        config, 0, torch.device("cpu"), action_dim=ACTIONS, parts=parts, parent=None, adapted=False
    )  # fmt: skip


def _fit_again(features: Any, frames: torch.Tensor) -> None:
    """One update of a masked autoencoder, as if it had never been trained."""
    features.fitted.fill_(0)
    features.fit(lambda number, count: frames[:count], 0)


def _median_seconds(update: Callable[[], Any]) -> float:
    times = []
    for _ in range(6):
        before = time.process_time()
        update()
        times.append(time.process_time() - before)
    return round(float(np.median(times[1:])), 4)
