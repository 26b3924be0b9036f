"""Episodes that end: the predicted discount, and no bootstrapping beyond a terminal state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ipv_bench.errors import ConfigError
from models.agents.behavior import Trajectories
from models.world_models.config import IntrinsicConfig
from models.world_models.intrinsic_bonus import IntrinsicBonus
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


def rewarded_at_the_end() -> dict[str, np.ndarray]:
    """Two windows whose last step ends the episode, in black, with the only reward; two of white frames that go on."""
    batch = batch_of(0, 4, 6)
    batch["image"][:], batch["reward"][:] = 255, 0
    batch["image"][:2, -1], batch["reward"][:2, -1], batch["is_terminal"][:2, -1] = 0, 1, True
    return batch


def predicted_rewards(agent, batch: dict[str, np.ndarray]) -> tuple[float, float]:
    """The actor's reward head at terminal states, and its mean elsewhere."""
    image, action, is_first = (torch.from_numpy(batch[name]) for name in ("image", "action", "is_first"))
    agent.mode.set(training=False)
    with torch.no_grad():
        states = agent.model.reconstruct(image, action, is_first, torch.Generator().manual_seed(0), 8).states
        reward = agent.model.reward_head(states.feat)  # (B, T)
    ended = torch.from_numpy(batch["is_terminal"])
    return float(reward[ended].mean()), float(reward[~ended].mean())


@pytest.mark.parametrize("method", ["contextwm", "prelar"])
def test_the_reward_of_a_step_that_ends_the_episode_is_learned_beside_a_bonus(method: str) -> None:
    """`intrinsic.window` is 3 here: as published the last two steps of a window are never learned."""
    changes = {"optimizer.lr": 0.01, "intrinsic.beta": 1e-3, "reward.scale": 1000, "reward.gain": 1.0}
    batch = rewarded_at_the_end()
    agent = small_agent(method, **CHANGES, **changes)
    for _ in range(25):
        assert agent.update(batch)["skipped_updates"] == 0
    end, elsewhere = predicted_rewards(agent, batch)
    assert end > 0.5
    assert abs(elsewhere) < 0.25


def test_without_the_head_the_end_of_a_window_is_left_out_as_published() -> None:
    """Bit for bit: whatever the reward of the last window - 1 steps is, the update of a single head is the same."""
    batch = batch_of()
    other = {**batch, "reward": batch["reward"].copy()}
    other["reward"][:, -2:] += 7
    assert small_agent("apv").update(batch) == small_agent("apv").update(other)
    other["reward"][:, -3] += 7
    assert small_agent("apv").update(batch) != small_agent("apv").update(other)


def test_what_is_left_of_a_window_gives_the_bonus_of_its_last_steps() -> None:
    config = IntrinsicConfig(queue_size=20, queue_dim=4, neighbours=3, window=3)
    bonus = IntrinsicBonus(config, 6, torch.Generator().manual_seed(0), to_end=True)
    feat = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(1))
    assert bonus(feat).shape == (2, 5)
    means = torch.stack([feat[:, start : start + 3].mean(1) for start in range(5)], 1)  # shorter ones at the end
    torch.testing.assert_close(bonus.queue[:10], means.flatten(0, 1) @ bonus.projection)
    assert int(bonus.count) == 10
