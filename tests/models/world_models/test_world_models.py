"""World models and behaviour: sizes, ablations, and the published code's defects that ours does not have."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ipv_bench.config import build
from ipv_bench.errors import CheckpointError, ConfigError
from models.agents.behavior import ActorCritic
from models.finetuning.config import finetune_config_class
from models.nets.rssm import Latents
from models.training.optimizer import OptimizerConfig, OptimizerGroup, apply_update, assign_gradients
from models.world_models.stacked import StackedWorldModel
from models.world_models.video import VideoWorldModel
from tests.models.world_models.test_plain_reading import ACTIONS, BATCH, LENGTH, inputs, small

# Parameters of the published code at its default sizes, four actions, the fixed projection of the bonus included.
PUBLISHED_COUNTS = {
    "vanilla_pretrain": 23_826_939,
    "contextwm_pretrain": 25_648_827,
    "vanilla_finetune": 42_993_718,
    "contextwm_finetune": 44_815_606,
    "contextwm_finetune_auxreward": 46_116_807,
    "contextwm_finetune_concat_embed": 49_262_535,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parameters(module: nn.Module | None) -> int:
    return 0 if module is None else sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", PUBLISHED_COUNTS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    method = "contextwm" if name.startswith("contextwm") else "apv"
    dual = name.endswith(("auxreward", "concat_embed"))
    config = build(
        finetune_config_class(method),
        {"method": method, "concat_embed": name.endswith("concat_embed"), "reward": {"dual": dual}},
    )
    with torch.device("meta"):
        if name.endswith("pretrain"):
            model, behavior = VideoWorldModel(config), None
        else:
            model, behavior = StackedWorldModel(config, 4), ActorCritic(config.behavior, 2048, 4)
    assert parameters(model) + parameters(behavior) == PUBLISHED_COUNTS[name]
    folder = os.environ.get("IPV_BENCH_GOLDEN")
    if not folder or not (Path(folder) / "param_counts.json").is_file():
        return
    published = json.loads((Path(folder) / "param_counts.json").read_text())[name]
    vision, stacked = model.vision, not name.endswith("pretrain")
    ours = {
        "wm": parameters(model),
        "wm.encoder": parameters(vision.encoder) + parameters(vision.context_encoder),
        "wm.heads.decoder": parameters(vision.decoder),
        "wm.rssm": parameters(model.rssm if stacked else model.action_free_rssm),
    }
    if behavior is not None:
        ours |= {"wm.af_rssm": parameters(model.action_free_rssm), "actor": parameters(behavior.actor)}
        ours |= {"critic": parameters(behavior.critic), "target_critic": parameters(behavior.slow_critic)}
        ours |= {"wm.heads.reward": parameters(model.reward_head), "wm.intr_bonus": parameters(model.intrinsic_bonus)}
        ours |= {"wm.heads.aux_reward": parameters(model.aux_reward_head)} if dual else {}
    assert ours == {part: published[part]["params"] for part in ours}


@pytest.mark.parametrize("fusion", ["cross_attention", "concat", "none"])
@pytest.mark.parametrize(("blocks", "norm"), [(2, "batch"), (1, "none"), (0, "none")])
def test_every_parameter_of_every_variant_gets_a_gradient(fusion: str, blocks: int, norm: str) -> None:
    nets = {"cnn_depth": 4, "blocks": blocks, "norm": norm}
    model = VideoWorldModel(small(encoder=nets, decoder=nets, context={"fusion": fusion, "heads": 2}))
    image = inputs(generator())[0]
    loss, metrics = model.loss(image, generator(1))
    loss.backward()
    assert all(torch.isfinite(value) for value in metrics.values())
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    unused = (f"vision.context_encoder.stages.{2}.layers.1",) if fusion != "none" and blocks == 2 else ()
    # The context encoder's 8x8 map comes before the last pooling: without residual layers its last stage is not used.
    unused += ("vision.context_encoder.stages.2.",) if fusion != "none" and blocks == 0 else ()
    assert [name for name in missing if not name.startswith(unused)] == []


@pytest.mark.parametrize(
    ("frame", "observed", "allowed"), [("first", 4, {0}), ("last", 4, {3}), ("random", 4, set(range(4)))]
)
def test_context_frame(frame: str, observed: int, allowed: set[int]) -> None:
    model = VideoWorldModel(small(context={"frame": frame}))
    draws = model.draw(200, LENGTH, generator(), observed)
    assert draws.context is not None
    assert set(draws.context.frame.tolist()) == allowed


def test_open_loop_sees_nothing_of_the_future() -> None:
    """The published reports picked the context frame from the whole clip."""
    model = VideoWorldModel(small(context={"frame": "random"}))
    image = inputs(generator())[0]
    other = image.clone()
    other[:, 3:] = 255 - other[:, 3:]
    found = [model.open_loop(frames, 3, generator(2)) for frames in (image, other)]
    assert torch.equal(found[0], found[1])
    assert found[0].shape == (BATCH, LENGTH, 3, 64, 64)
    assert float(found[0].min()) >= 0
    assert float(found[0].max()) <= 1
    assert model.training
    assert not torch.equal(found[0], model.open_loop(image, 3, generator(3)))


def test_erasing_and_dropout_act_in_training_only() -> None:
    """The published erasing changes frames in evaluation too."""
    model = VideoWorldModel(small(context={"augmentation": "erasing", "dropout": 0.1}))
    image = model.vision.scaling(inputs(generator())[0])
    draws = model.draw(BATCH, LENGTH, generator(1)).context
    assert draws is not None
    everything = draws._replace(erased=torch.tensor([[0, 0, 64, 64]] * BATCH))
    bare = draws._replace(erased=None)
    assert not torch.equal(model.vision.context_maps(image, everything)[1], model.vision.context_maps(image, bare)[1])
    model.eval()
    assert torch.equal(model.vision.context_maps(image, everything)[1], model.vision.context_maps(image, bare)[1])
    evaluation = model.draw(BATCH, LENGTH, generator(1)).context
    assert evaluation is not None
    assert evaluation.erased is None
    assert all(fusion.drop_weights is None and fusion.kept is not None for fusion in evaluation.fusion.values())
    model = VideoWorldModel(small(context={"mask_at_eval": False})).eval()
    evaluation = model.draw(BATCH, LENGTH, generator(1)).context
    assert evaluation is not None
    assert all(fusion.kept is None for fusion in evaluation.fusion.values())


def test_construction_and_passes_leave_the_global_generator_and_change_nothing_unasked() -> None:
    """No dummy pass: statistics, bonus queue, magnitude and counters start untouched."""
    config = small()
    model, behavior = StackedWorldModel(config, ACTIONS), ActorCritic(config.behavior, config.rssm.feat_size, ACTIONS)
    assert model.intrinsic_bonus is not None
    assert int(model.intrinsic_bonus.count) == 0
    assert float(model.intrinsic_bonus.norm.magnitude) == 1
    assert int(behavior.updates) == 0
    assert all(not buffer.any() for name, buffer in model.named_buffers() if "running_mean" in name)
    before = torch.get_rng_state()
    image, action, reward, is_first = inputs(generator())
    draws = model.draw(BATCH, LENGTH, generator(1))
    _, _, posterior = model(image, action.float(), reward.float(), is_first.float(), draws)
    start = posterior.map(lambda value: value.flatten(0, 1))
    behavior(model.rssm, model.reward_head, start, behavior.draw(BATCH * LENGTH, model.rssm, generator(2)))
    assert torch.equal(before, torch.get_rng_state())


def test_actor_and_critic_gradients_reach_nothing_else() -> None:
    """The published actor loss fills gradients of the world model and, for ever, of the slow critic."""
    config = small("apv")
    model, behavior = StackedWorldModel(config, ACTIONS), ActorCritic(config.behavior, config.rssm.feat_size, ACTIONS)
    draws = behavior.draw(3, model.rssm, generator())
    start = model.rssm.initial(3)
    actor_loss, critic_loss, _ = behavior(model.rssm, model.reward_head, start, draws)
    groups = behavior.groups()
    behavior.gradients(groups, actor_loss, critic_loss)
    assert all(parameter.grad is not None for parameter in behavior.actor.parameters())
    assert all(parameter.grad is not None for parameter in behavior.critic.parameters())
    assert all(parameter.grad is None for parameter in behavior.slow_critic.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_slow_critic_follows_every_so_many_updates() -> None:
    config = small("apv", behavior={"units": 8, "horizon": 4, "slow_every": 3})
    behavior = ActorCritic(config.behavior, config.rssm.feat_size, ACTIONS)
    with torch.no_grad():
        behavior.critic.out.bias.fill_(7.0)
    for update in range(1, 4):
        behavior.count_update()
        assert (float(behavior.slow_critic.out.bias) == 7.0) == (update == 3)


def test_acting_step_by_step_equals_observing_a_sequence() -> None:
    """Each model carries its own state; acting needs no context path."""
    model = StackedWorldModel(small(concat_embed=True), ACTIONS).eval()
    image, action, _, is_first = inputs(generator())
    is_first = is_first.float()
    action = action.float()
    draws = model.draw(BATCH, LENGTH, generator())._replace(action_free=Latents(), latents=Latents())
    with torch.no_grad():
        out = model.observe(model.vision.embed(model.vision.scaling(image)), action, is_first, draws)
    state = None
    for t in range(LENGTH):
        state = model.observe_step(image[:, t], action[:, t], is_first[:, t], state, None)
        torch.testing.assert_close(state.upper.deter, out.posterior.deter[:, t], rtol=1e-5, atol=1e-5)


def test_fusion_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="heads=3 does not divide the 8 channels"):
        small(context={"heads": 3})
    with pytest.raises(ConfigError, match="decoder.cnn_depth is 4"):
        small(encoder={"cnn_depth": 8})
    small("apv", encoder={"cnn_depth": 8}, context={"heads": 3})  # nothing is fused


def test_actions_that_do_not_fit_are_refused() -> None:
    config = small("apv", rssm={"deter": 8, "hidden": 8, "stoch": 2, "discrete": 2, "action_dim": 3})
    StackedWorldModel(config, 3)
    with pytest.raises(ConfigError, match="4 components"):
        StackedWorldModel(config, 4)


def test_weight_gradients_formed_once_per_sequence_work_under_autocast() -> None:
    rssm = VideoWorldModel(small("apv")).action_free_rssm
    embed, forced = torch.randn(BATCH, LENGTH, 256), torch.randint(2, (LENGTH, BATCH, 4, 4)).float()
    gradients = []
    for enabled in (False, True):
        rssm.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            posterior, _ = rssm.observe(embed, None, None, Latents(forced=forced))
            posterior.logit.square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in rssm.named_parameters() if p.grad is not None})
    for name, exact in gradients[0].items():
        found = gradients[1][name]
        assert torch.cosine_similarity(exact.flatten(), found.flatten(), 0) > 0.99, name
        assert found.dtype == torch.float32


def groups_of(*values: Tensor, lr: float = 0.1, clip: float = 100.0) -> list[OptimizerGroup]:
    config = OptimizerConfig(lr=lr, clip=clip, weight_decay=0.0)
    return [OptimizerGroup(f"group{i}", {"x": nn.Parameter(value)}, config) for i, value in enumerate(values)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_one_bad_gradient_or_loss_skips_all_groups(bad: float) -> None:
    for where in ("gradient", "loss"):
        groups = groups_of(torch.ones(3), torch.ones(2))
        for group in groups:
            group.parameters["x"].grad = torch.ones_like(group.parameters["x"])
        if where == "gradient":
            groups[1].parameters["x"].grad[0] = bad
        result = apply_update(groups, [torch.tensor(bad if where == "loss" else 1.0)])
        assert not result.applied
        assert all(torch.equal(group.parameters["x"], torch.ones_like(group.parameters["x"])) for group in groups)
        assert all(not group.state_tensors() and group.parameters["x"].grad is None for group in groups)


def test_groups_are_clipped_by_themselves_and_zero_rate_still_moves_moments() -> None:
    groups = groups_of(torch.zeros(4), torch.zeros(4), clip=1.0)
    groups[0].set_lr_scale(0.0)
    for group, size in zip(groups, (1000.0, 0.01), strict=True):
        group.parameters["x"].grad = torch.full((4,), size)
    result = apply_update(groups)
    assert result.norms == pytest.approx({"group0": 2000.0, "group1": 0.02})
    assert not groups[0].parameters["x"].any()
    assert float(groups[0].state_tensors()["group0/x/exp_avg"][0]) == pytest.approx(0.1 * 0.5, rel=1e-3)
    assert float(groups[1].state_tensors()["group1/x/exp_avg"][0]) == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_a_step_is_adams_own_whatever_the_memory_layout() -> None:
    # The fused Adam walks through raw memory: a gradient or moment in another layout than its parameter's would reach
    # the wrong weights. Convolutions on channels-last maps give such gradients, checkpoints such moments.
    torch.manual_seed(0)
    image, target = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last), torch.randn(2, 5, 4, 4)
    for layout in (torch.contiguous_format, torch.channels_last):
        ours = nn.Conv2d(3, 5, 4, stride=2, padding=1).to(memory_format=layout)
        plain = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
        config = OptimizerConfig(lr=0.1)
        group = OptimizerGroup("conv", dict(ours.named_parameters()), config)
        adam = torch.optim.Adam(
            plain.parameters(),
            lr=config.lr,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=False,
            foreach=False,
        )
        for _ in range(4):
            assign_gradients((ours(image) - target).square().mean(), [group])
            apply_update([group])
            saved = {name: value.contiguous().clone() for name, value in group.state_tensors().items()}
            group.load_state_tensors(saved)
            adam.zero_grad()
            (plain(image) - target).square().mean().backward()
            adam.step()
            torch.testing.assert_close(ours.weight, plain.weight, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(ours.bias, plain.bias, rtol=1e-5, atol=1e-6)


def test_optimizer_state_round_trip_and_misfits() -> None:
    one, other = groups_of(torch.ones(3))[0], groups_of(torch.ones(3))[0]
    for _ in range(2):
        assign_gradients((one.parameters["x"] ** 3).sum(), [one])
        apply_update([one])
    other.parameters["x"].data.copy_(one.parameters["x"].data)
    other.load_state_tensors(one.state_tensors())
    for group in (one, other):
        assign_gradients((group.parameters["x"] ** 3).sum(), [group])
        apply_update([group])
    assert torch.equal(one.parameters["x"], other.parameters["x"])
    with pytest.raises(CheckpointError, match="shape"):
        groups_of(torch.ones(4))[0].load_state_tensors(one.state_tensors())
    with pytest.raises(CheckpointError, match="does not fit"):
        other.load_state_tensors({"group0/y/exp_avg": torch.ones(3)})
