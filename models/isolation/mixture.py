"""A frame as a mixture of three parts, and its gradients written out.

Source: Iso-Dream (Pan et al., NeurIPS 2022, arXiv:2205.13817).
Legend: `N` frames, which are `T` of each of `B` segments; `...` pixels, in any order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class FrameParts(NamedTuple):
    """A decoded frame and what it is made of, in scaled colours. Gradients pass through `frame` alone.

    Attributes:
        frame: (B, T, 3, ...), the masks' mixture of the three parts.
        action: (B, T, 3, ...) part of the action-conditional branch.
        free: (B, T, 3, ...) part of the action-free branch.
        background: (B, T, 3, ...) static part.
        masks: (B, T, 3, ...) shares of the three parts, each in [0, 1], with the sum 1.
    """

    frame: Tensor
    action: Tensor
    free: Tensor
    background: Tensor
    masks: Tensor


def mixed(
    moved: Tensor, others: Tensor, still: Tensor, black: Tensor, white: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames m₁ x + m₂ y + m₃ s, with x and y clipped to the colours and (m₁, m₂, m₃) = softmax(p, q, 0).

    Args:
        moved: (N, 4, ...) colours x and the mask's logit p of one branch; contiguous.
        others: (N, 4, ...) y and q of the other.
        still: (B, 3, ...) s, clipped, one for T frames.
        black: lower bound of the colours, broadcast to (3, ...).
        white: upper bound.

    Returns:
        Frames, clipped x, clipped y and masks, each (N, 3, ...); the last three without gradients.
    """
    if torch.compiler.is_compiling():
        return in_single_steps(moved, others, still, black, white)
    found: tuple[Tensor, Tensor, Tensor, Tensor] = _Mixture.apply(moved, others, still, black, white)  # type: ignore[no-untyped-call]
    return found


def in_single_steps(
    moved: Tensor, others: Tensor, still: Tensor, black: Tensor, white: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `mixed`, by operations that a compiler follows and joins itself: none writes into parts of its results."""
    low, high = black.to(moved.dtype), white.to(moved.dtype)
    # By choice, whose gradient is 1 also where a colour lies on its bound, as `_Mixture`'s is.
    x, y = (
        torch.where(value[:, :3] < low, low, torch.where(value[:, :3] > high, high, value[:, :3]))
        for value in (moved, others)
    )
    logits = torch.stack([moved[:, 3], others[:, 3], torch.zeros_like(moved[:, 3])], 1)
    masks = logits.softmax(1)  # (N, 3, ...)
    behind = still[:, None].expand(-1, len(moved) // len(still), *still.shape[1:]).flatten(0, 1)  # (N, 3, ...)
    frame = masks[:, :1] * x + masks[:, 1:2] * y + masks[:, 2:] * behind
    return frame, x.detach(), y.detach(), masks.detach()


class _Mixture(torch.autograd.Function):
    """Forward and backward pass in few walks through memory: by single operations they take three times as long."""

    @staticmethod
    def forward(ctx: Any, moved: Tensor, others: Tensor, still: Tensor, black: Tensor, white: Tensor) -> Any:
        low, high = black.to(moved.dtype), white.to(moved.dtype)
        # Not `clamp`, which takes five times as long with bounds for each pixel.
        x, y = (torch.minimum(torch.maximum(value[:, :3], low), high) for value in (moved, others))
        masks = _shares(moved[:, 3], others[:, 3])
        frame = masks[:, :1] * x
        frame.addcmul_(masks[:, 1:2], y)
        _by_segment(frame, still).addcmul_(_by_segment(masks, still)[:, :, 2:], still[:, None])
        ctx.save_for_backward(moved, others, still, frame, x, y, masks)
        ctx.mark_non_differentiable(x, y, masks)
        ctx.set_materialize_grads(False)  # there are none of theirs to be filled with zeros
        return frame, x, y, masks

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        if gradients[0] is None:
            return None, None, None, None, None
        moved, others, still, frame, x, y, masks = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        mean = _over_colours(gradient, frame)  # (N, ...)
        into = []
        for share, raw, part in ((masks[:, 0], moved, x), (masks[:, 1], others, y)):
            each = torch.empty_like(raw)
            # A clipped colour does not move. As numbers: a mask of bools would take five times as long.
            colours = torch.eq(part, raw[:, :3], out=each[:, :3])
            colours.mul_(gradient).mul_(share[:, None])
            torch.sub(_over_colours(gradient, part), mean, out=each[:, 3]).mul_(share)
            into.append(each)
        into_still = (_by_segment(gradient, still) * _by_segment(masks, still)[:, :, 2:]).sum(1)
        return *into, into_still, None, None


def _shares(first: Tensor, second: Tensor) -> Tensor:
    """Softmax of the logits (N, ...) of two masks and of zero: (N, 3, ...)."""
    peak = torch.maximum(first, second).clamp_min_(0)
    shares = first.new_empty((len(first), 3, *first.shape[1:]))
    for place, logit in enumerate((first, second)):
        torch.sub(logit, peak, out=shares[:, place])
    torch.neg(peak, out=shares[:, 2])
    shares.exp_()
    total = (shares[:, 0] + shares[:, 1]).add_(shares[:, 2])
    return shares.div_(total[:, None])


def _over_colours(one: Tensor, other: Tensor) -> Tensor:
    """Sum over the colours of the products of (N, 3, ...): (N, ...)."""
    total = one[:, 0] * other[:, 0]
    return total.addcmul_(one[:, 1], other[:, 1]).addcmul_(one[:, 2], other[:, 2])


def _by_segment(value: Tensor, still: Tensor) -> Tensor:
    """(N, C, ...) as (B, T, C, ...)."""
    return value.view(len(still), len(value) // len(still), *value.shape[1:])
