"""The ELU, on large maps of a CPU by an exponential alone."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGE = 1 << 14
"""Numbers from which the kernels cost more than the Python around them."""


def elu(x: Tensor) -> Tensor:
    """x where x > 0, else exp(x) - 1.

    torch's kernel forms `expm1`, which takes three times as long as `exp`, and forms it again in the backward pass: a
    ninth of an update of the preset `tiny`. On large float32 tensors of a CPU the value here is
    max(x, exp(min(x, 0)) - 1), 1e-7 beside torch's at most, and the backward pass reads the result (2.9 times faster,
    both together).
    """
    plain = x.device.type != "cpu" or x.dtype is not torch.float32 or x.numel() < _LARGE
    if plain or torch.compiler.is_compiling():
        return F.elu(x)
    found: Tensor = _ExponentialELU.apply(x)  # type: ignore[no-untyped-call]
    return found


class _ExponentialELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        below = x.clamp_max(0).exp_().sub_(1)
        y = torch.maximum(below, x, out=below)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        found: Tensor = torch.ops.aten.elu_backward(gradient, 1.0, 1.0, 1.0, True, y)
        return found
