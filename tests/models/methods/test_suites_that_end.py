"""Every method's presets on suites whose tasks end episodes: ends are learned from, and windows fit the episodes."""

from __future__ import annotations

import pytest

from ipv_bench.errors import UnknownNameError
from ipv_bench.plugins import plugin_names
from models.finetuning.config import FinetuneConfig, resolve_finetuning
from models.methods.base import find_method

METHODS = [name for name in plugin_names("methods") if find_method(name).agent_config is not None]
LONGEST_WINDOW = {"highway/highway_fast": 6, "gym/Hopper-v5": 6, "robosuite/wipe": 50, "carla/clear_noon": 50}
"""Records that random episodes have in most cases, at the presets' action repeat of two (`wipe`: 500 steps at most;
CARLA: of one, and a car that stands is looked at every 100 steps)."""


def resolved(method: str, preset: str, full: str) -> FinetuneConfig:
    suite, _, task = full.partition("/")
    return resolve_finetuning(preset, suite, parts=(f"{suite}-{task}", suite), overrides={"method": method}).config


@pytest.mark.parametrize("full", LONGEST_WINDOW)
@pytest.mark.parametrize("preset", ["tiny", "demo", "small"])
def test_ends_are_learned_from_where_tasks_end(preset: str, full: str) -> None:
    found = {method: resolved(method, preset, full) for method in METHODS}
    assert len({config.env.action_repeat for config in found.values()}) == 1
    assert len({config.training.env_steps for config in found.values()}) == 1
    for method, config in found.items():
        assert config.replay.length <= LONGEST_WINDOW[full], method
        if method == "drqv2":  # which stops at a terminal step by itself
            assert config.beyond() == config.drqv2.n_step - 1
            continue
        assert config.behavior.discount_head, method
        assert config.replay.prioritize_ends, method
        assert config.evaluation.explore == found["dreamerv2"].evaluation.explore, method
        assert config.loss.discount_scale == found["dreamerv2"].loss.discount_scale, method


@pytest.mark.parametrize("full", ["robosuite/lift", "dmc/cheetah_run", "metaworld/reach"])
def test_they_are_not_where_tasks_only_have_time_limits_or_the_papers_leave_ends_out(full: str) -> None:
    for preset in ("tiny", "demo", "small"):
        assert not resolved("contextwm", preset, full).behavior.discount_head
    assert not resolved("contextwm", "paper", "carla/clear_noon").behavior.discount_head


@pytest.mark.parametrize("full", [full for full in LONGEST_WINDOW if not full.startswith("carla/")])
def test_the_papers_settings_are_refused_where_the_papers_have_none(full: str) -> None:
    for method in METHODS:
        with pytest.raises(UnknownNameError, match="suite for finetune preset 'paper'"):
            resolved(method, "paper", full)
