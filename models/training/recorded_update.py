"""An update whose kernels are recorded once, as a CUDA graph, and then replayed by one call.

A full-size update launches some thousands of kernels, most of them shorter than the Python that asks for them. A graph
launches them all at once, on fixed memory: inputs are copied into it, results are read from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ipv_bench.errors import TrainingError
from ipv_bench.progress import say
from models.training.kept_values import KeptValues

_WARM_UPS = 3
"""Passes before the recording: kernels are chosen and compiled, workspaces are allocated."""


class RecordedUpdate:
    """Calls `function(allowed, *inputs)` the first time with a shape, and replays its kernels afterwards.

    Args:
        function: computes on the device alone (no value is read by the host) and returns a tensor; with `allowed`, a
            bool scalar, false it changes nothing that lasts, which is how it is warmed up.
        kept: what a pass changes in place (statistics, queues, magnitudes): put back where a recording ends halfway.
        optional: nobody insisted on a graph: where it cannot be recorded, that is said once, and the function is called
            each time instead.
    """

    def __init__(
        self, function: Callable[..., Tensor], kept: KeptValues | None = None, *, optional: bool = False
    ) -> None:
        self._function, self._optional, self._fails = function, optional, False
        self._buffers = kept or KeptValues(())
        self._graph: torch.cuda.CUDAGraph | None = None
        self._key: Any = None
        self._inputs: list[Tensor] = []
        self._result = torch.empty(0)

    def __call__(self, *inputs: Any) -> Tensor:
        """One update. `inputs` are nested tuples, mappings and tensors on the device; others are constants.

        Returns:
            The function's result; its memory is written again by the next call.

        Raises:
            TrainingError: the function waits for the device, which no graph can hold, and the graph is not optional.
        """
        leaves, spec = tree_flatten(inputs)
        key = (spec, *((leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves))
        if not self._fails and (self._graph is None or key != self._key):
            self._record_if_possible(leaves, spec)
            self._key = key
        if self._fails:
            return self._function(torch.ones((), dtype=torch.bool, device=_device(leaves)), *inputs)
        for kept, leaf in zip(self._inputs, leaves, strict=True):
            if isinstance(leaf, Tensor):
                kept.copy_(leaf)
        assert self._graph is not None
        self._graph.replay()
        return self._result

    def forget(self) -> None:
        """Record anew at the next call: something that the graph reads now lies elsewhere in memory."""
        self._graph, self._key, self._inputs, self._result = None, None, [], torch.empty(0)

    def _record_if_possible(self, leaves: list[Any], spec: TreeSpec) -> None:
        self._buffers.keep()
        try:
            self._record(leaves, spec)
        except (TrainingError, torch.OutOfMemoryError) as error:
            # Nothing of a recording is executed, but the memory may end in the middle of a warm-up, whose forward pass
            # has moved statistics by then: the update that is still to be done would count its batch twice.
            self._buffers.restore()
            if not self._optional:
                raise
            self.forget()
            self._fails = True
            why = error.found if isinstance(error, TrainingError) else "there is no memory left for its CUDA graph"
            say(f"{why}; the run goes on without one (training.cuda_graph is auto), and is slower")

    def _record(self, leaves: list[Any], spec: TreeSpec) -> None:
        self.forget()  # its memory is free before the next graph takes its own
        self._inputs = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        inputs = tree_unflatten(self._inputs, spec)
        device = _device(leaves)
        allowed = torch.zeros((), dtype=torch.bool, device=device)
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._function(allowed, *inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        allowed.fill_(True)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        try:
            # Only this thread's calls are held against the recording: others decode videos and pin memory meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._result = self._function(allowed, *inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            words = next(iter(str(error).splitlines()), "")
            raise TrainingError(
                f"the update cannot be recorded as a CUDA graph: {words[:200]}",
                expected="a model whose forward pass leaves every decision to the GPU",
                fix="use --set training.cuda_graph=false",
            ) from error
        self._allowed, self._graph = allowed, graph


def _device(leaves: list[Any]) -> torch.device:
    """Where the inputs are."""
    found: torch.device = next(leaf.device for leaf in leaves if isinstance(leaf, Tensor))
    return found
