"""What the loops of both training commands share, and their optimisers' settings."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from ipv_bench.config import Config


class LoopConfig(Config):
    """Device, arithmetic, intervals and mirrors of a training loop."""

    recordable: ClassVar[bool] = True
    """Whether a CUDA graph can hold an update; where none can, `cuda_graph: auto` is no graph."""
    log_every: int = Field(100, ge=1)
    """Updates between two lines of metrics.jsonl; a line holds means since the one before."""
    checkpoint_minutes: float = Field(10.0, gt=0, le=10)
    """A checkpoint is also taken when the last one is older than this."""
    keep_last: int = Field(2, ge=1)
    """Newest checkpoints that are kept."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the networks; parameters stay fp32. fp16 on CUDA only. auto: bf16 on a GPU that has it, else fp32;
    `run.json` holds which one it was."""
    compile: bool = False
    """Compile the updates with torch.compile."""
    cuda_graph: Literal["auto"] | bool = False
    """Record an update's kernels once as a CUDA graph, and replay them: one launch in place of thousands. CUDA only,
    one process, not with fp16. The same operations in the same order (cuDNN may choose other kernels, as in any
    run). auto: wherever that is possible."""
    deterministic: bool = False
    """Ask torch for deterministic kernels on CUDA too (slower): a run that is repeated, or goes on, has equal bits. The
    CPU's always are."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: CUDA where there is one."""
    threads: int = Field(0, ge=0)
    """CPU threads of torch; 0 leaves torch's own choice. Part of what exact resume needs to be equal."""
    tensorboard: bool = True
    """Mirror metrics.jsonl and scores as TensorBoard events where the `tracking` extra is installed."""
    wandb: str = ""
    """Mirror them to this W&B project; needs the `tracking` extra."""


class OptimizerConfig(Config):
    """One optimiser group."""

    lr: float = Field(3e-4, ge=0)
    """Learning rate."""
    eps: float = Field(1e-5, gt=0)
    """Adam's epsilon."""
    weight_decay: float = Field(1e-6, ge=0)
    """Coupled L2 decay (added to the gradient) of every parameter, biases and norms too."""
    clip: float | None = Field(100.0, gt=0)
    """Global norm that the group's gradients are clipped to; null: no clipping."""

    def lr_scale(self, update: int, updates: int) -> float:
        """Factor on the learning rate of update `update` of `updates`, counted from 0."""
        return 1.0


class AdamWConfig(OptimizerConfig):
    """One group of AdamW, whose learning rate rises at first and then falls to 0 along a cosine."""

    lr: float = Field(1e-4, ge=0)
    """Largest learning rate."""
    eps: float = Field(1e-8, gt=0)
    """Adam's epsilon."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """Decay of the mean of their squares."""
    weight_decay: float = Field(1e-4, ge=0)
    """Decay beside the gradient, times the learning rate, of every parameter."""
    clip: float = Field(1.0, gt=0)
    """Global norm that the group's gradients are clipped to."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the updates in which the learning rate rises, in a line from 0."""
    cosine: bool = True
    """The learning rate falls to 0 at the last update; false: it stays."""

    def lr_scale(self, update: int, updates: int) -> float:
        """See `OptimizerConfig.lr_scale`."""
        rising = math.ceil(self.warmup * updates)
        if update < rising:
            return (update + 1) / rising
        if not self.cosine:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (update - rising) / max(1, updates - rising)))
