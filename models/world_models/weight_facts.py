"""What decides how weights are used, and what their shapes do not all show: compared before weights are taken over.

A model of 8×8 latents has the shapes of one of 4×16, one attention head those of four, and the images' gain has none at
all: such weights load without a word and compute something else. So a checkpoint says what it was trained as, and a run
that takes weights over compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ipv_bench.config import flatten
from ipv_bench.errors import CheckpointError
from ipv_bench.progress import say_aside

WEIGHT_KEYS = (
    "method", "image.size", "image.offset", "image.gain", "encoder.kind", "encoder.cnn_depth", "encoder.blocks",
    "encoder.norm", "decoder.kind", "decoder.cnn_depth", "decoder.blocks", "decoder.norm", "rssm.deter", "rssm.hidden",
    "rssm.stoch", "rssm.discrete", "rssm.action_dim", "rssm.min_std", "isolation.free_branch", "isolation.use_free",
    "isolation.window", "isolation.background_frames", "latent_action.inputs", "latent_action.posterior",
    "context.fusion", "context.heads", "concat_embed", "reward.dual", "reward.gain", "behavior.min_std",
    "behavior.discount_head", "loss", "features.kind", "features.weights", "features.layer",
    "features.own.patch", "features.own.heads", "features.pixels.heads", "extractor.inputs", "extractor.heads",
    "extractor.num_codes", "quantizer.codes", "dynamics.heads", "dynamics.residual", "adapter.kind", "adapter.heads",
    "drqv2.strides", "drqv2.penultimate_norm",
)  # fmt: skip
"""Config keys that must be equal; those that a config does not have are not compared."""

HARMLESS_KEYS = (
    "context.frame", "context.mask_ratio", "context.mask_at_eval", "context.dropout", "isolation.action_steps",
    "isolation.free_steps",
)  # fmt: skip
"""Keys of how the model is trained: weights fit all the same, and a difference is said. (Augmentation is another one in
the released fine-tuning than in the pre-training: not worth a word.)"""

FACTS = "weights"
"""Key of the facts in a checkpoint's state."""


def weight_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a resolved config (nested, as in `run.json`), by dotted key."""
    values = flatten(config)
    return {key: values[key] for key in (*WEIGHT_KEYS, *HARMLESS_KEYS) if key in values}


def check_weights_fit(
    found: Mapping[str, Any],
    wanted: Mapping[str, Any],
    where: str | Path,
    *,
    allow: Iterable[str] = (),
    skip: Iterable[str] = (),
    fix: str,
) -> None:
    """Hold the facts of a checkpoint against those of the run that takes it; keys that one of them lacks pass.

    Args:
        found: the checkpoint's.
        wanted: the run's.
        where: the checkpoint, for messages.
        allow: keys that may differ; said, not refused.
        skip: keys of parts that are not taken over.
        fix: what the user can do.

    Raises:
        CheckpointError: some differ; with both values of each.
    """
    allowed, skipped = set(allow), set(skip)
    differ = [key for key in found if key in wanted and found[key] != wanted[key] and key not in skipped]
    told = {key: f"{key} is {found[key]!r} there and {wanted[key]!r} here" for key in differ}
    refused = [key for key in differ if key in WEIGHT_KEYS and key not in allowed]
    if refused:
        raise CheckpointError(
            f"the weights in {where} were trained as something else: {'; '.join(told[key] for key in refused)}",
            expected="the same values: shapes can be equal where the meaning is not",
            fix=fix,
        )
    if differ:
        say_aside(f"weights of {where}: {'; '.join(told[key] for key in differ)} (taken over all the same)")


def facts_of(state: Mapping[str, Any], where: str | Path) -> dict[str, Any]:
    """What a checkpoint says of itself in its state; empty for one from before they did.

    Raises:
        CheckpointError: that is something else than facts.
    """
    found = state.get(FACTS, {})
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{FACTS} in the state of {where} is {type(found).__name__}",
            expected="config keys and their values",
            fix="restore the checkpoint, or name another one",
        )
    return found


def check_own_weights(state: Mapping[str, Any], config: Mapping[str, Any], where: str | Path) -> None:
    """Hold a checkpoint against the config in the `run.json` above it: one of the two may have been changed or moved.

    Checkpoints from before they said what they are pass.

    Raises:
        CheckpointError: they differ.
    """
    check_weights_fit(
        facts_of(state, where), weight_facts(config), where,
        fix="restore the run's own run.json and checkpoints: one of them is another run's, or was edited",
    )  # fmt: skip
