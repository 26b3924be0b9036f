"""Config fields that came after the first records were written, and what runs did before there were such fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipv_bench.config import flatten

CAME_LATER: dict[str, Any] = {
    "behavior.discount_head": False,
    "data.crop": None,
    "data.every_frames": 1,
    "data.every_seconds": None,
    "data.fewest_held_out": 0,
    "decoder.kind": "residual",
    "drqv2.penultimate_norm": False,
    "encoder.kind": "residual",
    "evaluation.explore": False,
    "features.own.warmup": 0.0,
    "finetuning": "stacked",
    "init_allow": [],
    "loss": "state",
    "loss.discount_scale": 1.0,
    "num_segments": None,
    "training.cuda_graph": False,
    "training.deterministic": False,
}
"""Dotted field → the value under which today's code does what the code of a record without the field did. A field that
changes what a run is, and has no such value, does not stand here: then the run is another one."""


def with_later_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """An older record's config as today's code would have written it, so that the two can be compared.

    Args:
        old: the record's config, nested.
        new: today's config of the same kind of run, nested; only fields that stand in it are added.

    Returns:
        Dotted field → value of `old`, and of each field of `CAME_LATER` that `new` has and `old` lacks.
    """
    before, after = flatten(old), flatten(new)
    return {key: value for key, value in CAME_LATER.items() if key in after} | before
