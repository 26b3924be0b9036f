"""Every setting of every model and agent changes what an update makes, or is refused where others switch it off."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
import torch

from ipv_bench.config import Resolved, flatten, flatten_fields
from ipv_bench.errors import ConfigError
from models.finetuning.config import finetune_config_class, resolve_finetuning
from models.latent_actions.feature_config import OF_THE_FIT
from models.methods.base import find_method
from models.pretraining.config import pretrain_config_class, resolve_pretraining
from models.pretraining.video_training import VideoTraining
from models.world_models.unread_settings import refuse_unread
from tests.models.read_settings import read_settings

pytestmark = pytest.mark.slow

SIZE, STEPS, BATCH, ACTIONS, UPDATES = 64, 7, 3, 2, 5
NETWORKS: dict[str, Any] = {
    "encoder.cnn_depth": 4, "decoder.cnn_depth": 4, "encoder.blocks": 1, "decoder.blocks": 1, "context.heads": 2,
    "context.augmentation": "erasing", "rssm.deter": 8, "rssm.hidden": 8, "rssm.stoch": 4, "rssm.discrete": 4,
    "rssm.action_dim": 4, "context.mask_ratio": 0.5, "loss.kl_balance": 0.7, "loss.image_scale": 0.9,
    "loss.free_nats": 0.0, "training.updates": UPDATES,
}  # fmt: skip
AGENT: dict[str, Any] = {
    "reward.units": 8, "reward.layers": 1, "behavior.units": 8, "behavior.layers": 1, "behavior.horizon": 3,
    "behavior.slow_every": 2, "intrinsic.beta": 0.1, "intrinsic.window": 3, "intrinsic.queue_size": 8,
    "intrinsic.queue_dim": 4, "intrinsic.neighbours": 3, "behavior.slow_fraction": 0.8, "replay.length": STEPS,
    "training.encoder_frozen_updates": 2, "image.size": SIZE, "env.image_size": SIZE,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "pretrain apv": {},
    "pretrain apv none": {"encoder.blocks": 0, "decoder.blocks": 0},
    "pretrain apv plain": {"encoder.kind": "plain", "decoder.kind": "plain"},
    "pretrain contextwm": {},
    "pretrain contextwm concat": {"context.fusion": "concat", "encoder.cnn_depth": 8, "decoder.cnn_depth": 8},
    "pretrain contextwm whole": {"context.mask_ratio": 0.0},
    "pretrain contextwm blocks": {"encoder.blocks": 0, "decoder.blocks": 0},
    "pretrain prelar": {},
    "pretrain prelar plain numbers": {"latent_action.posterior": "deterministic"},
    "pretrain uwm": {"quantizer.restart_below": 0.99},
    "pretrain uwm ficc": {"loss": "ficc"},
    "finetune dreamerv2": {},
    "finetune dreamerv2 ends": {"behavior.discount_head": True},
    "finetune apv": {},
    "finetune apv naive": {"finetuning": "naive"},
    "finetune contextwm": {},
    "finetune contextwm no bonus": {"intrinsic.beta": 0.0, "behavior.discount_head": True},
    "finetune prelar": {},
    "finetune prelar nll": {"latent_action.align": "nll"},
    "finetune isodream": {"isolation.background_frames": 2, "isolation.action_steps": 6, "isolation.free_steps": 5,
        "training.encoder_frozen_updates": None},
    "finetune isodream ahead": {
        "isolation.free_branch": "posterior", "isolation.use_free": True, "isolation.window": 3,
        "isolation.background_frames": 2, "isolation.action_steps": 5, "isolation.free_steps": 6,
        "training.encoder_frozen_updates": None,
    },
    "finetune drqv2": {"drqv2.channels": 4, "drqv2.units": 8, "drqv2.feature_dim": 6, "replay.length": None},
}  # fmt: skip
"""What a model is (`<command> <method> <name>`) → settings that switch something in it; null: left out."""

LOOPS = frozenset({"data", "training", "validation", "replay", "env", "envs", "evaluation", "method"})
"""Sections of the loops around a model, whose settings other tests are about."""
ELSEWHERE: dict[str, str] = {
    "init_parts": "of a pre-trained model",
    "init_allow": "of a pre-trained model",
    "latent_action.align_updates": "needs a pre-trained model",
    "features.kind": "needs weights that are fetched",
    "image.size": "follows the batch",
    "drqv2.noise.end": "acts once agent steps are seen",
    "drqv2.noise.steps": "acts once agent steps are seen",
    "intrinsic.norm_eps": "below the resolution of single floats beside the magnitude",
}
OTHERS: dict[str, list[Any]] = {
    "quantizer.restart_below": [0.0],
    "optimizer.warmup": [0.5],
    "drqv2.strides": [[2, 1]],
    "latent_action.consistency_scale": [0.5],
    "rssm.action_dim": [5],
    "clip": [1e-8],
    "weight_decay": [0.1],
    "free_nats": [100.0],
    "isolation.action_steps": [4, None],
    "isolation.free_steps": [4, None],
}
"""Key, or its last part → values to try where those of the rules below are not possible, or act at other sizes."""


def values_of(annotation: Any, now: Any) -> list[Any]:
    """Values of a field's type that differ from the one it has."""
    if get_origin(annotation) in (Union, types.UnionType):
        found = [value for part in get_args(annotation) if part is not type(None) for value in values_of(part, now)]
        return list(dict.fromkeys([*found, *([] if now is None else [None])]))
    if get_origin(annotation) is Literal:
        return [value for value in get_args(annotation) if value != now]
    if annotation is bool:
        return [not now]
    if annotation is int:
        return [2 * now, now - 1] if now else [1]
    if annotation is float:
        return [0.5 if not now else now / 2]
    return []


def models(command: str, method: str) -> Any:
    """The config class, and what resolves overrides of it."""
    if command == "pretrain":
        return pretrain_config_class(method), lambda values: resolve_pretraining("tiny", overrides=values)
    return finetune_config_class(method), lambda values: resolve_finetuning("tiny", overrides=values)


def batch(config: Any, number: int = 0) -> dict[str, np.ndarray]:
    """Random records; an episode begins in the middle of one segment, and the last step of another ends its own.
    (Windows with steps that lead to them, which are of transitions, lie in one episode.)"""
    generator, size = np.random.default_rng(number), config.image.size
    steps = (config.replay.length if hasattr(config, "replay") else STEPS) + config.lead()
    first, terminal = np.zeros((BATCH, steps), bool), np.zeros((BATCH, steps), bool)
    first[1, steps // 2], terminal[0, -1] = not config.lead(), True
    return {
        "image": generator.integers(0, 256, (BATCH, steps, size, size, 3), np.uint8),
        "action": generator.uniform(-1, 1, (BATCH, steps, ACTIONS)).astype(np.float32),
        "reward": generator.random((BATCH, steps)).astype(np.float32),
        "is_first": first,
        "is_terminal": terminal,
    }


def outcome(config: Any, command: str) -> list[bytes]:
    """Weights and numbers of some updates, and a prediction, for the seed 0."""
    records = batch(config)
    if command == "pretrain":
        training = VideoTraining(config)
        training.model.set_mean_image(torch.from_numpy(records["image"][0]))
        found: list[Any] = [list(training.step(batch(config, n)["image"]).values()) for n in range(UPDATES)]
        model, tensors = training.model, dict(training.model.named_parameters())
    else:
        agent: Any = find_method(config.method).agent(config, ACTIONS, 0, torch.device("cpu"))
        agent.see_prefill(records["image"][0])
        found = [list(agent.update(batch(config, n)).values()) for n in range(UPDATES)]
        model, tensors = getattr(agent, "video_model", lambda: None)(), agent.model_tensors()
    if hasattr(model, "open_loop"):
        with torch.no_grad():
            video = model.eval().open_loop(torch.from_numpy(records["image"]), 4, torch.Generator().manual_seed(0))
        found.append(video.numpy().tolist())
    return [repr(found).encode(), *(value.detach().numpy().tobytes() for _, value in sorted(tensors.items()))]


def with_effect(resolved: Resolved[Any], changed: str) -> bool:
    """Whether a setting is taken: false where it is refused as one that nothing looks at."""
    try:
        refuse_unread([changed], resolved.config.unread())
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("case", CASES)
def test_every_setting_changes_an_update_or_is_refused(case: str) -> None:
    command, method, *_ = case.split()
    config_class, resolve = models(command, method)
    fields = {key: kind for key, kind in flatten_fields(config_class).items() if key.split(".")[0] not in LOOPS}
    fields |= {key: int for key in ("training.encoder_frozen_updates",) if key in flatten_fields(config_class)}
    known = {key: value for key, value in {**NETWORKS, **AGENT}.items() if key in flatten_fields(config_class)}
    given = {key: value for key, value in {**known, **CASES[case], "method": method}.items() if value is not None}
    settings = read_settings(resolve, given)
    before = resolve(settings).config
    base = outcome(before, command)
    assert base == outcome(before, command), "equal settings give equal updates"
    now, tried, idle = flatten(before.model_dump(mode="json")), 0, []
    refused: list[str] = []
    for key, kind in fields.items():
        if key in {*ELSEWHERE, *OF_THE_FIT, *before.of_pretrained()}:
            continue
        for value in OTHERS.get(key, OTHERS.get(key.rpartition(".")[2], values_of(kind, now[key]))):
            try:
                resolved = resolve({**settings, key: value})
            except ConfigError:
                continue  # not possible beside the others, and refused as such
            if key not in resolved.overrides:
                continue
            changes, taken = outcome(resolved.config, command) != base, with_effect(resolved, key)
            tried += taken
            idle += [f"{key}={value}"] if taken and not changes else []
            refused += [f"{key}={value}"] if changes and not taken else []
    assert not idle
    assert not refused, "what changes something is a setting"
    assert tried > 12
