"""The agent: updates of all methods, acting, skipped updates, pre-trained parts."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from ipv_bench.errors import CheckpointError, ConfigError, TrainingError
from models.agents.agent import BATCH_FIELDS, Agent
from models.finetune import build_agent
from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.world_models.video import VideoWorldModel
from tests.models.finetuning.finetune_runs import SMALL
from tests.models.read_settings import read_agent

ACTION_DIM = 3


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def small_agent(method: str = "contextwm", seed: int = 0, **changes) -> Agent:
    return build_agent("tiny", read_agent({**SMALL, "method": method, **changes}), (64, 64, 3), ACTION_DIM, seed=seed)


def batch_of(seed: int = 0, batch: int = 2, length: int = 6) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    first = np.zeros((batch, length), bool)
    first[:, 0] = True
    return {
        "image": generator.integers(0, 255, (batch, length, 64, 64, 3), np.uint8),
        "action": generator.uniform(-1, 1, (batch, length, ACTION_DIM)).astype(np.float32),
        "reward": generator.random((batch, length)).astype(np.float32),
        "is_first": first,
        "is_terminal": np.zeros((batch, length), bool),
    }


def tensors(agent: Agent) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in agent.model_tensors().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], only: str = "") -> bool:
    return all(torch.equal(first[name], second[name]) for name in first if only in name)


@pytest.mark.parametrize("method", ["contextwm", "apv", "dreamerv2"])
def test_an_update_trains_every_part(method):
    agent = small_agent(method, **{"training.encoder_frozen_updates": 0})
    before = tensors(agent)
    metrics = agent.update(batch_of())
    assert all(np.isfinite(list(metrics.values())))
    assert ("bonus" in metrics) == (method != "dreamerv2")
    assert ("aux_reward_loss" in metrics) == (method == "contextwm")
    after = tensors(agent)
    parts = ["vision.encoder", "vision.decoder", "model.rssm", "reward_head", "behavior.actor", "behavior.critic"]
    parts += {"contextwm": ["vision.context_encoder", "action_free_rssm"], "apv": ["action_free_rssm"]}.get(method, [])
    for part in parts:
        assert not equal(before, after, part), part
    assert equal(before, after, "slow_critic")
    assert equal(before, after, "projection")


@pytest.mark.parametrize("method", ["contextwm", "apv", "dreamerv2"])
def test_an_update_of_the_world_model_is_a_step_of_adam_for_each_weight(method):
    agent, plain = (small_agent(method, **{"training.encoder_frozen_updates": 0}) for _ in range(2))
    batch = batch_of()
    agent.update(batch)
    image, action, reward, is_first = (torch.from_numpy(batch[name]) for name in BATCH_FIELDS)
    plain.networks.train()
    loss, _, _ = plain.model(image, action, reward, is_first, plain.model.draw(2, 6, plain._generator("world model")))
    loss.backward()
    config = plain.config.optimizer
    for group in plain.model.groups():
        parameters = list(group.parameters.values())
        group.gradients()  # zeros where the loss does not reach, so that decay acts there too
        torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        torch.optim.Adam(
            parameters, lr=config.lr, eps=config.eps, weight_decay=config.weight_decay, fused=False, foreach=False
        ).step()
    for name, value in plain.model.named_parameters():
        found = dict(agent.model.named_parameters())[name]
        torch.testing.assert_close(found, value, rtol=0, atol=0.02 * config.lr, msg=name)


def test_half_precision_trains_and_acts():
    agent = small_agent(**{"training.precision": "bf16"})
    assert all(np.isfinite(list(agent.update(batch_of()).values())))
    assert agent.act({"image": batch_of()["image"][0, 0], "is_first": True}).dtype == np.float32
    with pytest.raises(ConfigError, match="fp16"):
        small_agent(**{"training.precision": "fp16", "training.device": "cpu"})


def test_equal_seeds_give_equal_agents_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = small_agent(seed=1), small_agent(seed=1), small_agent(seed=2)
    for number in range(2):
        for agent in (first, again, other):
            agent.update(batch_of(number))
    assert torch.equal(torch.get_rng_state(), state)
    assert equal(tensors(first), tensors(again))
    assert not equal(tensors(first), tensors(other), "actor")


def test_acting_and_scoring_change_nothing_of_the_training():
    quiet, busy = small_agent(), small_agent()
    frames = batch_of()["image"][:, 0]
    for number in range(2):
        quiet.update(batch_of(number))
        busy.act({"image": frames, "is_first": np.ones(2, bool)})
        busy.policy(2, 9, "evaluation", explore=False).act(frames, np.ones(2, bool), 0)
        busy.update(batch_of(number))
    assert equal(tensors(quiet), tensors(busy))


def test_actions_follow_the_state_and_restart_with_an_episode():
    agent = small_agent()
    frames = batch_of(3, batch=1)["image"][0]
    policy = agent.policy(1, 0, "test", explore=False)
    start = policy.act(frames[:1], np.array([True]), 0)
    middle = policy.act(frames[1:2], np.array([False]), 1)
    again = policy.act(frames[:1], np.array([True]), 0)
    assert start.shape == (1, ACTION_DIM)
    assert start.dtype == np.float32
    assert np.abs(start).max() <= 1
    np.testing.assert_array_equal(start, again)
    assert not np.array_equal(start, middle)
    single = agent.act({"image": frames[0], "is_first": True})
    assert single.shape == (ACTION_DIM,)


def test_environments_of_a_group_do_not_mix():
    agent = small_agent()
    frames = batch_of(4)["image"][:, 0]
    together = agent.policy(2, 0, "test", explore=False)
    together.act(frames, np.array([True, True]), 0)
    second = together.act(frames, np.array([True, False]), 1)
    fresh = agent.policy(2, 0, "test", explore=False).act(frames, np.array([True, True]), 1)
    np.testing.assert_allclose(second[0], fresh[0], atol=1e-6)
    assert not np.allclose(second[1], fresh[1], atol=1e-6)


def test_the_encoder_is_frozen_for_the_first_updates_only():
    agent = small_agent(**{"training.encoder_frozen_updates": 2})
    before = tensors(agent)
    frozen = [name for name in before if "vision.encoder" in name or "action_free_rssm" in name]
    parameters = [name for name in frozen if "running" not in name and "num_batches" not in name]
    for number in range(2):
        agent.update(batch_of(number))
    after = tensors(agent)
    assert all(torch.equal(before[name], after[name]) for name in parameters)
    assert not equal(before, after, "vision.decoder")
    moments = {name: value for name, value in agent.optimizer_tensors().items() if "vision.encoder" in name}
    assert any(value.abs().sum() > 0 for name, value in moments.items() if name.endswith("exp_avg"))
    agent.update(batch_of(2))
    assert not all(torch.equal(before[name], value) for name, value in tensors(agent).items() if name in parameters)


def test_a_skipped_update_changes_nothing_but_its_count():
    agent = small_agent()
    agent.update(batch_of())
    before, moments = tensors(agent), agent.optimizer_tensors()
    moments = {name: value.clone() for name, value in moments.items()}
    bad = batch_of(1)
    bad["reward"][0, 2] = np.nan
    assert agent.update(bad) == {"skipped_updates": 1.0}
    assert equal(before, tensors(agent))
    assert all(torch.equal(moments[name], value) for name, value in agent.optimizer_tensors().items())
    assert (agent.updates, agent.skips.skipped, agent.skips.in_row) == (2, 1, 1)
    assert agent.update(batch_of(2))["skipped_updates"] == 0.0
    assert agent.skips.in_row == 0


def test_where_only_the_behaviour_is_not_finite_the_models_step_stays():
    """Imagination goes through the model as the update left it, so the model has stepped before the critic is known."""
    agent, sound = small_agent(), small_agent()
    for each in (agent, sound):
        each.update(batch_of())
    check_that_the_models_step_stays(agent, sound, batch_of(1))
    assert (agent.skips.skipped, agent.skips.in_row) == (1, 1)


def check_that_the_models_step_stays(agent: Agent, sound: Agent, batch: dict[str, np.ndarray]) -> None:
    """Two agents with one model, of which one gets a bad critic: their models stay equal, buffers and moments too."""
    with torch.no_grad():
        next(agent.behavior.critic.parameters()).view(-1)[0] = float("inf")
    before = {**tensors(agent), **{name: value.clone() for name, value in agent.optimizer_tensors().items()}}
    assert sound.update(batch)["skipped_updates"] == 0
    assert agent.update(batch) == {"skipped_updates": 1.0}
    after, expected = ({**each.model_tensors(), **each.optimizer_tensors()} for each in (agent, sound))
    behavior = {name for name in before if name.startswith(("behavior.", "actor/", "critic/"))}
    assert all(torch.equal(before[name], after[name]) for name in behavior)
    assert all(torch.equal(expected[name], after[name]) for name in before.keys() - behavior)
    assert not torch.equal(before["model.intrinsic_bonus.queue"], after["model.intrinsic_bonus.queue"])


def test_ten_skipped_updates_in_a_row_stop_the_run():
    agent = small_agent()
    bad = batch_of()
    bad["reward"][:] = np.inf
    for _ in range(9):
        agent.update(bad)
    with pytest.raises(TrainingError, match="10 updates in a row"):
        agent.update(bad)


def pretrained(folder, **changes):
    """A checkpoint of a pre-trained video model with the small sizes."""
    config = small_agent(**changes).config
    torch.manual_seed(7)
    model = VideoWorldModel(config)
    return model, load_checkpoint(save_checkpoint(folder, 1, model.state_dict(), {}, {}))


def test_pretrained_parts_are_taken_over(tmp_path):
    model, checkpoint = pretrained(tmp_path)
    for parts, has_rssm in (("all", True), ("encoder_decoder", False)):
        agent = small_agent(init_parts=parts)
        own = tensors(agent)
        agent.load_pretrained(checkpoint)
        found, wanted = tensors(agent), model.state_dict()
        for name in wanted:
            taken = not name.startswith("vision.scaling") and (has_rssm or not name.startswith("action_free_rssm"))
            expected = wanted[name] if taken else own[f"model.{name}"]
            assert torch.equal(found[f"model.{name}"], expected), name
        assert equal(own, found, "model.rssm")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    _, wide = pretrained(tmp_path / "wide", **{"rssm.deter": 12})
    with pytest.raises(CheckpointError, match=r"vision\.decoder"):
        small_agent().load_pretrained(wide)
    _, plain = pretrained(tmp_path / "plain", method="apv")
    with pytest.raises(CheckpointError, match="absent from the checkpoint"):
        small_agent().load_pretrained(plain)


def test_spaces_of_gymnasium_are_understood():
    box = gymnasium.spaces.Box(-1, 1, (ACTION_DIM,))
    image = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    agent = build_agent("tiny", SMALL, gymnasium.spaces.Dict({"image": image}), box)
    assert agent.action_dim == ACTION_DIM
    with pytest.raises(ConfigError, match="image"):
        build_agent("tiny", SMALL, gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8), box)
