"""Batch normalisation that is quick on maps of few channels.

torch's kernel for channels-last maps on a CPU goes along the channels of one place; where these are fewer than a
vector register holds, it handles number by number: at 4 channels it takes three times as long as at 8. Here some places
that lie side by side in memory count as channels of their own, whose statistics are joined afterwards.

Legend: `N C H W` maps, `k` places that are taken together, `R` rows of them: R = N * H * W / k.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_JOINED = 64
"""Numbers in a row."""
_REGISTER = {"AVX512": 16}
"""Float32 numbers in a vector register, where they are not 8."""


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, parameters and statistics included; equal to it but for rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if not (self.training and _is_narrow(x) and self.momentum is not None and self.track_running_stats):
            return super().forward(x)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        found: Tensor = _NarrowNorm.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps
        )
        return found


def _is_narrow(x: Tensor) -> bool:
    """Whether these maps have fewer channels than a register holds, and can be taken together."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or x.dtype is not torch.float32:
        return False
    channels, places = x.shape[1], x.numel() // x.shape[1]
    narrow = channels < _REGISTER.get(torch.backends.cpu.get_cpu_capability(), 8) and _JOINED % channels == 0
    return narrow and places % (_JOINED // channels) == 0 and x.is_contiguous(memory_format=torch.channels_last)


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels-last memory to (R, k * C, 1, 1), the same numbers."""
    return x.permute(0, 2, 3, 1).reshape(-1, _JOINED, 1, 1)


def _maps(rows: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `_rows`."""
    n, channels, height, width = shape
    return rows.view(n, height, width, channels).permute(0, 3, 1, 2)


class _NarrowNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor,
        momentum: float, eps: float,
    ) -> Tensor:  # fmt: skip
        rows, channels = _rows(x), x.shape[1]
        places, k = x.numel() // channels, _JOINED // channels
        means, variances = torch.batch_norm_update_stats(rows, None, None, 0.0)  # (k * C,) each
        means, variances = means.view(k, channels), variances.view(k, channels)
        mean = means.mean(0)  # (C,)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * (places / (places - 1)), momentum)
        wide = [value.repeat(k) for value in (weight, bias, mean, variance)]
        y = torch.empty_like(x)  # no view: a ReLU may go over it
        unused = (x.new_empty(0), x.new_empty(0))
        torch.native_batch_norm(rows, *wide, False, 0.0, eps, out=(_rows(y), *unused))  # type: ignore[call-arg, misc, arg-type]
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        channels, k, places = x.shape[1], _JOINED // x.shape[1], x.numel() // x.shape[1]
        rows, down = _rows(x), _rows(gradient.contiguous(memory_format=torch.channels_last))
        # The sums that the gradients of weight and bias are, and nothing else.
        _, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            down, rows, weight.repeat(k), mean.repeat(k), variance.repeat(k), None, None, False, ctx.eps,
            [False, True, True],
        )  # fmt: skip
        by_weight, by_bias = by_weight.view(k, channels).sum(0), by_bias.view(k, channels).sum(0)  # (C,)
        # weight / std * (gradient - mean gradient - normalised x * its mean product with the gradient)
        scale = weight * (variance + ctx.eps).rsqrt()
        by_x = -scale * by_weight / places  # of the normalised x
        offset = -scale * by_bias / places
        wide = [value.repeat(k) for value in (by_x, offset, mean, variance)]
        found = torch.native_batch_norm(rows, *wide, False, 0.0, ctx.eps)[0]  # type: ignore[call-arg, arg-type]
        found.addcmul_(down, scale.repeat(k)[:, None, None])
        return _maps(found, x.shape), by_weight, by_bias, None, None, None, None
