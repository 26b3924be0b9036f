"""The small presets of every method on suites whose environments differ from dm-control's."""

from __future__ import annotations

import pytest

from models.finetune import resolve_finetuning

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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", ["tiny", "demo"])
def test_windows_fit_the_short_episodes_of_driving(preset, method):
    parts = ("highway-merge", "highway")
    config = resolve_finetuning(preset, "highway", parts=parts, overrides={"method": method}).config
    assert config.env.action_repeat == 2
    assert config.replay.length <= 6  # random episodes have some nine steps of the agent
    assert config.training.prefill == 400
    assert method == "drqv2" or config.behavior.discount_head
