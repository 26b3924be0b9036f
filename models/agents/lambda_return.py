"""The λ-return."""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_return(reward: Tensor, value: Tensor, discount: Tensor, bootstrap: Tensor, lam: float) -> Tensor:
    """λ-return of imagined trajectories.

    Source: DreamerV2 (Hafner et al., arXiv:2010.02193v4), Eq. 4.

    Args:
        reward: (B, T) predicted reward of each imagined step.
        value: (B, T) critic's value of the state each step starts from.
        discount: (B, T) discount of each step, in [0, 1].
        bootstrap: (B,) value of the state after the last step.
        lam: λ in [0, 1]; 0 gives one-step returns, 1 discounted Monte Carlo.

    Returns:
        (B, T) returns, in units of reward.

    Raises:
        ValueError: if reward, value and discount differ in shape.
    """
    if not reward.shape == value.shape == discount.shape:
        raise ValueError(
            "reward, value and discount must have one shape; cut all three to the same horizon. "
            f"Got {reward.shape = }, {value.shape = }, {discount.shape = }."
        )
    next_value = torch.cat([value[:, 1:], bootstrap[:, None]], 1)  # (B, T)
    fixed = reward + discount * (1 - lam) * next_value  # (B, T)
    carried = discount * lam
    last, returns = bootstrap, []  # (B,)
    for t in reversed(range(reward.shape[1])):
        last = torch.addcmul(fixed[:, t], carried[:, t], last)
        returns.append(last)
    return torch.stack(returns[::-1], 1)  # (B, T)
