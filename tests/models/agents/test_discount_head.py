"""Episodes that end: the predicted discount, and no bootstrapping beyond a terminal state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ipv_bench.errors import ConfigError
from models.agents.behavior import Trajectories
from tests.models.agents.test_agent import batch_of, small_agent

GAMMA = 0.9
CHANGES = {"behavior.discount_head": True, "behavior.discount": GAMMA, "training.encoder_frozen_updates": 0}


class SaysTheSame(nn.Module):
    """A head with one answer."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, feat: Tensor) -> Tensor:
        return feat.new_full(feat.shape[:-1], self.answer)


def imagined(agent, terminal: list[bool], probability: float) -> Trajectories:
    behavior, rssm = agent.behavior, agent.model.rssm
    draws = behavior.draw(len(terminal), rssm, torch.Generator().manual_seed(0))
    logit = float(np.log(probability / (1 - probability)))
    start = rssm.initial(len(terminal))
    return behavior.imagine(rssm, SaysTheSame(1.0), start, draws, SaysTheSame(logit), torch.tensor(terminal))


def test_returns_stop_at_a_state_where_the_task_ended_and_not_where_it_was_cut() -> None:
    agent = small_agent("dreamerv2", **CHANGES)
    trajectories = imagined(agent, [True, False], 0.8)
    torch.testing.assert_close(trajectories.discount[:, 1:], torch.full((2, agent.config.behavior.horizon), 0.8))
    torch.testing.assert_close(trajectories.discount[:, 0], torch.tensor([0.0, GAMMA]))
    target = agent.behavior.target(trajectories)
    assert target[0, 0] == 1.0  # its own reward, and nothing after it
    assert target[1, 0] > 1.0
    torch.testing.assert_close(trajectories.weight[0, 1:], torch.zeros(agent.config.behavior.horizon))
    torch.testing.assert_close(trajectories.weight[1, :3], torch.tensor([1.0, GAMMA, GAMMA * 0.8]))


def test_the_head_learns_where_episodes_end() -> None:
    """Black frames end the episode, white ones do not."""
    agent, batch = small_agent("dreamerv2", **CHANGES, **{"optimizer.lr": 0.01}), batch_of(0, 4, 6)
    batch["is_terminal"][:2, -1] = True
    batch["image"][:] = 255
    batch["image"][:2, -1] = 0
    losses = [agent.update(batch)["discount_loss"] for _ in range(60)]
    lowest = -(GAMMA * np.log(GAMMA) + (1 - GAMMA) * np.log(1 - GAMMA))  # of a soft label, on the frames that go on
    assert losses[-1] < 0.55 * losses[0]
    assert losses[-1] < lowest + 0.15


def test_without_the_head_nothing_changes_and_with_it_the_flags_are_needed() -> None:
    batch = batch_of()
    ends = {**batch, "is_terminal": np.ones_like(batch["is_terminal"])}
    assert small_agent().update(batch) == small_agent().update(ends)
    agent = small_agent(**CHANGES)
    with pytest.raises(ConfigError, match="no 'is_terminal'"):
        agent.update({name: value for name, value in batch.items() if name != "is_terminal"})
    assert agent.update(batch)["critic_target"] != small_agent(**CHANGES).update(ends)["critic_target"]
