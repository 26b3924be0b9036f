"""What an agent expected of an episode beside what the episode brought."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.agents.diagnosis import IMAGINED_EVERY, returns_after
from tests.models.agents.test_agent import batch_of, equal, small_agent, tensors

GAIN, DISCOUNT, BETA = 0.5, 0.9, 0.1
CHANGES = {"reward.gain": GAIN, "behavior.discount": DISCOUNT, "intrinsic.beta": BETA}


def episode_of(length: int, *, terminal: bool) -> dict[str, np.ndarray]:
    episode = {name: value[0] for name, value in batch_of(3, 1, length).items()}
    episode["is_terminal"][-1] = terminal
    return episode


def test_returns_by_hand() -> None:
    found = returns_after(torch.tensor([1.0, 2.0, 4.0]), 0.5, torch.tensor(8.0))
    torch.testing.assert_close(found, torch.tensor([1 + 0.5 * (2 + 0.5 * 8), 2 + 0.5 * 8, 8.0]))


@pytest.mark.parametrize("method", ["contextwm", "dreamerv2"])
def test_the_realised_return_is_the_episodes_own_and_bootstraps_only_where_it_was_cut(method: str) -> None:
    agent, length = small_agent(method, **CHANGES), 23
    ended = agent.examine(episode_of(length, terminal=True), 0)
    cut = agent.examine(episode_of(length, terminal=False), 0)
    bonus = BETA if method == "contextwm" else 0.0
    reward = episode_of(length, terminal=True)["reward"].astype(float) * GAIN + bonus
    returns = [sum(DISCOUNT**k * r for k, r in enumerate(reward[t:])) for t in range(0, length - 1, IMAGINED_EVERY)]
    assert ended["realised_return"] == pytest.approx(np.mean(returns), rel=1e-5)
    assert cut["realised_return"] != pytest.approx(ended["realised_return"], rel=1e-4)
    assert ended["critic_return"] == cut["critic_return"]
    gap = (ended["imagined_return"] - ended["realised_return"]) / abs(ended["realised_return"])
    assert ended["value_gap"] == pytest.approx(gap, rel=1e-5)


def test_a_context_frame_serves_its_own_window(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = small_agent(**{"context.frame": "last"})
    window, episode = agent.config.replay.length, episode_of(2 * agent.config.replay.length + 3, terminal=False)
    vision, seen = agent.model.vision, []
    maps_of = vision.context_maps
    monkeypatch.setattr(vision, "context_maps", lambda image, draws: (seen.append(image), maps_of(image, draws))[1])
    agent.examine(episode, 0)
    whole = vision.scaling(torch.from_numpy(episode["image"])[None])
    expected = (whole[:, :window], whole[:, window : 2 * window], whole[:, 2 * window :])
    assert len(seen) == 3
    assert all(torch.equal(found, wanted) for found, wanted in zip(seen, expected, strict=True))


def test_an_agent_that_expects_too_much_is_seen_and_nothing_is_changed() -> None:
    quiet, busy = small_agent(), small_agent()
    episode = episode_of(20, terminal=False)
    before = busy.examine(episode, 0)
    with torch.no_grad():
        for critic in (busy.behavior.critic, busy.behavior.slow_critic):
            critic.out.bias += 50.0
    after = busy.examine(episode, 0)
    assert after["critic_return"] == pytest.approx(before["critic_return"] + 50, rel=1e-3)
    assert after["imagined_return"] > before["imagined_return"] + 25
    assert after["episode_image_loss"] == before["episode_image_loss"]
    with torch.no_grad():
        for critic in (busy.behavior.critic, busy.behavior.slow_critic):
            critic.out.bias.copy_(quiet.behavior.critic.out.bias)
    busy.examine(episode, 1)
    for number in range(2):
        quiet.update(batch_of(number))
        busy.update(batch_of(number))
        busy.examine(episode, number)
    assert equal(tensors(quiet), tensors(busy))
