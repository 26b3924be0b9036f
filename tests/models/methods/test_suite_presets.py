"""Presets of a method on every suite: what a suite changes, and what none may."""

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


SUITES = ("metaworld", "metaworld-remastered", "dmc", "dmcr", "carla", "highway", "gym", "robosuite")


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("preset", ["tiny", "demo", "small", "paper"])
def test_what_prelar_pre_trained_waits_for_its_network_of_real_actions_on_every_suite(preset, suite):
    if preset == "paper" and suite in ("gym", "highway", "robosuite"):
        return  # no paper has them
    config = resolve_finetuning(preset, suite, parts=(suite,), overrides={"method": "prelar"}).config
    assert config.training.encoder_frozen_updates == 100
    assert config.latent_action.hold_rssm
