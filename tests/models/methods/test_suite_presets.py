"""Presets of every method on CARLA, whose environments differ from dm-control's."""

from __future__ import annotations

import pytest

from models.finetuning.config import resolve_finetuning

METHODS = ("contextwm", "apv", "dreamerv2", "prelar", "drqv2", "isodream")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", ["tiny", "demo", "small", "paper"])
def test_carla_has_no_action_repeat_in_any_preset(preset, method):
    config = resolve_finetuning(
        preset, "carla", parts=("carla-clear_noon", "carla"), overrides={"method": method}
    ).config
    assert config.env.action_repeat == 1
    if preset in ("tiny", "demo"):
        assert (config.training.env_steps, config.evaluation.parallel) == (2000, 1)
