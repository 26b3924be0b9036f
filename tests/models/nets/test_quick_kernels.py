"""What a CPU computes in other steps than torch's kernels: the same numbers and gradients, but for rounding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets import dropped as dropped_module
from models.nets import narrow_norm
from models.nets.dropped import dropped
from models.nets.elu import elu
from models.nets.narrow_norm import BatchNorm


def both(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The value, and the gradient of a sum that weighs each number differently."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = function(x)
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    (y * weights).sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("count", [100, 20_000])
def test_the_elu_and_its_gradient_on_small_and_large_tensors(count: int) -> None:
    x = torch.cat([torch.linspace(-100, 5, count - 4), torch.tensor([-1e-8, 0.0, -0.0, 1e-8])])
    value, gradient = both(elu, x)
    true_value, true_gradient = both(F.elu, x.double())
    torch.testing.assert_close(value.double(), true_value, rtol=1e-6, atol=2e-7)
    torch.testing.assert_close(gradient.double(), true_gradient, rtol=1e-6, atol=4e-7)
    with torch.inference_mode():
        assert torch.equal(elu(x), value)
    assert torch.isnan(elu(torch.full((count,), float("nan")))).all()  # a run looks for what is not finite


@pytest.mark.parametrize("channels", [2, 4, 6])  # 64 is no multiple of 6: torch's own kernel
def test_normalisation_of_few_channels_is_torchs(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, channels, 8, 8, generator=generator) * torch.arange(1, channels + 1)[:, None, None] + 3
    x = x.contiguous(memory_format=torch.channels_last)
    ours, plain = BatchNorm(channels), nn.BatchNorm2d(channels).double()
    nn.init.uniform_(ours.weight, 0.5, 2, generator=generator)
    nn.init.uniform_(ours.bias, -1, 1, generator=generator)
    plain.load_state_dict(ours.state_dict())
    taken = []
    monkeypatch.setattr(narrow_norm, "_rows", lambda x, rows=narrow_norm._rows: (taken.append(1), rows(x))[1])
    for _ in range(2):
        value, gradient = both(lambda x: ours(x).relu_(), x)  # in place, as in a residual layer
        true_value, true_gradient = both(lambda x: plain(x).relu(), x.double())
    assert bool(taken) is (channels != 6)
    torch.testing.assert_close(value.double(), true_value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), true_gradient, rtol=1e-5, atol=1e-5)
    for (name, mine), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4, msg=name)
    for (name, mine), theirs in zip(ours.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=1e-6, atol=1e-6, msg=name)
    ours.eval(), plain.eval()
    torch.testing.assert_close(ours(x).double(), plain(x.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_removed_numbers_have_neither_value_nor_gradient(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    kept, product = [], dropped_module._kept
    monkeypatch.setattr(dropped_module, "_kept", lambda *tensors: kept.append(1) or product(*tensors))
    x, drop = torch.randn(3, 5).t(), torch.rand(5, 3) < 0.5  # not contiguous either
    found, wanted = both(lambda x: dropped(x, drop), x), both(lambda x: x.masked_fill(drop, 0), x)
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    assert len(kept) == (2 if threads == 1 else 0)  # its own way, there and back, where it is the quicker one
    half = x.bfloat16()
    assert torch.equal(dropped(half, drop), half.masked_fill(drop, 0))
