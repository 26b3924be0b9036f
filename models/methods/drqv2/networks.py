"""Encoder, actor and twin critics of DrQ-v2, and its actions with noise.

Source: DrQ-v2 (arXiv:2107.09645), section 3.1, sizes and initialisation from the released code.
Legend: `B` batch, `K` frames of a stack, `H W` pixels, `E` encoder's output, `A` action size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.methods.drqv2.config import DrQv2Section, StackImageConfig
from models.nets.distributions import full_precision

ACTION_MARGIN = 1e-6
"""Actions stay this far inside [-1, 1], as released."""


def start_orthogonal(module: nn.Module) -> None:
    """Orthogonal weights (times √2 in convolutions, the gain of ReLU) and zero biases, as released."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu") if isinstance(layer, nn.Conv2d) else 1.0)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


class PixelEncoder(nn.Module):
    """uint8 stacks (B, 3·K, H, W) to (B, E)."""

    def __init__(self, config: DrQv2Section, image: StackImageConfig) -> None:
        super().__init__()
        self.gain = image.gain
        inputs = [3 * config.frame_stack] + [config.channels] * (len(config.strides) - 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(size, config.channels, 3, stride) for size, stride in zip(inputs, config.strides, strict=True)
        )
        self.out_size = config.channels * config.map_size(image.size) ** 2
        start_orthogonal(self)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        weight: Tensor = next(self.parameters())
        return weight.dtype

    def forward(self, stack: Tensor) -> Tensor:
        x = stack.to(self.dtype, copy=True)
        x = x.mul_(self.gain / 255).sub_(self.gain / 2)  # (x / 255 - 0.5) · gain, in place: it is the largest tensor
        for layer in self.layers:
            x = F.relu(layer(x))
        return x.flatten(1)  # (B, E)


class Trunk(nn.Sequential):
    """(B, E) to (B, feature_dim) in [-1, 1]: linear, layer norm, tanh."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__(nn.Linear(inputs, size), nn.LayerNorm(size), nn.Tanh())


def two_layers(inputs: int, units: int, outputs: int) -> nn.Sequential:
    """Two hidden layers with ReLU."""
    return nn.Sequential(
        nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, outputs)
    )


class Actor(nn.Module):
    """(B, E) to mean actions (B, A) in [-1, 1].

    With `penultimate_norm` the last layer sees the hidden features at length 1: its tanh then saturates only where its
    own weights have grown, not where the features have (Bjorck, Gomes and Weinberger, "Is High Variance Unavoidable in
    RL?", ICLR 2022, arXiv:2110.11222).
    """

    def __init__(self, inputs: int, action_dim: int, config: DrQv2Section) -> None:
        super().__init__()
        self.penultimate_norm = config.penultimate_norm
        self.trunk = Trunk(inputs, config.feature_dim)
        self.policy = two_layers(config.feature_dim, config.units, action_dim)
        start_orthogonal(self)

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.policy[:-1](self.trunk(maps))  # (B, units)
        if self.penultimate_norm:
            hidden = F.normalize(hidden, dim=-1)
        return torch.tanh(full_precision(self.policy[-1](hidden)))


class TwinCritic(nn.Module):
    """(B, E) and actions (B, A) to two values (B,) each, behind one trunk."""

    def __init__(self, inputs: int, action_dim: int, config: DrQv2Section) -> None:
        super().__init__()
        self.trunk = Trunk(inputs, config.feature_dim)
        self.first = two_layers(config.feature_dim + action_dim, config.units, 1)
        self.second = two_layers(config.feature_dim + action_dim, config.units, 1)
        start_orthogonal(self)

    def forward(self, maps: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(maps)
        x = torch.cat([x, action.to(x.dtype)], -1)
        return full_precision(self.first(x)).squeeze(-1), full_precision(self.second(x)).squeeze(-1)


def noisy_action(mean: Tensor, normal: Tensor, std: Tensor | float, clip: float | None) -> Tensor:
    """mean + clip(std · normal), held inside [-1, 1]; the gradient passes as if nothing had been held.

    Args:
        mean: (B, A).
        normal: (B, A) standard normal draws.
        std: standard deviation of the noise, a scalar.
        clip: bound of the noise; None: none.
    """
    noise = std * normal
    action = mean + (noise if clip is None else noise.clamp(-clip, clip))
    held = action.detach().clamp(-1 + ACTION_MARGIN, 1 - ACTION_MARGIN)
    # In this order: held - action is rounded to steps as wide as the action's, and large noise then left the bounds.
    return (action - action.detach()) + held
