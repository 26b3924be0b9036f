"""PreLAR's model of videos: against a plain reading, by identities, and part by part."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ipv_bench.config import build
from ipv_bench.errors import ConfigError, TrainingError
from models.latent_actions.action_encoder import led_into
from models.latent_actions.consistency import draw_consistency, rank_loss
from models.latent_actions.gaussian import negative_log_density, standard_normal_kl, to_std
from models.latent_actions.video import LatentActionVideoModel
from models.nets.distributions import gaussian_kl
from models.pretrain import build_training
from models.pretraining.config import pretrain_config_class
from tests.models.latent_actions.plain_prelar import pretraining_losses
from tests.models.latent_actions.small_prelar import (
    BATCH,
    LATENT,
    LENGTH,
    SIZES,
    draws_of,
    frames,
    video_model,
)
from tests.models.training.test_compiled_update import trace_only


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)


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


def test_a_compiled_step_is_one_graph_with_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    trace_only(monkeypatch)
    model = video_model(consistency_scale=1.0)
    model.train()
    draws = model.draw(2, 2, torch.Generator().manual_seed(0))
    model.eval()
    compiled = torch.compile(model)
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
