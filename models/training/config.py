"""What the loops of both training commands share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ipv_bench.config import Config


class LoopConfig(Config):
    """Device, arithmetic, intervals and mirrors of a training loop."""

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
    one process, not with fp16. The same kernels in the same order. auto: wherever that is possible."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: CUDA where there is one."""
    threads: int = Field(0, ge=0)
    """CPU threads of torch; 0 leaves torch's own choice. Part of what exact resume needs to be equal."""
    tensorboard: bool = True
    """Mirror metrics.jsonl and scores as TensorBoard events where the `tracking` extra is installed."""
    wandb: str = ""
    """Mirror them to this W&B project; needs the `tracking` extra."""
