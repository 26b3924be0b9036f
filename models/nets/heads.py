"""Dense networks on the features: reward heads, actor and critic."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.nets.distributions import TruncatedNormal, full_precision
from models.nets.elu import elu


def xavier_linear(inputs: int, outputs: int) -> nn.Linear:
    """Linear layer with Xavier-uniform weights and zero bias, as the published code starts its dense layers."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


class MLP(nn.Module):
    """Dense layers with ELU, without the output layer: (..., inputs) to (..., units)."""

    def __init__(self, inputs: int, layers: int, units: int) -> None:
        super().__init__()
        sizes = [inputs] + [units] * layers
        self.layers = nn.ModuleList(xavier_linear(a, b) for a, b in pairwise(sizes))
        self.out_size = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = elu(layer(x))
        return x


class ScalarHead(nn.Module):
    """Mean of a unit-variance normal: reward or value. (..., inputs) to (...)."""

    def __init__(self, inputs: int, layers: int, units: int, *, zero_output: bool = False) -> None:
        super().__init__()
        self.mlp = MLP(inputs, layers, units)
        self.out = xavier_linear(self.mlp.out_size, 1)
        if zero_output:
            _zero(self.out)

    def forward(self, feat: Tensor) -> Tensor:
        return full_precision(self.out(self.mlp(feat))).squeeze(-1)


class ActorHead(nn.Module):
    """Policy: (..., inputs) to a truncated normal over (..., A) on [-1, 1].

    loc = tanh(out); scale = 2 sigmoid(raw / 2) + min_std.
    """

    def __init__(self, inputs: int, action_dim: int, layers: int, units: int, min_std: float) -> None:
        super().__init__()
        self.mlp = MLP(inputs, layers, units)
        self.out = xavier_linear(self.mlp.out_size, action_dim)
        self.std = xavier_linear(self.mlp.out_size, action_dim)
        self.min_std = min_std

    def forward(self, feat: Tensor) -> TruncatedNormal:
        x = self.mlp(feat)
        scale = 2 * torch.sigmoid(full_precision(self.std(x)) / 2) + self.min_std
        return TruncatedNormal(torch.tanh(full_precision(self.out(x))), scale)


def half_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of 0.5 (prediction - target)²: the negative log likelihood of a unit normal without its constant."""
    return 0.5 * (prediction - target).square().mean()
