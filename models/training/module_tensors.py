"""Tensors of a checkpoint into a module: all of them, or a refusal that names what does not fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from ipv_bench.errors import CheckpointError


@runtime_checkable
class SometimesMore(Protocol):
    """A module whose checkpoints hold some tensors only where a run has changed these."""

    def expect(self, names: Collection[str]) -> None:
        """Be told what a checkpoint holds: `state_dict` names the same from now on, of what is held sometimes."""


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], where: str | Path) -> None:
    """Load `tensors` into `module`, every name and every shape equal.

    Raises:
        CheckpointError: names or shapes differ; the first ten differences are shown.
    """
    if isinstance(module, SometimesMore):
        module.expect(tensors)
    check_shapes(module, tensors, where)
    module.load_state_dict(dict(tensors))


def check_shapes(module: nn.Module, tensors: Mapping[str, Tensor], where: str | Path) -> None:
    """Refuse `tensors` that are not `module`'s by name and shape; `module` may be on the device "meta".

    Raises:
        CheckpointError: names or shapes differ; the first ten differences are shown.
    """
    own = module.state_dict()
    found = [f"{name}: {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
             for name in own if name in tensors and tensors[name].shape != own[name].shape]  # fmt: skip
    found += [f"{name}: absent from the checkpoint" for name in own if name not in tensors]
    found += [f"{name}: not in the model" for name in tensors if name not in own]
    if found:
        more = f"; … ({len(found)} in all)" if len(found) > 10 else ""
        raise CheckpointError(
            f"{where} is of another model: " + "; ".join(found[:10]) + more,
            expected="a checkpoint of a model with the same config",
            fix="use the preset and --set values that the checkpoint was made with (its run.json has them)",
        )
