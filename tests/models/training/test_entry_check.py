"""What does not fit is refused at the door, with what was found; what fits passes, whatever array type it is."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from ipv_bench.errors import ConfigError
from models.agents.agent import Agent
from models.pretrain import build_training
from tests.models.agents.test_agent import ACTION_DIM, batch_of, small_agent
from tests.models.pretraining.small_pretraining import SMALL as SMALL_VIDEO

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
    assert agent.updates == 0
    assert all(torch.equal(value, before[name]) for name, value in agent.model_tensors().items())


def test_an_absent_field_and_a_window_too_short_for_the_bonus_are_named(agent: Agent) -> None:
    with pytest.raises(ConfigError, match="the batch has no 'reward'"):
        agent.update({name: value for name, value in batch_of().items() if name != "reward"})
    window = agent.config.intrinsic.window
    with pytest.raises(ConfigError, match=f"T = {window - 1} steps") as caught:
        agent.update(batch_of(0, 2, window - 1))
    assert f"T ≥ {window}" in caught.value.expected


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
    with pytest.raises(ConfigError, match=re.escape(found)):
        agent.act(obs)


def test_another_number_of_environments_within_an_episode_is_refused() -> None:
    agent, frame = small_agent(), np.zeros((64, 64, 3), np.uint8)
    assert agent.act({"image": frame, "is_first": True}).shape == (ACTION_DIM,)
    assert agent.act({"image": frame, "is_first": np.array([False])}).shape == (ACTION_DIM,)
    with pytest.raises(ConfigError, match="2 observations in the middle of episodes, and 1 before"):
        agent.act({"image": np.stack([frame] * 2), "is_first": np.zeros(2, bool)})
    assert agent.act({"image": np.stack([frame] * 2), "is_first": np.ones(2, bool)}).shape == (2, ACTION_DIM)


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
