"""The body of a loop over time, which `torch.compile` builds once for all steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

_Inputs = ParamSpec("_Inputs")
_Result = TypeVar("_Result")


def loop_body(function: Callable[_Inputs, _Result]) -> Callable[_Inputs, _Result]:
    """Decorator of a function that computes one step of a loop over time from tensors.

    A compiler unrolls the loop. It would build the kernels of every step apart, since each reads other rows of the
    sequence: hundreds of kernels, each a second or two of a C++ compiler. A body is one graph inside the outer graph:
    its kernels are built once, and called once a step. Without `torch.compile` this is the function.

    What changes from step to step has to come as an argument, and as a tensor: another number is another graph. Part of
    a sequence comes through `apart`.
    """
    region: Callable[..., Any] = torch.compiler.nested_compile_region(function)

    @functools.wraps(function)
    def body(*args: _Inputs.args, **kwargs: _Inputs.kwargs) -> _Result:
        result: _Result = region(*args, **kwargs)
        return result

    return body


def apart(part: Tensor) -> Tensor:
    """What belongs to one step of a sequence, for a `loop_body`.

    A compiler gets it in memory of its own: another place in the sequence is another graph.
    """
    return part.clone(memory_format=torch.contiguous_format) if torch.compiler.is_compiling() else part
