"""How `training.compile` compiles what an update computes."""

from __future__ import annotations

import warnings
from typing import Any, Final

import torch

OPTIONS: Final = {"allow_buffer_reuse": False, "inplace_buffers": False}
"""Of inductor. A `loop_body` returns some tensors twice, as results and for its backward pass. torch 2.13 takes them
for two, and gives the memory of one to other tensors while the backward pass still needs it: a right loss with wrong
gradients. Without reuse the memory of a tensor is freed when nothing holds it."""


def compiled(function: Any) -> Any:
    """`function`, a module or a function of tensors, built by `torch.compile` when it is first called.

    Loops over time have their bodies built once (`models.nets.loop_body`); the built kernels stay on disk, in
    `TORCHINDUCTOR_CACHE_DIR`, for the next process.
    """
    # A last step's gradients lie otherwise in memory than those of the steps before: two backward passes, both needed.
    warnings.filterwarnings("ignore", message="invoke_subgraph traced multiple backward graphs")
    return torch.compile(function, options=dict(OPTIONS))
