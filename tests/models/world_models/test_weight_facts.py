"""Every config field of every model has been asked whether weights mean something else under another value of it."""

from __future__ import annotations

from typing import Any

import pytest

from ipv_bench.config import flatten_fields
from models.methods.base import find_method
from models.world_models.weight_facts import HARMLESS_KEYS, WEIGHT_KEYS

METHODS = ("contextwm", "apv", "dreamerv2", "prelar", "uwm", "isodream", "drqv2")

IN_SHAPES = {
    "features.own.width", "features.own.layers", "features.own.decoder_layers", "features.pixels.width",
    "features.pixels.layers", "extractor.width", "extractor.layers", "quantizer.size", "dynamics.width",
    "dynamics.layers", "adapter.width", "adapter.layers", "drqv2.frame_stack", "drqv2.channels", "drqv2.feature_dim",
    "drqv2.units", "reward.layers", "reward.units", "behavior.layers", "behavior.units", "behavior.critic_layers",
    "finetuning",
}  # fmt: skip
"""Names and shapes of the tensors show them."""

OF_TRAINING = {
    "latent_action.beta_a", "latent_action.consistency_scale", "latent_action.align", "latent_action.align_updates",
    "latent_action.align_scale", "latent_action.hold_rssm", "context.augmentation", "init_parts", "init_allow",
    "features.name",  # where they lie: checkpoints hold the hash of published ones
    "features.own.updates", "features.own.batch_size", "features.own.lr", "features.own.warmup",
    "features.own.mask_ratio",
    "quantizer.commitment", "quantizer.restart_below", "quantizer.usage_decay", "state_loss.normalised",
    "state_loss.decay", "adapter.finetune_decoder", "reward.scale", "reward.dual_scale", "reward.zero_output",
    "behavior.horizon", "behavior.discount", "behavior.lam", "behavior.entropy", "behavior.slow_every",
    "behavior.slow_fraction", "behavior.zero_output", "drqv2.shift_pad", "drqv2.n_step", "drqv2.discount",
    "drqv2.target_rate", "drqv2.noise_clip",
}  # fmt: skip
"""What is learned, how fast, and from what: a network that has learned computes the same without them."""

SECTIONS_OF_TRAINING = ("loss.", "optimizer.", "training.", "intrinsic.", "drqv2.noise.")


def fields() -> dict[str, list[str]]:
    """Config key → the methods that have it."""
    found: dict[str, list[str]] = {}
    for name in METHODS:
        method: Any = find_method(name)
        adaptation = getattr(method, "adaptation", None)
        configs = (method.video_config, method.agent_config, adaptation and adaptation.config)
        for key in {key for config in configs if config is not None for key in flatten_fields(config)}:
            found.setdefault(key, []).append(name)
    return found


@pytest.mark.parametrize("kind", ["asked", "there"])
def test_every_field_was_asked_and_every_answer_is_of_a_field(kind: str) -> None:
    known = {*WEIGHT_KEYS, *HARMLESS_KEYS, *IN_SHAPES, *OF_TRAINING}
    if kind == "there":
        assert known <= fields().keys()
        return
    optimizers = tuple(part for part in fields() if "optimizer." in part)
    unasked = {
        key: methods
        for key, methods in fields().items()
        if key not in known and not key.startswith(SECTIONS_OF_TRAINING) and key not in optimizers
    }
    assert not unasked
