"""A linear layer inside a loop over time, whose weight gradient is one product over all steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.nets.loop_body import apart


class Slot(NamedTuple):
    """What belongs to one step of a `LoopedLinear`.

    Attributes:
        offset: (B, out), what the step adds to its product; None: the layer's own bias.
        row: (B, in), where the step's input is kept for the backward pass; None: autograd keeps it.
    """

    offset: Tensor | None
    row: Tensor | None


class LoopedLinear:
    """`linear` applied once per time step; the gradients of its weight and bias are formed once per sequence.

    Autograd forms a weight gradient per use: T products of rank B, each the size of the weight, and T additions of
    them, which is 40 % of a full-size training step. Here each step uses the detached weight and adds its slice of one
    batched product `inputs @ weight + bias` whose `inputs` are still zero: the value is the bias alone, but the graph
    keeps the buffer, and the loop fills it. The backward pass, all of it autograd's, meets the filled buffer and so
    yields the gradient as one product over the stacked steps.

    One object serves one sequence, each of its `slots` one step. Without gradients, and under `torch.compile` (which
    would replay the late write out of order), a step is a plain linear layer.

    Args:
        linear: the layer.
        steps: number of time steps.
        batch: rows of each step.
        columns: the first input columns, which take part; the others belong to a batched product or see zeros.
        added: (T, B, out), what is added to each step's product in place of the layer's bias; None: the bias.
    """

    def __init__(
        self,
        linear: nn.Linear,
        steps: int,
        batch: int,
        columns: int | None = None,
        *,
        added: Tensor | None = None,
    ) -> None:
        self._weight = linear.weight if columns is None else linear.weight[:, :columns]  # (out, in)
        self._bias = linear.bias if added is None else None
        self._transposed: Tensor | None = None
        self.slots = [Slot(None, None)] * steps if added is None else [Slot(apart(x), None) for x in added.unbind(0)]
        if torch.is_grad_enabled() and linear.weight.requires_grad and not torch.compiler.is_compiling():
            self._defer(steps, batch, added)

    def _defer(self, steps: int, batch: int, added: Tensor | None) -> None:
        kind = self._weight.device.type
        # Autocast would copy a float32 buffer, and the late write would miss the copy.
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self._weight.dtype
        inputs = torch.zeros(steps, batch, self._weight.shape[1], device=self._weight.device, dtype=dtype)
        offset = nn.functional.linear(inputs, self._weight, self._bias)  # (T, B, out): bias or zeros
        # One backward step for all: by indices, each step's gradient would be laid into zeros of the whole sequence.
        offsets = (offset if added is None else offset + added).unbind(0)
        # `.data` has its own version counter: the writes are meant to reach what the batched product keeps.
        self.slots = [Slot(*pair) for pair in zip(offsets, inputs.data.unbind(0), strict=True)]
        self._transposed = self._weight.detach().to(dtype).t()

    def __call__(self, x: Tensor, slot: Slot) -> Tensor:
        """(B, in) to (B, out), at the time step that has this slot."""
        if slot.row is None or self._transposed is None:
            product = nn.functional.linear(x, self._weight, self._bias)
            return product if slot.offset is None else product + slot.offset
        assert slot.offset is not None
        slot.row.copy_(x.detach())
        return torch.addmm(slot.offset, x, self._transposed)


def by_step(*layers: LoopedLinear) -> list[tuple[Slot, ...]]:
    """The slots of several layers of one loop, step by step."""
    return list(zip(*(layer.slots for layer in layers), strict=True))
