"""PreLAR's model of videos and its agent: against a plain reading, by identities, and part by part."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ipv_bench.config import build
from ipv_bench.errors import CheckpointError, ConfigError, TrainingError
from models.finetune import build_agent
from models.finetuning.config import finetune_config_class
from models.latent_actions.action_encoder import ActionEncoder, led_into
from models.latent_actions.agent_model import RealActionWorldModel
from models.latent_actions.consistency import draw_consistency, rank_loss
from models.latent_actions.gaussian import gaussian_kl, negative_log_density, standard_normal_kl, to_std
from models.latent_actions.video import LatentActionDraws, LatentActionVideoModel
from models.nets.distributions import gumbel_noise
from models.nets.rssm import Latents
from models.pretrain import build_training
from models.pretraining.config import pretrain_config_class
from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.world_models.stacked import StackedDraws
from tests.models.agents.test_agent import ACTION_DIM, batch_of, equal, tensors
from tests.models.finetuning.finetune_runs import SMALL
from tests.models.latent_actions.plain_prelar import finetuning_loss, pretraining_losses

BATCH, LENGTH, SIZE, LATENT = 3, 5, 32, 6
SIZES: dict[str, Any] = {
    "image": {"size": SIZE},
    "encoder": {"cnn_depth": 4},
    "decoder": {"cnn_depth": 4},
    "rssm": {"deter": 12, "hidden": 10, "stoch": 4, "discrete": 4, "action_dim": LATENT},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)


def video_model(**latent_action: Any) -> LatentActionVideoModel:
    config = build(pretrain_config_class("prelar"), {**SIZES, "latent_action": latent_action})
    model = LatentActionVideoModel(config).double()  # type: ignore[arg-type]
    for name, value in model.state_dict().items():
        if "running_mean" in name:
            value.normal_(0, 0.1)  # so that batch norm in evaluation mode is not the identity
    return model


def frames(batch: int = BATCH, length: int = LENGTH, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (batch, length, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)


def forced(generator: torch.Generator) -> Tensor:
    return F.one_hot(gumbel_noise((LENGTH, BATCH, 4, 4), generator).argmax(-1), 4).double()


def draws_of(model: LatentActionVideoModel, seed: int = 2) -> LatentActionDraws:
    generator = torch.Generator().manual_seed(seed)
    model.train()
    drawn = model.draw(BATCH, LENGTH, generator)
    assert drawn.action is not None
    return drawn._replace(latents=Latents(forced=forced(generator)), action=drawn.action.double())


# The distribution.


def test_the_prior_is_exactly_a_standard_normal() -> None:
    zero, one = torch.zeros(2, 7, dtype=torch.float64), torch.ones(2, 7, dtype=torch.float64)
    assert torch.equal(standard_normal_kl(zero, one), torch.zeros(2, dtype=torch.float64))
    assert torch.equal(standard_normal_kl(one, one), torch.full((2,), 3.5, dtype=torch.float64))  # 0.5 a dimension
    assert torch.equal(to_std(torch.zeros(3)), torch.ones(3))
    # The published code passes the prior's 1 through the activation and so means 1.2449.
    assert to_std(torch.ones(1)).item() == pytest.approx(1.2449, abs=1e-4)
    assert torch.isfinite(to_std(torch.full((1,), -1e4)).log()).all()


def test_kl_and_density_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, other, x = (torch.randn(3, 5, generator=generator).double() for _ in range(3))
    std, other_std = (torch.rand(3, 5, generator=generator).double() + 0.1 for _ in range(2))
    one, two = torch.distributions.Normal(mean, std), torch.distributions.Normal(other, other_std)
    expected = torch.distributions.kl_divergence(one, two).sum(-1)
    torch.testing.assert_close(gaussian_kl(mean, std, other, other_std), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(negative_log_density(x, mean, std), -one.log_prob(x).sum(-1), rtol=1e-12, atol=0)
    standard = gaussian_kl(mean, std, torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(standard_normal_kl(mean, std), standard, rtol=1e-12, atol=0)


# Pre-training.


def test_losses_and_gradients_are_those_of_the_plain_reading() -> None:
    model = video_model()
    draws = draws_of(model)
    reference = copy.deepcopy(model)
    for one in (model, reference):
        one.eval()
    loss, found = model(frames(), draws)
    expected = pretraining_losses(reference, frames(), draws)
    assert found["action_kl"] > 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-10, atol=0)
    loss.backward()
    expected["loss"].backward()
    for (name, a), b in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    ("size", "given", "expected"), [(64, None, 1.0), (32, None, 0.25), (64, 3.0, 3.0), (64, 0.0, 0.0)]
)  # fmt: skip
def test_the_weight_of_the_action_kl_follows_the_frames_size(size: int, given: float | None, expected: float) -> None:
    values = {**SIZES, "image": {"size": size}, "latent_action": {"beta_a": given}}
    config: Any = build(pretrain_config_class("prelar"), values)
    assert LatentActionVideoModel(config).action_kl_scale == expected


@pytest.mark.parametrize("inputs", ["concat", "diff", "catdiff"])
@pytest.mark.parametrize("posterior", ["stochastic", "deterministic"])
def test_each_latent_action_sees_its_two_frames_alone(inputs: str, posterior: str) -> None:
    model = video_model(inputs=inputs, posterior=posterior)
    changed = frames()
    changed[:, 3] = 255 - changed[:, 3]  # o_3 is in the pairs (2, 3) and (3, 4)
    first, second = model.infer(frames()), model.infer(changed)
    assert first.mean.shape == (BATCH, LENGTH - 1, LATENT)
    assert (first.std is None) == (posterior == "deterministic")
    assert torch.equal(first.mean[:, :2], second.mean[:, :2])
    assert not torch.isclose(first.mean[:, 2:], second.mean[:, 2:]).all(-1).any()
    assert model.training  # restored


def test_latent_actions_are_those_that_led_into_a_frame() -> None:
    between = torch.arange(1.0, 5).reshape(1, 4, 1)
    assert led_into(between).flatten().tolist() == [0, 1, 2, 3, 4]
    model = video_model()
    drawn = draws_of(model)
    kept, actions = {}, model.infer(frames()).mean

    def spy(embed: Tensor, action: Tensor, *rest: Any) -> Any:
        kept["action"] = action
        return type(model.rssm).observe(model.rssm, embed, action, *rest)

    model.rssm.observe = spy  # type: ignore[assignment, method-assign]
    model.eval()
    model(frames(), drawn._replace(action=None))
    assert torch.equal(kept["action"], torch.cat([torch.zeros(BATCH, 1, LATENT), actions], 1))


@pytest.mark.parametrize("term", ["image_scale", "kl_scale", "beta_a", "consistency_scale"])
def test_every_term_reaches_the_action_encoder(term: str) -> None:
    scales = {"image_scale": 0.0, "kl_scale": 0.0} | (
        {term: 1.0} if term.endswith("age_scale") or term == "kl_scale" else {}
    )
    own = {"beta_a": 1.0 if term == "beta_a" else 0.0, "consistency_scale": 1.0 if term == "consistency_scale" else 0.0}
    values = {**SIZES, "loss": scales, "latent_action": own}
    config: Any = build(pretrain_config_class("prelar"), values)
    model = LatentActionVideoModel(config)
    loss, _ = model.loss(frames(), torch.Generator().manual_seed(0))
    loss.backward()
    for name, parameter in model.action_encoder.named_parameters():
        assert parameter.grad is not None, name
    assert model.action_encoder.out.weight.grad is not None
    assert model.action_encoder.out.weight.grad.abs().max() > 1e-8


def test_the_rank_loss_falls_when_the_order_is_right() -> None:
    effect = torch.tensor([1.0, 2.0, 3.0, 4.0])
    other = torch.tensor([1, 2, 3, 0])
    good, bad = rank_loss(effect, effect * 10, other), rank_loss(effect, -effect, other)
    assert good < np.log(2) < bad
    drawn = draw_consistency(7, 4, torch.Generator().manual_seed(0))
    assert sorted(drawn.sequence.tolist()) == list(range(7))
    assert not (drawn.sequence == torch.arange(7)).any()
    with pytest.raises(ConfigError, match="a batch holds one"):
        video_model(consistency_scale=1.0).draw(1, 4, torch.Generator())


def test_a_strong_bottleneck_collapses_and_a_weak_one_does_not() -> None:
    """Half of the frames jump to another picture: only the latent action can tell which."""
    pictures = frames(1, 2, seed=5)[0]
    generator = np.random.default_rng(0)

    def batch() -> Tensor:
        return pictures[torch.from_numpy(generator.integers(0, 2, (8, 4)))]

    found = {}
    for beta in (1000.0, 0.01):
        changes = {
            "method": "prelar", "image.size": 32, "image.gain": 1.0, "image.offset": "half", "rssm.action_dim": 4,
            "latent_action.beta_a": beta, "optimizer.lr": 3e-3, "training.threads": 1, "encoder.cnn_depth": 4,
            "decoder.cnn_depth": 4, "rssm.deter": 16, "rssm.hidden": 16,
        }  # fmt: skip
        training = build_training("tiny", changes)
        for _ in range(60):
            metrics = training.step(batch().numpy())
        found[beta] = metrics["action_kl"]
    assert found[1000.0] < 0.1
    assert found[0.01] > 0.5


def test_predictions_see_no_frame_beyond_the_observed_ones_and_follow_the_actions() -> None:
    model = video_model()
    image, actions = frames(), torch.randn(BATCH, LENGTH - 1, LATENT).double()
    changed = image.clone()
    changed[:, 2:] = 0

    def predict(seen: Tensor, given: Tensor) -> Tensor:
        return model.predict(seen, given, 2, torch.Generator().manual_seed(3))

    first = predict(image, actions)
    assert torch.equal(first, predict(changed, actions))
    other = predict(image, actions + torch.tensor([0, 0, 5.0, 0])[:, None])
    assert torch.equal(first[:, :3], other[:, :3])
    assert not torch.equal(first[:, 3:], other[:, 3:])
    alone = [model.open_loop(each, 2, torch.Generator().manual_seed(3)) for each in (image, changed)]
    assert torch.equal(alone[0], alone[1])
    whole = model.open_loop(image, LENGTH, torch.Generator().manual_seed(3), sample=False)
    own = model.infer(image).mean
    assert torch.equal(whole, model.predict(image, own, LENGTH, torch.Generator().manual_seed(4), sample=False))


def test_a_compiled_step_is_one_graph_with_the_same_loss() -> None:
    model = video_model(consistency_scale=1.0)
    model.train()
    draws = model.draw(2, 2, torch.Generator().manual_seed(0))
    model.eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    image = frames(2, 2)
    assert torch.allclose(compiled(image, draws)[0], model(image, draws)[0], rtol=1e-12)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_skipped_update_changes_nothing_and_ten_stop_the_run(precision: str) -> None:
    changes = {
        "method": "prelar",
        "image.size": 32,
        "encoder.blocks": 1,
        "encoder.norm": "batch",
        "encoder.cnn_depth": 4,
    }
    training = build_training("tiny", {**changes, "training.precision": precision, "training.threads": 1})
    batch = frames(2, 4).numpy()
    metrics = training.step(batch)
    assert metrics["skipped"] == 0
    assert np.isfinite(list(metrics.values())).all()
    with torch.no_grad():
        training.model.action_encoder.out.bias[-1] = torch.nan
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    assert training.step(batch) == {"skipped": 1.0}
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, before[name]) or value.isnan().any(), name
    for _ in range(8):
        training.step(batch)
    with pytest.raises(TrainingError, match="10 updates in a row"):
        training.step(batch)


# Fine-tuning.


def agent_model(**values: Any) -> RealActionWorldModel:
    sections = {
        "reward": {"units": 8}, "intrinsic": {"queue_size": 30, "queue_dim": 8, "neighbours": 4, "window": 2},
        "env": {"image_size": SIZE}, "replay": {"length": 10},
    }  # fmt: skip
    return RealActionWorldModel(
        build(finetune_config_class("prelar"), {**SIZES, **sections, **values}), ACTION_DIM
    ).double()  # type: ignore[arg-type]


def labelled(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    action = torch.rand(BATCH, LENGTH, ACTION_DIM, generator=generator).double() * 2 - 1
    is_first = torch.zeros(BATCH, LENGTH, dtype=torch.float64)
    is_first[:, 0] = is_first[1, 3] = 1
    return frames(), action, torch.rand(BATCH, LENGTH, generator=generator).double(), is_first


def test_the_fine_tuning_loss_is_that_of_the_plain_reading() -> None:
    model = agent_model()
    reference = copy.deepcopy(model)
    latents = forced(torch.Generator().manual_seed(4))
    loss, metrics, _ = model(*labelled(), StackedDraws(Latents(), Latents(forced=latents), None))
    assert metrics["bonus"] > 0
    expected = finetuning_loss(reference, labelled(), torch.zeros(0, 8, dtype=torch.float64), latents)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    loss.backward()
    expected.backward()
    for (name, a), b in zip(model.named_parameters(), reference.parameters(), strict=True):
        if a.requires_grad:
            torch.testing.assert_close(
                a.grad, b.grad, rtol=1e-8, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
            )


def test_an_episodes_start_masks_the_embedded_action() -> None:
    model = agent_model()
    image, action, _, is_first = labelled()
    latents = forced(torch.Generator().manual_seed(4))

    def features(given: Tensor) -> Tensor:
        embed = model.vision.embed(model.vision.scaling(image))
        return model.rssm.observe(embed, given, is_first, Latents(forced=latents))[0].feat

    other = action.clone()
    other[1, 3] = 0.9  # the episode starts there: whatever stands there led nowhere
    model.eval()
    assert torch.equal(features(action), features(other))
    other[1, 4] = 0.9
    assert not torch.equal(features(action), features(other))


def small_agent(seed: int = 0, **changes: Any) -> Any:
    values = {**SMALL, "training.encoder_frozen_updates": 0, "method": "prelar", **changes}
    return build_agent("tiny", values, (64, 64, 3), ACTION_DIM, seed=seed)


def pretrained(folder: Path, **changes: Any) -> tuple[LatentActionVideoModel, Any]:
    config = small_agent(**{"latent_action.align": "warmstart", **changes}).config
    own: Any = build(pretrain_config_class("prelar"), {
        name: getattr(config, name).model_dump() for name in ("image", "encoder", "decoder", "rssm", "context")
    } | {"latent_action": {"posterior": config.latent_action.posterior}})  # fmt: skip
    torch.manual_seed(7)
    model = LatentActionVideoModel(own)
    return model, load_checkpoint(save_checkpoint(folder, 1, model.state_dict(), {}, {}))


@pytest.mark.parametrize("align", ["none", "nll"])
def test_an_update_trains_every_part_but_the_frozen_action_encoder(align: str, tmp_path: Path) -> None:
    agent = small_agent(**{"latent_action.align": align})
    agent.load_pretrained(pretrained(tmp_path)[1])
    before = tensors(agent)
    metrics = agent.update(batch_of())
    assert np.isfinite(list(metrics.values())).all()
    assert {"bonus", "aux_reward_loss"} <= metrics.keys()
    assert ("alignment_loss" in metrics) == (align == "nll")
    after = tensors(agent)
    parts = ["vision.encoder", "vision.decoder", "model.rssm.img_in", "model.rssm.embedding", "reward_head"]
    for part in [*parts, "behavior.actor", "behavior.critic"]:
        assert not equal(before, after, part), part
    assert equal(before, after, "action_encoder")


@pytest.mark.parametrize(("hold", "rssm_moves"), [(True, False), (False, True)])
def test_what_was_pretrained_is_held_at_first_and_the_action_network_moves(hold: bool, rssm_moves: bool) -> None:
    agent = small_agent(**{"training.encoder_frozen_updates": 1, "latent_action.hold_rssm": hold})
    before, names = tensors(agent), dict(agent.networks.named_parameters())
    agent.update(batch_of())
    after = tensors(agent)
    moved = {name for name in names if not torch.equal(before[name], after[name])}
    assert not any("vision.encoder" in name for name in moved)
    assert any("vision.decoder" in name for name in moved)
    assert any("rssm.embedding" in name for name in moved)
    assert any("rssm.gru" in name for name in moved) == rssm_moves
    agent.update(batch_of(1))
    assert not equal(after, tensors(agent), "vision.encoder.conv_in.weight")


def test_pretrained_parts_are_taken_over_and_the_action_encoder_only_where_it_is_used(tmp_path: Path) -> None:
    model, checkpoint = pretrained(tmp_path)
    wanted = model.state_dict()
    for parts, align in (("all", "none"), ("encoder_decoder", "none"), ("all", "warmstart")):
        agent = small_agent(init_parts=parts, **{"latent_action.align": align})
        own = tensors(agent)
        agent.load_pretrained(checkpoint)
        found = tensors(agent)
        for name, value in wanted.items():
            if name.startswith("vision.scaling") or (name.startswith("action_encoder") and align == "none"):
                continue
            taken = parts == "all" or not name.startswith("rssm.")
            assert torch.equal(found[f"model.{name}"], value if taken else own[f"model.{name}"]), name
        assert equal(own, found, "rssm.embedding")
        assert any("action_encoder" in name for name in found) == (align != "none")
    wide = pretrained(tmp_path / "wide", **{"rssm.action_dim": 9})[1]
    with pytest.raises(CheckpointError, match=r"img_in\.weight"):
        small_agent().load_pretrained(wide)


def test_a_warm_start_fits_the_action_network_alone(tmp_path: Path) -> None:
    agent = small_agent(**{"latent_action.align": "warmstart", "latent_action.align_updates": 30})
    agent.load_pretrained(pretrained(tmp_path)[1])
    before, losses = tensors(agent), []
    for _ in range(30):
        metrics = agent.update(batch_of())
        assert metrics.keys() == {"alignment_loss", "alignment_norm", "skipped_updates"}
        losses.append(metrics["alignment_loss"])
    after = tensors(agent)
    assert losses[-1] < 0.5 * losses[0]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "rssm.embedding" in name}
    assert "model_loss" in agent.update(batch_of())


def test_a_warm_start_resumes_exactly(tmp_path: Path) -> None:
    def made() -> Any:
        return small_agent(**{"latent_action.align": "warmstart", "latent_action.align_updates": 2})

    whole, first = made(), made()
    start = pretrained(tmp_path / "video")[1]
    for agent in (whole, first):
        agent.load_pretrained(start)
    for number in range(4):
        whole.update(batch_of(number))
    first.update(batch_of(0))
    saved = save_checkpoint(
        tmp_path / "run", 1, first.model_tensors(), first.optimizer_tensors(), {"agent": first.state()}
    )
    second = made()
    second.load(load_checkpoint(saved))
    for number in range(1, 4):
        second.update(batch_of(number))
    assert equal(tensors(whole), tensors(second))
    assert equal(whole.optimizer_tensors(), second.optimizer_tensors())


def test_alignment_leaves_out_pairs_of_two_episodes(tmp_path: Path) -> None:
    model = agent_model(latent_action={"align": "nll"})
    image, action, _, is_first = labelled()
    target = model.vision.scaling(image)
    whole = model.alignment(target, action, is_first)
    other = action.clone()
    other[:, 0] = other[1, 3] = 0.7
    assert torch.equal(whole, model.alignment(target, other, is_first))
    assert not torch.equal(whole, model.alignment(target, other, None))


def test_the_frozen_action_encoder_keeps_its_statistics() -> None:
    model = agent_model(latent_action={"align": "nll"})
    assert isinstance(model.action_encoder, ActionEncoder)
    before = {name: value.clone() for name, value in model.action_encoder.state_dict().items()}
    model.train()
    assert not model.action_encoder.training
    model(*labelled(), model.draw(BATCH, LENGTH, torch.Generator().manual_seed(0)))
    assert all(torch.equal(before[name], value) for name, value in model.action_encoder.state_dict().items())
    assert not any(name.startswith("action_encoder") for group in model.groups() for name in group.parameters)


@pytest.mark.parametrize("features", ["embed", "feat"])
def test_imagination_and_acting_go_through_the_action_network(features: str) -> None:
    agent = small_agent(**{"intrinsic.features": features})
    expected = {"embed": agent.model.vision.encoder.embed_size, "feat": agent.config.rssm.feat_size}[features]
    assert agent.model.intrinsic_bonus.projection.shape[0] == expected
    state = agent.model.rssm.initial(2)
    action = torch.rand(2, ACTION_DIM)
    step = agent.model.rssm.img_step(state, action, Latents())
    with torch.no_grad():
        agent.model.rssm.embedding.out.bias += 1
    assert not torch.equal(step.deter, agent.model.rssm.img_step(state, action, Latents()).deter)
    agent.update(batch_of())
    image = batch_of()["image"][0, 0]
    assert agent.act({"image": image, "is_first": True}).shape == (ACTION_DIM,)
    assert set(agent.examine({name: value[0] for name, value in batch_of().items()}, 0)) >= {"value_gap"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"posterior": "deterministic", "consistency_scale": 1}, "consistency_scale"),
        ({"inputs": "flow"}, "inputs"),
        ({"beta_a": -1}, "beta_a"),
    ],
)
def test_configs_that_mean_nothing_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(pretrain_config_class("prelar"), {"latent_action": changes})
    with pytest.raises(ConfigError, match="align=nll"):
        build(finetune_config_class("prelar"), {"latent_action": {"align": "nll", "posterior": "deterministic"}})


# Naive fine-tuning of a model without actions.


def test_naive_fine_tuning_goes_on_with_the_action_free_rssm(tmp_path: Path) -> None:
    changes = {"method": "apv", "finetuning": "naive", "intrinsic.beta": 0, "training.encoder_frozen_updates": 1}
    agent = small_agent(**changes)
    from models.world_models.video import VideoWorldModel

    model = VideoWorldModel(small_agent(method="apv").config)
    checkpoint = load_checkpoint(save_checkpoint(tmp_path, 1, model.state_dict(), {}, {}))
    agent.load_pretrained(checkpoint)
    assert agent.model.action_free_rssm is None
    assert torch.equal(agent.model.rssm.img_in.weight, model.action_free_rssm.img_in.weight)
    before = tensors(agent)
    metrics = agent.update(batch_of())
    assert "bonus" not in metrics
    assert equal(before, tensors(agent), "model.rssm.")  # held, as in the stacked model
    agent.update(batch_of())
    assert not equal(before, tensors(agent), "model.rssm.img_in.weight")
    assert "bonus" in small_agent(**(changes | {"intrinsic.beta": 0.1})).update(batch_of())
