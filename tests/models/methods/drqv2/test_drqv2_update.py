"""Every term of an update against a plain float64 reading of the equations, and what an update must refuse."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.drqv2_plain_reading import PlainDrQv2, plain_transitions, random_shift
from ipv_bench.errors import ConfigError, TrainingError
from models.finetune import build_agent
from models.methods.drqv2.augmentation import draw_shifts, shifted_stacks
from models.methods.drqv2.losses import DrQv2Networks
from models.methods.drqv2.networks import ACTION_MARGIN, noisy_action
from models.methods.drqv2.noise_schedule import NoiseSchedule
from models.training.checkpoint import load_checkpoint, save_checkpoint
from tests.models.methods.drqv2.small_drqv2 import ACTIONS, batch_of, small_agent

TOLERANCE = 1e-10


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def test_shifts_are_those_of_the_published_formula_at_every_offset():
    pad = 4
    places = torch.cartesian_prod(torch.arange(2 * pad + 1), torch.arange(2 * pad + 1))  # (81, 2)
    image = torch.randint(256, (len(places), 2, 12, 12, 3), generator=torch.Generator().manual_seed(0)).double()
    ours = shifted_stacks(image, torch.tensor([[0, 1]]).expand(len(places), 2), places, pad)
    published = random_shift(image.permute(0, 1, 4, 2, 3).flatten(1, 2), places, pad)
    assert ours.shape == (81, 6, 12, 12)
    torch.testing.assert_close(ours, published, rtol=0, atol=255 * TOLERANCE)
    middle = shifted_stacks(image[:1], torch.tensor([[1, 0]]), torch.tensor([[pad, pad]]), pad)
    assert torch.equal(middle[0, :3], image[0, 1].permute(2, 0, 1))


def test_the_published_networks_are_those_of_the_paper_layer_by_layer():
    """By torch's functions alone: the plain reading of the update runs our modules."""
    agent = build_agent("paper/dmc", {"method": "drqv2"}, (84, 84, 3), 6)
    networks = agent.networks.double()
    stack = torch.randint(256, (2, 9, 84, 84), generator=torch.Generator().manual_seed(0))
    action = torch.rand(2, 6, generator=torch.Generator().manual_seed(1)).double()
    maps = stack.double() / 255 - 0.5
    for stride, layer in zip((2, 1, 1, 1), networks.encoder.layers, strict=True):
        maps = F.relu(F.conv2d(maps, layer.weight, layer.bias, stride=stride))
    assert maps.shape == (2, 32, 35, 35)
    maps = maps.flatten(1)

    def trunk(layers):
        linear, norm = layers[0], layers[1]
        return torch.tanh(F.layer_norm(F.linear(maps, linear.weight, linear.bias), (50,), norm.weight, norm.bias, 1e-5))

    def head(x, linears):
        for layer in linears[:-1]:
            x = F.relu(F.linear(x, layer.weight, layer.bias))
        return F.linear(x, linears[-1].weight, linears[-1].bias)

    def linears(layers):
        found = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
        assert [layer.out_features for layer in found[:-1]] == [1024, 1024]
        return found

    actor, critic = networks.actor, networks.critic
    mean = torch.tanh(head(trunk(actor.trunk), linears(actor.policy)))
    seen = torch.cat([trunk(critic.trunk), action], -1)
    ours = networks.encoder(stack)
    torch.testing.assert_close(ours, maps, rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(actor(ours), mean, rtol=TOLERANCE, atol=TOLERANCE)
    for value, layers in zip(critic(ours, action), (critic.first, critic.second), strict=True):
        torch.testing.assert_close(value, head(seen, linears(layers))[:, 0], rtol=TOLERANCE, atol=TOLERANCE)
    assert not torch.equal(*critic(ours, action))


def test_with_penultimate_norm_the_actor_cannot_start_saturated_however_large_its_features():
    """The last layer's orthogonal rows have length 1, and what they see too: no mean action beyond tanh(1)."""
    maps = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    for norm, expected in ((True, False), (False, True)):
        networks = small_agent(**{"drqv2.penultimate_norm": norm}).networks
        with torch.no_grad():
            networks.actor.policy[0].weight.mul_(1000)
            mean = networks.actor(maps.repeat(1, networks.encoder.out_size // 64 + 1)[:, : networks.encoder.out_size])
        assert bool((mean.abs() > math.tanh(1) + 1e-6).any()) is expected
    for preset, size in (("paper/dmc", 84), ("paper/metaworld", 64), ("small", 84)):
        assert not build_agent(preset, {"method": "drqv2"}, (size, size, 3), 6).config.drqv2.penultimate_norm, preset


def test_shifts_are_drawn_uniformly_over_all_offsets():
    drawn = draw_shifts(20_000, 4, torch.Generator().manual_seed(1))
    counts = torch.bincount(drawn.flatten(), minlength=9)
    assert len(counts) == 9
    assert (counts - 40_000 / 9).abs().max() < 5 * math.sqrt(40_000 / 9)
    assert draw_shifts(3, 0, torch.Generator()).tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(("n_step", "frame_stack", "norm"), [(3, 3, False), (1, 2, False), (1, 2, True)])
def test_targets_losses_gradients_and_adam_are_those_of_the_plain_reading(n_step: int, frame_stack: int, norm: bool):
    own = {"drqv2.n_step": n_step, "drqv2.frame_stack": frame_stack, "drqv2.penultimate_norm": norm}
    agent = small_agent(**own, **{"drqv2.noise.steps": 100})
    agent.networks.double()
    plain = PlainDrQv2(agent.networks)
    agent.see_steps(40)
    std = 0.6 * 1.0 + 0.4 * agent.config.drqv2.noise.end
    for number in range(2):
        batch = batch_of(frame_stack + n_step, seed=number)
        draws = agent.networks.draw(4, agent._generator("update"))
        seen = plain_transitions(batch, frame_stack, n_step, agent.config.drqv2.discount, torch.float64)
        metrics = agent.update(batch)
        wanted = plain.update(seen, draws, std)
        assert metrics["noise_std"] == pytest.approx(std, abs=1e-15)
        for name, key in (("critic_loss", "critic_loss"), ("actor_loss", "actor_loss"), ("critic_target", "target")):
            assert metrics[name] == pytest.approx(float(wanted[key].mean()), rel=1e-6)  # metrics are float32
        moments = agent.optimizer_tensors()
        if number == 0:  # the first moment after one step is a tenth of the gradient
            for name, gradient in wanted.items():
                if "/" in name:
                    ours = moments[f"{name}/exp_avg"] / 0.1
                    torch.testing.assert_close(ours, gradient, rtol=TOLERANCE, atol=TOLERANCE, msg=name)
        for name, value in plain.tensors().items():
            ours = agent.model_tensors()[name]
            torch.testing.assert_close(ours, value, rtol=TOLERANCE, atol=TOLERANCE, msg=name)


def test_each_term_of_the_losses_is_that_of_the_plain_reading():
    """Targets and losses themselves, in float64: an update only shows them rounded."""
    agent = small_agent()
    networks = agent.networks.double()
    plain = PlainDrQv2(networks)
    seen = plain_transitions(batch_of(6), 3, 3, 0.9, torch.float64)
    draws = networks.draw(4, torch.Generator().manual_seed(3))
    obs, following = (random_shift(x, s, 4) for x, s in ((seen.obs, draws.shift), (seen.next_obs, draws.next_shift)))
    reward, discount = seen.reward[:, 0], seen.discount[:, 0]
    assert discount.tolist() == [0.0, *[pytest.approx(0.9**3, abs=1e-15)] * 3]
    std = torch.tensor(0.7, dtype=torch.float64)
    target = networks.target(following, reward, discount, draws.next_normal, std)
    loss, maps, _ = networks.critic_loss(obs, following, seen.action, reward, discount, draws.next_normal, std)
    actor_loss, _ = networks.actor_loss(maps, draws.normal, std)
    # The plain update moves the critics before it forms the actor's loss: here with a rate of zero.
    for adam in plain.adams.values():
        adam.param_groups[0]["lr"] = 0.0
    wanted = plain.update(seen, draws, 0.7)
    torch.testing.assert_close(target, wanted["target"][:, 0], rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(loss.detach(), wanted["critic_loss"], rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(actor_loss.detach(), wanted["actor_loss"], rtol=TOLERANCE, atol=TOLERANCE)


def test_weights_start_orthogonal_and_biases_at_zero():
    networks: DrQv2Networks = small_agent(**{"drqv2.channels": 32}).networks
    kernel = networks.encoder.layers[1].weight.flatten(1)  # (32, 288)
    torch.testing.assert_close(kernel @ kernel.T, 2 * torch.eye(32), rtol=0, atol=1e-5)
    linear = networks.actor.policy[2].weight
    torch.testing.assert_close(linear @ linear.T, torch.eye(8), rtol=0, atol=1e-5)
    for name, value in networks.named_parameters():
        assert not name.endswith("bias") or not value.any(), name
    for name, value in networks.critic.state_dict().items():
        assert torch.equal(value, networks.target_critic.state_dict()[name])


def test_the_noise_falls_linearly_and_zero_steps_mean_its_end():
    schedule = NoiseSchedule(start=1.0, end=0.1, steps=10)
    assert [schedule.at(step) for step in (0, 5, 10, 11)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert NoiseSchedule(steps=0).at(0) == 0.1
    agent = small_agent(**{"drqv2.noise.steps": 10})
    frames = batch_of(1)["image"][:, 0]
    for _ in range(2):
        agent.act({"image": frames, "is_first": np.ones(4, bool)})
    assert agent.agent_steps == 8
    assert agent.noise_std == pytest.approx(0.28)


@pytest.mark.parametrize("std", [1.0, 10.0, 1e8])
def test_a_noisy_action_is_held_inside_its_bounds_whatever_the_noise_and_lets_gradients_pass(std: float):
    normal = torch.randn(500, ACTIONS, generator=torch.Generator().manual_seed(0))
    mean = torch.zeros(500, ACTIONS, requires_grad=True)
    action = noisy_action(mean, normal, std, None)
    bound = 1 - ACTION_MARGIN
    torch.testing.assert_close(action.detach(), (std * normal).clamp(-bound, bound), rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(action.sum(), mean)
    assert torch.equal(gradient, torch.ones_like(mean))


def test_scores_are_of_the_mean_action_and_training_actions_vary():
    agent = small_agent()
    frames, first = batch_of(1)["image"][:, 0], np.ones(4, bool)
    quiet = [agent.policy(4, seed, "score", explore=False).act(frames, first, 0) for seed in (0, 1)]
    loud = [agent.policy(4, seed, "train", explore=True).act(frames, first, 0) for seed in (0, 1)]
    assert quiet[0].shape == (4, ACTIONS)
    assert quiet[0].dtype == np.float32
    np.testing.assert_array_equal(*quiet)
    assert (loud[0] != loud[1]).any(1).all()  # not each component: large noise is held at the same bound
    assert np.abs(loud).max() < 1


def test_a_number_that_is_not_finite_changes_nothing_and_ten_in_a_row_end_the_run():
    agent = small_agent()
    agent.update(batch_of(6))
    before = {name: value.clone() for name, value in (agent.model_tensors() | agent.optimizer_tensors()).items()}
    broken = batch_of(6)
    broken["reward"][1, 4] = np.nan
    assert agent.update(broken) == {"skipped_updates": 1.0}
    after = agent.model_tensors() | agent.optimizer_tensors()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert (agent.updates, agent.skips.skipped, agent.skips.in_row) == (2, 1, 1)
    for _ in range(8):
        agent.update(broken)
    with pytest.raises(TrainingError, match="10 updates in a row"):
        agent.update(broken)


def test_an_actors_loss_that_is_not_finite_leaves_the_critics_step_and_nothing_after_it(monkeypatch):
    agent = small_agent()
    agent.update(batch_of(6))
    before = {name: value.clone() for name, value in (agent.model_tensors() | agent.optimizer_tensors()).items()}
    formed = agent._actor_loss
    monkeypatch.setattr(agent, "_actor_loss", lambda *seen: (formed(*seen)[0] * math.nan, {}))
    assert agent.update(batch_of(6, seed=1)) == {"skipped_updates": 1.0}
    after = agent.model_tensors() | agent.optimizer_tensors()
    changed = {
        name.replace("/", ".").split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])
    }
    assert changed == {"encoder", "critic"}
    assert (agent.updates, agent.skips.skipped) == (2, 1)


def test_a_checkpoint_holds_everything(tmp_path):
    agent, other = small_agent(), small_agent()
    agent.see_steps(30)
    agent.update(batch_of(6))
    path = save_checkpoint(tmp_path, 1, agent.model_tensors(), agent.optimizer_tensors(), {"agent": agent.state()})
    other.load(load_checkpoint(path))
    assert other.agent_steps == 30
    for one in (agent, other):
        one.update(batch_of(6, seed=1))
    first, second = (one.model_tensors() | one.optimizer_tensors() for one in (agent, other))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": np.zeros((4, 6, 48, 48, 3), np.uint8)}, r"\(4, 6, 48, 48, 3\)"),
        ({"image": np.zeros((4, 6, 32, 32, 3), np.float32)}, "float32"),
        ({"action": np.full((4, 6, ACTIONS), 1.5)}, "actions reach 1.5"),
        ({"reward": np.zeros((4, 6, 1))}, r"reward is float64 \(4, 6, 1\)"),
        ({"is_first": np.eye(6, dtype=bool)[None, 3].repeat(4, 0)}, "an episode starts between"),
        ({"is_terminal": None}, "no 'is_terminal'"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(change, words):
    batch = {name: value for name, value in (batch_of(6) | change).items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        small_agent().update(batch)


@pytest.mark.parametrize("steps", [5, 7])
def test_windows_of_another_length_are_refused(steps):
    with pytest.raises(ConfigError, match=f"T = {steps}"):
        small_agent().update(batch_of(steps))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drqv2.n_step": 0}, "n_step"),
        ({"replay.length": 9}, "drqv2.n_step 3 makes it 4"),
        ({"replay.prioritize_ends": True}, "replay.prioritize_ends"),
        ({"drqv2.n_step": 12, "replay.capacity": 10}, "less than the 12 steps"),
        ({"image.size": 16, "env.image_size": 16, "drqv2.strides": [2, 2, 2, 1]}, "leaves nothing"),
        ({"image.size": 48}, "env.image_size is 32"),
        ({"drqv2.noise.steps": -1}, "drqv2.noise.steps"),
        ({"drqv2.noise.start": math.inf}, "drqv2.noise.start is inf"),
        ({"drqv2.frame_stack": 0}, "drqv2.frame_stack"),
        ({"drqv2.feature_dim": 1}, "drqv2.feature_dim"),
        ({"drqv2.strides": []}, "drqv2.strides"),
        ({"training.encoder_frozen_updates": 3}, "unknown config key"),
        ({"rssm.deter": 3}, "unknown config key"),
        ({"training.cuda_graph": True}, "training.cuda_graph"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        small_agent(**changes)


def test_a_rule_about_several_fields_is_told_without_the_whole_config():
    with pytest.raises(ConfigError) as caught:
        small_agent(**{"replay.length": 9})
    assert caught.value.found == "the config has wrong values: replay.length is 9, and drqv2.n_step 3 makes it 4"
    assert caught.value.fix == "leave replay.length out, and set drqv2.n_step"


@pytest.mark.parametrize("space", [gymnasium.spaces.Discrete(4), gymnasium.spaces.MultiDiscrete([2, 3])])
@pytest.mark.parametrize("method", ["drqv2", "dreamerv2", "isodream"])
def test_discrete_actions_are_refused(space, method):
    with pytest.raises(ConfigError, match="continuous"):
        build_agent("tiny", {"method": method}, None, space)


@pytest.mark.parametrize("method", ["drqv2", "isodream"])
@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((48, 48, 3), np.uint8), r"48, 48, 3\)"),
        (np.zeros((64, 64, 9), np.uint8), r"64, 64, 9\)"),  # a stack: frames are stacked by the agent
        (np.zeros((64, 64, 3), np.float32), "float32"),
    ],
)
def test_acting_on_pictures_of_another_size_is_refused(method, image, words):
    agent = build_agent("tiny", {"method": method}, None, ACTIONS)
    with pytest.raises(ConfigError, match=words):
        agent.act({"image": image, "is_first": True})


def test_a_schedule_of_no_steps_acts_with_its_end_from_the_first_step():
    agent = small_agent(**{"drqv2.noise.steps": 0, "drqv2.noise.end": 0.0})
    frames, first = batch_of(1)["image"][:, 0], np.ones(4, bool)
    quiet = agent.policy(4, 0, "score", explore=False).act(frames, first, 0)
    loud = agent.policy(4, 0, "train", explore=True).act(frames, first, 0)
    np.testing.assert_allclose(loud, quiet, atol=1e-6)
    assert agent.update(batch_of(6))["noise_std"] == 0.0
