"""Tensors that a forward pass changes in place, kept so that an update which is skipped leaves them as they were."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class KeptValues:
    """A copy of tensors that are changed in place: running statistics, queues, magnitudes.

    One kernel copies all tensors of a dtype: a model has a hundred of them, most of them small.

    Args:
        values: the tensors; none may be replaced by another one later.
    """

    def __init__(self, values: Iterable[Tensor]) -> None:
        found = list(values)
        dtypes = dict.fromkeys(value.dtype for value in found)
        self._values = [[value for value in found if value.dtype == dtype] for dtype in dtypes]
        """By dtype; groups may be absent, never empty."""
        self._kept = [[value.clone() for value in group] for group in self._values]

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the present values."""
        for kept, values in zip(self._kept, self._values, strict=True):
            torch._foreach_copy_(kept, values)

    @torch.no_grad()
    def restore(self) -> None:
        """Write the kept values back."""
        for kept, values in zip(self._kept, self._values, strict=True):
            torch._foreach_copy_(values, kept)

    @torch.no_grad()
    def restore_unless(self, applied: Tensor) -> None:
        """Write the kept values back where `applied`, a bool scalar on the device, is false; the host does not wait."""
        for kept, values in zip(self._kept, self._values, strict=True):
            old, new = (torch.cat([value.flatten() for value in group]) for group in (kept, values))
            chosen = torch.split(torch.where(applied, new, old), [value.numel() for value in values])
            torch._foreach_copy_(values, [part.view_as(value) for part, value in zip(chosen, values, strict=True)])
