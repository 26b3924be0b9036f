"""Iso-Dream: losses against a plain reading, what reaches which branch, updates, and what is refused."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from ipv_bench.errors import ConfigError, TrainingError
from models.finetune import build_agent
from models.training.checkpoint import load_checkpoint, save_checkpoint
from tests.models.isolation.plain_isodream import behavior_losses, model_losses
from tests.models.isolation.small_isodream import (
    ACTION_DIM,
    LOOKS_AHEAD,
    SMALL,
    as_double,
    batch_of,
    parameters,
    small_agent,
)

CASES = {
    "dmc": {"isolation.free_steps": 3, "isolation.action_steps": 4},
    "carla": {**LOOKS_AHEAD, "isolation.action_steps": 4, "isolation.free_steps": 2},
    "reward_alone_sees_both": {**LOOKS_AHEAD, "isolation.window": 0},
    "policy_alone_looks_ahead": {**LOOKS_AHEAD, "isolation.use_free": False},
    "ends_are_predicted": {**LOOKS_AHEAD, "behavior.discount_head": True, "loss.discount_scale": 2.0},
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def doubled(**changes):
    agent = small_agent(**{"loss.free_nats": 0.3, **changes})
    agent.networks.double().train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in agent.networks.named_parameters():  # no bias or last layer that would hide itself as zero
            if name.endswith("bias") or "head.out" in name or "critic.out" in name:
                value += 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
    return agent, torch.Generator().manual_seed(2)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_the_equations(case):
    agent, generator = doubled(**CASES[case])
    torch.set_default_dtype(torch.float64)
    try:
        batch = as_double(batch_of())
        model, behavior, config = agent.model, agent.behavior, agent.config
        draws = model.draw(2, 6, generator)
        batch["is_terminal"][0, -1] = batch["is_terminal"][1, 2] = 1
        fields = [batch[name] for name in ("image", "action", "reward", "is_first")]
        ends = batch["is_terminal"] if model.discount_head is not None else None
        loss, metrics, states = model(*fields, draws, ends)
        plain, plain_states = model_losses(model, batch, draws)
        weights = {
            "reward_loss": config.reward.scale,
            "discount_loss": config.loss.discount_scale,
            "inverse_loss": config.loss.inverse_scale,
        }
        total = sum(weights.get(name, 1.0) * value for name, value in plain.items())
        for name, value in plain.items():
            torch.testing.assert_close(metrics[name], value.detach(), rtol=1e-10, atol=0, msg=name)
        torch.testing.assert_close(loss, total, rtol=1e-10, atol=0)
        assert ("free_kl_loss" in metrics) == (config.isolation.free_branch == "posterior")
        named = dict(model.named_parameters())
        ours = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        theirs = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        for name, a, b in zip(named, ours, theirs, strict=True):
            assert (a is None) == (b is None), name
            if a is not None and b is not None:
                assert a.abs().sum() > 0, name
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10 * float(b.abs().max()), msg=name)
        for place, values in enumerate(zip(*plain_states, strict=True)):
            state = states.action if place < 2 else states.free
            torch.testing.assert_close(state[place % 2], torch.stack(values, 1).detach(), rtol=1e-10, atol=1e-12)
        start = states.map(lambda value: value.flatten(0, 1))
        chosen = behavior.draw(12, model.rssm, generator)
        ended = batch["is_terminal"].flatten()
        actor, critic, _ = behavior(model.rssm, model.reward_head, start, chosen, model.discount_head, ended)
        plain_actor, plain_critic = behavior_losses(behavior, model, start, chosen, ended)
        torch.testing.assert_close(actor, plain_actor, rtol=1e-10, atol=0)
        torch.testing.assert_close(critic, plain_critic, rtol=1e-10, atol=0)
        actor_group, critic_group = behavior.groups()
        both = actor + critic  # as the agent adds them: neither may reach the other's network
        for group, own in ((actor_group, plain_actor), (critic_group, plain_critic)):
            values = list(group.parameters.values())
            found = torch.autograd.grad(both, values, retain_graph=True)
            wanted = torch.autograd.grad(own, values, retain_graph=True)
            for name, a, b in zip(group.parameters, found, wanted, strict=True):
                assert b.abs().sum() > 0, name
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12, msg=name)
        assert any("attention" in name for name in critic_group.parameters) == bool(config.isolation.window)
    finally:
        torch.set_default_dtype(torch.float32)


def test_no_action_reaches_the_free_branch_and_no_later_frame_what_foresees_it():
    agent, generator = doubled()
    batch = as_double(batch_of())
    model, draws = agent.model, agent.model.draw(2, 6, generator)
    draws = draws._replace(action=draws.action.double(), free=draws.free.double())
    target = model.vision.scaling(batch["image"])

    def states(target, action):
        return model.observe(target, action, batch["is_first"], draws).posterior

    before = states(target, batch["action"])
    moved = states(target, -batch["action"])
    assert torch.equal(before.free.stoch, moved.free.stoch)
    assert not torch.equal(before.action.stoch, moved.action.stoch)
    changed = target.clone()
    changed[:, 4:] += 0.5
    later = states(changed, batch["action"])
    assert torch.equal(before.free.stoch[:, :5], later.free.stoch[:, :5])  # the fifth foresees the changed frame
    assert not torch.equal(before.free.stoch[:, 5], later.free.stoch[:, 5])
    assert torch.equal(before.action.stoch[:, :4], later.action.stoch[:, :4])
    assert not torch.equal(before.action.stoch[:, 4], later.action.stoch[:, 4])


def test_shares_are_shares_and_parts_stay_inside_the_colours():
    agent, generator = doubled(**{"image.gain": 4.0, "image.offset": "half"})
    vision = agent.model.vision
    with torch.no_grad():
        for decoder in (vision.action_decoder, vision.free_decoder, vision.background_decoder):
            decoder.convs[-1].weight *= 40
        feat = torch.randn(2, 3, 12, generator=generator, dtype=torch.float64) * 5
        maps = torch.randn(2, 3, 4, 14, 14, generator=generator, dtype=torch.float64) * 9
        parts = vision.decode(feat, -feat, vision.background(maps))
    assert parts.masks.min() >= 0
    torch.testing.assert_close(parts.masks.sum(2), torch.ones(2, 3, 64, 64, dtype=torch.float64))
    for part in (parts.action, parts.free, parts.background, parts.frame):
        assert -2.0 - 1e-9 <= float(part.min()) <= float(part.max()) <= 2.0 + 1e-9
    assert parts.action.min() == -2.0


@pytest.mark.parametrize("kind", [{}, LOOKS_AHEAD])
def test_an_episode_is_examined_by_what_is_known_at_each_of_its_frames(kind):
    """With the switches of training segments most of it would come from priors, and a good model would be suspected."""
    episode = {name: value[0] for name, value in batch_of(5, 1, 12).items()}
    switched = small_agent(**kind, **{"isolation.action_steps": 2, "isolation.free_steps": 2})
    assert switched.examine(episode, 0) == small_agent(**kind).examine(episode, 0)


@pytest.mark.parametrize(("kind", "first"), [({}, 1), (LOOKS_AHEAD, 0)])
def test_the_background_of_a_long_episode_is_that_of_each_window(kind, first):
    agent = small_agent(**kind)
    agent.mode.set(training=False)
    vision = agent.model.vision
    with torch.no_grad():
        for decoder in (vision.action_decoder, vision.free_decoder):  # the frames are the background's alone
            for value in decoder.parameters():
                value.zero_()
    batch = batch_of(6, 1, 15)
    batch["is_first"][:, 1:] = False

    def frames(some):
        image, action, starts = (torch.from_numpy(batch[name])[:, some] for name in ("image", "action", "is_first"))
        found = agent.model.reconstruct(image, action, starts, torch.Generator().manual_seed(0), 6)
        assert found.frames.shape == found.target.shape
        return found.frames

    whole = frames(slice(0, 15))
    assert whole.shape[1] == 15 - first  # a predictive branch foresees no first frame
    for begin, here in ((6, slice(6, 12)), (9, slice(12, 15))):  # the last window is as long as the others
        own = frames(slice(begin, begin + 6))[:, -1]
        for frame in range(here.start, here.stop):
            torch.testing.assert_close(whole[:, frame - first], own)
    assert not torch.allclose(whole[:, 5 - first], whole[:, 6 - first])


@pytest.mark.parametrize("changes", [{}, LOOKS_AHEAD, {"behavior.discount_head": True}])
def test_an_update_trains_every_part_and_acting_follows_the_state(changes):
    agent = small_agent(**changes)
    before = parameters(agent)
    metrics = agent.update(batch_of())
    assert metrics["skipped_updates"] == 0
    assert all(np.isfinite(list(metrics.values())))
    shares = [metrics[name] for name in ("action_mask", "free_mask", "background_mask")]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    after = parameters(agent)
    for name in before:
        if "slow_critic" not in name and not name.endswith("offset"):
            assert not torch.equal(before[name], after[name]) or name.endswith("bias"), name
    frames = batch_of(3)["image"][0]
    policy = agent.policy(1, 0, "test", explore=False)
    start = policy.act(frames[:1], np.array([True]), 0)
    middle = policy.act(frames[1:2], np.array([False]), 1)
    np.testing.assert_array_equal(start, policy.act(frames[:1], np.array([True]), 0))
    assert start.shape == (1, ACTION_DIM)
    assert not np.array_equal(start, middle)
    expected = agent.examine({name: value[0] for name, value in batch_of(5, 1, 12).items()}, 0)
    assert all(np.isfinite(list(expected.values())))


def test_a_skipped_update_changes_nothing_and_ten_of_them_stop(tmp_path):
    agent = small_agent(**LOOKS_AHEAD)
    agent.update(batch_of())
    before = parameters(agent)
    bad = batch_of(1)
    bad["reward"][0, 1] = np.nan
    assert agent.update(bad) == {"skipped_updates": 1.0}
    assert all(torch.equal(before[name], value) for name, value in agent.model_tensors().items())
    path = save_checkpoint(tmp_path, 1, agent.model_tensors(), agent.optimizer_tensors(), {"agent": agent.state()})
    other = small_agent(**LOOKS_AHEAD)
    other.load(load_checkpoint(path))
    assert other.update(batch_of(2)) == agent.update(batch_of(2))
    for _ in range(9):
        agent.update(bad)
    with pytest.raises(TrainingError, match="10 updates in a row"):
        agent.update(bad)


def test_prediction_sees_nothing_of_the_future_but_its_actions():
    batch = batch_of(4, 1, 6)
    image, action = torch.from_numpy(batch["image"]), torch.from_numpy(batch["action"])
    for changes in ({}, LOOKS_AHEAD):
        agent = small_agent(**changes)

        def predicted(image, action, agent=agent):
            return agent.video_model().open_loop(image, 1, torch.Generator().manual_seed(0), action)

        frames = predicted(image, action)
        assert frames.shape == (1, 6, 3, 64, 64)
        unseen = image.clone()
        unseen[:, 1:] = 0
        assert torch.equal(frames, predicted(unseen, action))
        assert not torch.equal(frames, predicted(image, -action))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image.size": 96, "env.image_size": 96}, ["image.size is 96", "image.size=64"]),
        ({"isolation.window": 5}, ["isolation.window=5", "free_branch=posterior"]),
        ({"isolation.use_free": True}, ["isolation.use_free=true", "free_branch=posterior"]),
        ({"isolation.background_frames": 7}, ["replay.length 6", "isolation.background_frames 7"]),
        (
            {"replay.length": 1, "isolation.background_frames": 1, "isolation.free_steps": None},
            ["replay.length 1 is shorter"],
        ),
        (
            {"isolation.free_steps": 6},
            [
                "isolation.free_steps 6 never acts",
                "replay.length 6",
                "40 of 50), or null",
                "set isolation.free_steps=5",
            ],
        ),
        (
            {"isolation.free_steps": 1, "replay.length": 1, "isolation.background_frames": 1},
            ["isolation.free_steps 1 never acts", "set a larger replay.length"],
        ),
        ({"rssm.discrete": 8}, ["rssm.discrete"]),
        (
            {**LOOKS_AHEAD, "isolation.free_steps": 15, "replay.length": 6},
            ["isolation.action_steps 6 never acts", "20 of 50), or null", "set isolation.action_steps=2"],
        ),
        (
            {"training.encoder_frozen_updates": 3},
            ["encoder_frozen_updates is 3, and nothing", "leave training.encoder_frozen_updates out"],
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(changes, words):
    with pytest.raises(ConfigError) as caught:
        build_agent("tiny", {**SMALL, **changes}, None, ACTION_DIM)
    for word in words:
        assert word in str(caught.value)


def test_batches_that_do_not_fit_are_refused():
    agent = small_agent()
    discrete = batch_of()
    discrete["action"] = np.zeros(discrete["action"].shape[:2], np.int64)
    with pytest.raises(ConfigError, match="action"):
        agent.update(discrete)
    with pytest.raises(ConfigError, match=r"T = 1"):
        agent.update(batch_of(length=1))
    with pytest.raises(ConfigError, match="discrete|Discrete"):
        build_agent("tiny", SMALL, None, gymnasium.spaces.Discrete(4))
