"""The mixture of a frame's parts: its written-out gradients against torch's, and what no mask can break."""

from __future__ import annotations

import pytest
import torch

from models.isolation.mixture import in_single_steps, mixed

BLACK, WHITE = torch.full((1, 1, 1), -0.5), torch.full((1, 1, 1), 0.5)


both_forms = pytest.mark.parametrize("mix", [mixed, in_single_steps], ids=["written out", "for a compiler"])


def plainly(moved, others, still, low, high):
    clip = lambda part: torch.minimum(torch.maximum(part, low), high)  # noqa: E731
    logits = torch.stack([moved[:, 3], others[:, 3], torch.zeros_like(others[:, 3])], 1)
    masks = logits.softmax(1)
    frames = still.repeat_interleave(len(moved) // len(still), 0)
    return masks[:, :1] * clip(moved[:, :3]) + masks[:, 1:2] * clip(others[:, :3]) + masks[:, 2:] * frames


@both_forms
def test_frames_and_gradients_are_those_of_the_formula_with_bounds_of_each_pixel(mix):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    inputs = moved, others, still = normal(6, 4, 5, 2), normal(6, 4, 5, 2), normal(2, 3, 5, 2)
    low = -torch.rand(3, 5, 2, generator=generator, dtype=torch.float64)
    high, weight = low + 1, torch.randn(6, 3, 5, 2, generator=generator, dtype=torch.float64)
    frame, part, other, masks = mix(moved, others, still, low, high)
    wanted = plainly(moved, others, still, low, high)
    torch.testing.assert_close(frame, wanted, rtol=0, atol=1e-14)
    assert 0 < int((part != moved[:, :3]).sum()) < part.numel()  # some are clipped, and not all
    ours, theirs = (torch.autograd.grad((frames * weight).sum(), inputs) for frames in (frame, wanted))
    for mine, others_gradient in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, others_gradient, rtol=1e-12, atol=1e-14)
    assert not any(value.requires_grad for value in (part, other, masks))


@both_forms
def test_a_colour_on_its_bound_moves_and_one_beyond_it_does_not(mix):
    moved = torch.tensor([-0.5, 0.5, 0.6, 0.0]).reshape(1, 4, 1, 1).requires_grad_()
    frame = mix(moved, torch.zeros(1, 4, 1, 1), torch.zeros(1, 3, 1, 1), BLACK, WHITE)[0]
    (gradient,) = torch.autograd.grad(frame.sum(), moved)
    torch.testing.assert_close(gradient[0, :3, 0, 0], torch.tensor([1 / 3, 1 / 3, 0]))


@both_forms
def test_masks_as_large_as_they_come_leave_shares(mix):
    moved = torch.zeros(3, 4, 1, 1)
    others = torch.zeros(3, 4, 1, 1)
    moved[:, 3, 0, 0] = torch.tensor([1e4, -1e4, 1e4])
    others[:, 3, 0, 0] = torch.tensor([-1e4, -1e4, 1e4])
    masks = mix(moved, others, torch.zeros(1, 3, 1, 1), BLACK, WHITE)[3][..., 0, 0]
    assert masks.tolist() == [[1, 0, 0], [0, 0, 1], [0.5, 0.5, 0]]


@both_forms
def test_a_number_that_is_none_stays_visible(mix):
    moved = torch.zeros(1, 4, 1, 1)
    moved[0, 0] = torch.nan
    assert mix(moved, torch.zeros(1, 4, 1, 1), torch.zeros(1, 3, 1, 1), BLACK, WHITE)[0].isnan().any()
