"""What does not fit is refused at the door, with what was found; what fits passes, whatever array type it is."""

from __future__ import annotations

import re

import gymnasium
import numpy as np
import pytest
import torch

from ipv_bench.errors import ConfigError
from models.agents.agent import Agent
from models.finetune import build_agent
from models.pretrain import build_training
from tests.models.agents.test_agent import ACTION_DIM, batch_of, small_agent
from tests.models.finetuning.finetune_runs import SMALL
from tests.models.pretraining.small_pretraining import SMALL as SMALL_VIDEO
from tests.models.read_settings import read_agent, read_pretraining

B, T = 6, 6
"""B == T: where a missing axis or a swapped one broadcasts without a word."""


@pytest.fixture(scope="module")
def agent() -> Agent:
    return small_agent()


def changed(**fields) -> dict:
    return batch_of(0, B, T) | fields


WRONG = {
    "rewards with a last axis": ({"reward": np.zeros((B, T, 1), np.float32)}, "reward is float32 (6, 6, 1)", "(6, 6)"),
    "rewards without time": ({"reward": np.zeros(B, np.float32)}, "reward is float32 (6,)", "(6, 6)"),
    "images in 0…1": (
        {"image": np.zeros((B, T, 64, 64, 3), np.float32)},
        "image is float32",
        "uint8 (B, T, 64, 64, 3)",
    ),
    "channels first": ({"image": np.zeros((B, T, 3, 64, 64), np.uint8)}, "image is uint8 (6, 6, 3, 64, 64)", "(B, T,"),
    "one image a window": ({"image": np.zeros((B, 64, 64, 3), np.uint8)}, "image is uint8 (6, 64, 64, 3)", "(B, T,"),
    "another size": ({"image": np.zeros((B, T, 32, 32, 3), np.uint8)}, "(6, 6, 32, 32, 3)", "64, 64"),
    "too few actions": ({"action": np.zeros((B, T, 2), np.float32)}, "action is float32 (6, 6, 2)", "(6, 6, 3)"),
    "too many actions": ({"action": np.zeros((B, T, 8), np.float32)}, "action is float32 (6, 6, 8)", "(6, 6, 3)"),
    "actions as numbers of choices": ({"action": np.zeros((B, T, 3), np.int64)}, "action is int64", "float32"),
    "actions beyond the range": ({"action": np.full((B, T, 3), -2.5, np.float32)}, "actions reach 2.5", "[-1, 1]"),
    "a shorter is_first": ({"is_first": np.zeros((B, T - 1), bool)}, "is_first is bool (6, 5)", "(6, 6)"),
    "is_first as step numbers": ({"is_first": np.tile(np.arange(T), (B, 1))}, "is_first has values other", "booleans"),
    "a list": ({"reward": [[0.0] * T] * B}, "reward is a list", "an array or tensor"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_batch_that_does_not_fit_is_refused_and_changes_nothing(agent: Agent, case: str) -> None:
    fields, found, expected = WRONG[case]
    before = {name: value.clone() for name, value in agent.model_tensors().items()}
    with pytest.raises(ConfigError, match=re.escape(found)) as caught:
        agent.update(changed(**fields))
    assert expected in caught.value.expected
    assert caught.value.fix
    assert agent.updates == 0
    assert all(torch.equal(value, before[name]) for name, value in agent.model_tensors().items())


def test_an_absent_field_and_a_window_too_short_for_the_bonus_are_named(agent: Agent) -> None:
    with pytest.raises(ConfigError, match=r"the batch has no 'reward'.*\n.*is_first\n.*add reward"):
        agent.update({name: value for name, value in batch_of().items() if name != "reward"})
    window = agent.config.intrinsic.window
    with pytest.raises(ConfigError, match=f"T = {window - 1} steps") as caught:
        agent.update(batch_of(0, 2, window - 1))
    assert f"T ≥ {window}" in caught.value.expected
    assert f"windows of {window} steps or more" in caught.value.fix


def test_tensors_flags_as_numbers_and_other_floats_are_as_good(agent: Agent) -> None:
    plain = batch_of(0, 2, 6)
    other = {name: torch.from_numpy(value) for name, value in plain.items()}
    other |= {"is_first": plain["is_first"].astype(np.uint8), "reward": plain["reward"].astype(np.float64)}
    assert small_agent().update(plain) == small_agent().update(other)


OBSERVATIONS = {
    "float image": ({"image": np.zeros((64, 64, 3)), "is_first": True}, "image is float64"),
    "batch of images without an axis": (
        {"image": np.zeros((64, 3), np.uint8), "is_first": True},
        "image is uint8 (64, 3)",
    ),
    "channels first": ({"image": np.zeros((3, 64, 64), np.uint8), "is_first": True}, "image is uint8 (1, 3, 64, 64)"),
    "one flag for two": ({"image": np.zeros((2, 64, 64, 3), np.uint8), "is_first": True}, "is_first is bool ()"),
    "flags with a last axis": (
        {"image": np.zeros((2, 64, 64, 3), np.uint8), "is_first": np.ones((2, 1))},
        "is_first is",
    ),
    "no flag": ({"image": np.zeros((64, 64, 3), np.uint8)}, "no 'is_first'"),
}


@pytest.mark.parametrize("case", OBSERVATIONS)
def test_an_observation_that_does_not_fit_is_refused(agent: Agent, case: str) -> None:
    obs, found = OBSERVATIONS[case]
    with pytest.raises(ConfigError, match=re.escape(found)) as caught:
        agent.act(obs)
    assert caught.value.expected
    assert caught.value.fix


def test_another_number_of_environments_within_an_episode_is_refused() -> None:
    agent, frame = small_agent(), np.zeros((64, 64, 3), np.uint8)
    assert agent.act({"image": frame, "is_first": True}).shape == (ACTION_DIM,)
    assert agent.act({"image": frame, "is_first": np.array([False])}).shape == (ACTION_DIM,)
    with pytest.raises(ConfigError, match="2 observations in the middle of episodes, and 1 before"):
        agent.act({"image": np.stack([frame] * 2), "is_first": np.zeros(2, bool)})
    assert agent.act({"image": np.stack([frame] * 2), "is_first": np.ones(2, bool)}).shape == (2, ACTION_DIM)


def test_views_with_negative_strides_are_as_good() -> None:
    """Frames that a camera gives upside-down, or a window in reverse."""
    plain = batch_of(0, 2, 6)
    turned = {name: value[:, ::-1].copy()[:, ::-1] for name, value in plain.items()}
    assert all(min(value.strides) < 0 for value in turned.values())
    assert small_agent().update(plain) == small_agent().update(turned)
    upside_down = plain["image"][0, 0][::-1]
    for method in ("apv", "drqv2"):
        changes = {"method": method} if method == "drqv2" else read_agent({**SMALL, "method": method})
        actions = [
            build_agent("tiny", changes, None, 3).act({"image": image, "is_first": True})
            for image in (upside_down, upside_down.copy())
        ]
        np.testing.assert_array_equal(*actions)
    training = build_training("tiny", {**SMALL_VIDEO, "image.size": 64})
    assert training.step(plain["image"][:, ::-1])["skipped"] == 0


@pytest.mark.parametrize(
    ("space", "found"),
    [
        (gymnasium.spaces.Box(-2, 2, (3,)), "lie in [-2, 2]"),
        (gymnasium.spaces.Box(0, 1, (3,)), "lie in [0, 1]"),
        (gymnasium.spaces.Box(np.float32([-1, -1]), np.float32([1, np.inf])), "lie in [-1, inf]"),
        (gymnasium.spaces.Box(-1, 1, (2, 3)), "the action space is Box"),
        (0, "the action space is 0"),
        (True, "the action space is True"),
    ],
)
def test_actions_that_an_agent_cannot_take_are_refused(space: object, found: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(found)):
        build_agent("tiny", SMALL, None, space)


def test_float_observations_are_refused_where_the_agent_is_made() -> None:
    with pytest.raises(ConfigError, match="images of float32"):
        build_agent("tiny", SMALL, gymnasium.spaces.Box(0, 1, (64, 64, 3)), 3)
    with pytest.raises(ConfigError, match="observations are Dict"):
        build_agent("tiny", SMALL, gymnasium.spaces.Dict({"camera": gymnasium.spaces.Box(0, 1, (3,))}), 3)
    with pytest.raises(ConfigError, match="images of shape 64"):
        build_agent("tiny", SMALL, 64, 3)


PAIRS = {
    "prelar": read_pretraining({**SMALL_VIDEO, "method": "prelar", "rssm.action_dim": 8}),
    "uwm": {
        "method": "uwm", "image.size": 64, "features.own.width": 8, "features.own.layers": 1, "extractor.width": 8,
        "extractor.layers": 1, "dynamics.width": 8, "dynamics.layers": 1, "features.own.heads": 2,
        "extractor.heads": 2, "dynamics.heads": 2, "quantizer.codes": 4, "quantizer.size": 4,
    },
}  # fmt: skip


@pytest.mark.parametrize("method", PAIRS)
def test_a_model_of_pairs_needs_two_frames(method: str) -> None:
    training = build_training("tiny", PAIRS[method])
    size = training.config.image.size
    with pytest.raises(ConfigError, match="T = 1 frames") as caught:
        training.step(np.zeros((2, 1, size, size, 3), np.uint8))
    assert "T ≥ 2" in caught.value.expected
    assert training.updates == 0


def test_an_alignment_with_latent_actions_needs_two_frames() -> None:
    changes = {"latent_action.align": "nll", "intrinsic.beta": 0.0}
    with pytest.raises(ConfigError, match=r"T = 1 steps"):
        small_agent("prelar", **changes).update(batch_of(0, 2, 1))
    with pytest.raises(ConfigError, match=r"replay.length 1 is shorter than latent_action.align=nll, which needs 2"):
        small_agent("prelar", **changes, **{"intrinsic.window": 1, "replay.length": 1})
    assert small_agent("apv", **{"intrinsic.beta": 0.0}).update(batch_of(0, 2, 1))["skipped_updates"] == 0


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        (np.zeros((2, 12, 64, 64, 3), np.float32), "float32 (2, 12, 64, 64, 3)"),
        (np.zeros((12, 64, 64, 3), np.uint8), "uint8 (12, 64, 64, 3)"),
        (np.zeros((2, 12, 3, 64, 64), np.uint8), "uint8 (2, 12, 3, 64, 64)"),
        (np.zeros((2, 12, 64, 48, 3), np.uint8), "48x64 pixels"),
        (np.zeros((0, 12, 64, 64, 3), np.uint8), "uint8 (0, 12, 64, 64, 3)"),
    ],
)
def test_videos_that_do_not_fit_are_refused(batch: np.ndarray, found: str) -> None:
    training = build_training("tiny", SMALL_VIDEO)
    with pytest.raises(ConfigError, match=re.escape(found)):
        training.step(batch)
    assert training.updates == 0
