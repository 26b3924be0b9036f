"""Identities of the pure functions: returns, distributions, masks, rectangles, bonus."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from models.agents.lambda_return import lambda_return
from models.nets.cross_attention import drop_mask, kept_tokens
from models.nets.distributions import (
    TruncatedNormal,
    balanced_kl,
    categorical_entropy,
    categorical_kl,
    draw_one_hot,
    gumbel_noise,
)
from models.world_models.context import draw_erased, erase
from models.world_models.intrinsic_bonus import IntrinsicBonus, IntrinsicConfig, StreamNorm, nearest_mean_distance


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_lambda_zero_is_the_one_step_return(generator: torch.Generator) -> None:
    reward, value = normal(generator, 3, 5), normal(generator, 3, 5)
    bootstrap, discount = normal(generator, 3), torch.full((3, 5), 0.9, dtype=torch.float64)
    following = torch.cat([value[:, 1:], bootstrap[:, None]], 1)
    torch.testing.assert_close(lambda_return(reward, value, discount, bootstrap, 0.0), reward + 0.9 * following)


def test_lambda_one_is_the_discounted_sum(generator: torch.Generator) -> None:
    reward, value, bootstrap = normal(generator, 2, 4), normal(generator, 2, 4), normal(generator, 2)
    discount = torch.full((2, 4), 0.8, dtype=torch.float64)
    powers = 0.8 ** torch.arange(4, dtype=torch.float64)
    expected = (reward * powers).sum(1) + 0.8**4 * bootstrap
    torch.testing.assert_close(lambda_return(reward, value, discount, bootstrap, 1.0)[:, 0], expected)


def test_lambda_return_of_one_step_and_of_unequal_shapes(generator: torch.Generator) -> None:
    reward, value, bootstrap = normal(generator, 2, 1), normal(generator, 2, 1), normal(generator, 2)
    found = lambda_return(reward, value, torch.ones(2, 1).double(), bootstrap, 0.95)
    torch.testing.assert_close(found[:, 0], reward[:, 0] + bootstrap)
    with pytest.raises(ValueError, match="one shape"):
        lambda_return(reward, value, torch.ones(2, 2), bootstrap, 0.95)


def test_kl_of_equal_distributions_is_zero_and_of_others_positive(generator: torch.Generator) -> None:
    logit, other = normal(generator, 7, 4, 6), normal(generator, 7, 4, 6)
    torch.testing.assert_close(categorical_kl(logit, logit + 3.0), torch.zeros(7, dtype=torch.float64))
    assert (categorical_kl(logit, other) > 0).all()


def test_entropy_of_the_uniform_distribution() -> None:
    assert float(categorical_entropy(torch.zeros(4, 6))) == pytest.approx(4 * math.log(6))


def test_free_nats_stop_the_gradient_of_the_mean(generator: torch.Generator) -> None:
    posterior = normal(generator, 5, 2, 3).requires_grad_()
    prior = (posterior.detach() + 0.01 * normal(generator, 5, 2, 3)).requires_grad_()
    loss, value = balanced_kl(posterior, prior, 0.8, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert float(value.mean()) < 1
    assert not posterior.grad.any()
    assert not prior.grad.any()


def test_kl_balance_divides_the_gradient(generator: torch.Generator) -> None:
    logits = [normal(generator, 5, 2, 3).requires_grad_() for _ in range(2)]
    gradients = {}
    for balance in (0.0, 0.8, 1.0):
        gradients[balance] = torch.autograd.grad(balanced_kl(*logits, balance, 0.0)[0], logits)
    assert not gradients[1.0][0].any()
    assert not gradients[0.0][1].any()
    torch.testing.assert_close(gradients[0.8][0], 0.2 * gradients[0.0][0])
    torch.testing.assert_close(gradients[0.8][1], 0.8 * gradients[1.0][1])


def test_draws_follow_the_probabilities_with_the_gradient_of_softmax(generator: torch.Generator) -> None:
    logit = torch.log(torch.tensor([[0.6, 0.3, 0.1]])).requires_grad_()
    drawn = draw_one_hot(logit.expand(20_000, 1, 3), gumbel_noise((20_000, 1, 3), generator))
    np.testing.assert_allclose(drawn.detach().mean(0)[0].numpy(), [0.6, 0.3, 0.1], atol=0.015)
    weight = torch.tensor([1.0, 2.0, 5.0])
    found = torch.autograd.grad((draw_one_hot(logit, None) * weight).sum(), logit)[0]
    expected = torch.autograd.grad((logit.softmax(-1) * weight).sum(), logit)[0]
    torch.testing.assert_close(found, expected)


def test_truncated_normal_against_numerical_integration(generator: torch.Generator) -> None:
    policy = TruncatedNormal(
        torch.tensor([[-0.8], [0.0], [0.6]]).double(), torch.tensor([[0.1], [0.7], [2.0]]).double()
    )
    x = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    density = policy.log_prob(x[:, None, None].expand(-1, 3, 1)).exp().t()  # (3, points)
    torch.testing.assert_close(torch.trapezoid(density, x), torch.ones(3).double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.trapezoid(density * x, x), policy.mean()[:, 0], rtol=1e-4, atol=1e-4)
    entropy = -torch.trapezoid(torch.xlogy(density, density), x)
    torch.testing.assert_close(entropy, policy.entropy(), rtol=1e-3, atol=1e-3)
    uniform = torch.rand(50_000, 3, 1, generator=generator, dtype=torch.float64)
    drawn = policy.sample(uniform)
    assert (drawn.abs() < 1).all()
    torch.testing.assert_close(drawn.mean(0), policy.mean(), rtol=0, atol=0.02)
    assert (policy.sample(torch.tensor([0.0, 1.0]).double()[:, None, None]).abs() <= 1 - 1e-6).all()
    narrow = TruncatedNormal(torch.zeros(2), torch.full((2,), 0.1))  # in float32 nothing is left of its tails
    assert narrow.sample(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([-0.5, 0.5], abs=0.1)


def test_drop_masks_have_their_probability_and_follow_the_generator() -> None:
    masks = [drop_mask((100, 33, 31), 0.1, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert float(masks[0].float().mean()) == pytest.approx(0.1, abs=0.005)


def test_kept_tokens_are_the_smallest_of_each_row() -> None:
    uniform = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
    kept = kept_tokens(uniform, 0.75)
    assert kept.shape == (5, 16)
    for row, tokens in zip(uniform, kept, strict=True):
        assert set(tokens.tolist()) == set(row.argsort()[:16].tolist())
    assert kept_tokens(uniform, 0.999).shape == (5, 1)


def test_erased_rectangles_stay_in_range(generator: torch.Generator) -> None:
    rectangles = draw_erased(4000, 64, generator)
    top, left, height, width = rectangles.t()
    chosen = height > 0
    assert float(chosen.float().mean()) == pytest.approx(0.5, abs=0.03)
    area = (height * width)[chosen] / 64**2
    assert (area > 0.015).all()
    assert (area < 0.36).all()
    assert ((top + height <= 64) & (left + width <= 64) & (top >= 0) & (left >= 0)).all()
    image = torch.ones(100, 3, 64, 64)
    erased = erase(image, rectangles[:100])
    torch.testing.assert_close((erased == 0).sum((1, 2, 3)), (3 * height * width)[:100])
    assert (image == 1).all()


def test_bonus_is_exact_at_distance_zero_where_the_product_form_is_not(generator: torch.Generator) -> None:
    rows = torch.rand(700, 128, generator=generator) * 10
    assert (nearest_mean_distance(rows, rows, 1) == 0).all()
    assert float(torch.cdist(rows, rows, compute_mode="use_mm_for_euclid_dist").diagonal().max()) > 1e-4
    near = torch.cdist(rows.double(), rows.double()).sort(1).values[:, :4].mean(1)
    torch.testing.assert_close(nearest_mean_distance(rows, rows, 4), near.float(), rtol=1e-5, atol=1e-5)


def small_bonus(queue_size: int) -> IntrinsicBonus:
    config = IntrinsicConfig(queue_size=queue_size, queue_dim=4, neighbours=3, window=2)
    return IntrinsicBonus(config, 6, torch.Generator().manual_seed(0))


def test_bonus_of_a_compiled_model_is_the_same(generator: torch.Generator) -> None:
    config = IntrinsicConfig(queue_size=16, queue_dim=4, neighbours=3, window=3)
    plain, inside = (IntrinsicBonus(config, 8, torch.Generator().manual_seed(0), to_end=True) for _ in range(2))
    compiled = torch.compile(lambda feat: inside(2 * feat), backend="aot_eager")
    for _ in range(3):
        feat = torch.randn(2, 6, 8, generator=generator)
        torch.testing.assert_close(compiled(feat), plain(2 * feat))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(inside.state_dict()[name], value, msg=name)


def test_bonus_queue_is_newest_first_and_keeps_its_count(generator: torch.Generator) -> None:
    bonus = small_bonus(20)
    first, second = torch.rand(2, 4, 6, generator=generator), torch.rand(2, 4, 6, generator=generator)
    bonus.raw(first)
    rows = bonus.queue[:6].clone()
    assert int(bonus.count) == 6
    bonus.raw(second)
    assert int(bonus.count) == 12
    torch.testing.assert_close(bonus.queue[6:12], rows)
    restored = small_bonus(20)
    restored.load_state_dict(bonus.state_dict())
    torch.testing.assert_close(restored(first), bonus(first))


def test_a_batch_larger_than_the_queue_is_no_error(generator: torch.Generator) -> None:
    bonus = small_bonus(5)
    found = bonus.raw(torch.rand(3, 5, 6, generator=generator))  # 12 rows
    assert found.shape == (3, 4)
    assert int(bonus.count) == 5
    assert torch.isfinite(found).all()


def test_stream_norm_takes_the_batch_in_first_and_leaves_it_as_it_was() -> None:
    norm, x = StreamNorm(0.9, 1.0), torch.tensor([2.0, -4.0])
    found = norm(x)
    assert float(norm.magnitude) == pytest.approx(0.9 + 0.1 * 3)
    torch.testing.assert_close(found, torch.tensor([2.0, -4.0]) / 1.2)
    assert x.tolist() == [2.0, -4.0]
