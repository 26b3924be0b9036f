"""Adam or AdamW, clipping by group, and updates that are skipped whole when a number is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ipv_bench.errors import CheckpointError
from models.training.config import AdamWConfig, OptimizerConfig

_SAME = "go on with the preset and --set values that the checkpoint was made with (its run.json has them)"


class UpdateResult(NamedTuple):
    """What `apply_update` did.

    Attributes:
        applied: False when a loss or gradient was not finite: then no group was changed.
        norms: gradient norm of each group before clipping, by the group's name.
    """

    applied: bool
    norms: dict[str, float]


class DeviceResult(NamedTuple):
    """What `apply_on_device` did; as `UpdateResult`, but scalars on the device that nobody has waited for.

    Attributes:
        applied: bool.
        norms: by the group's name.
    """

    applied: Tensor
    norms: dict[str, Tensor]


class OptimizerGroup:
    """Parameters that are clipped and stepped together.

    Args:
        name: key of its metrics and of its state in checkpoints.
        parameters: by name; the names are the keys of the optimiser's state.
        config: learning rate, decay, clipping.
    """

    def __init__(self, name: str, parameters: Mapping[str, nn.Parameter], config: OptimizerConfig) -> None:
        self.name, self.config = name, config
        self.parameters = {key: value for key, value in parameters.items() if value.requires_grad}
        self.adam = _optimizer(config, list(self.parameters.values()))

    def zero_grad(self) -> None:
        """Forget gradients."""
        self.adam.zero_grad(set_to_none=True)

    def gradients(self) -> list[Tensor]:
        """Gradients of all parameters; zeros where a loss does not reach, so that decay acts there too."""
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            assert _same_layout(parameter, parameter.grad), "the fused Adam needs equal memory layouts"
        return [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]

    def set_lr_scale(self, scale: float) -> None:
        """Learning rate of the next step, as a factor on the configured one; at 0 the moments still move."""
        chosen = self.adam.param_groups[0]
        if isinstance(chosen["lr"], Tensor):  # a recorded step reads it where it stands
            chosen["lr"].fill_(self.config.lr * scale)
        else:
            chosen["lr"] = self.config.lr * scale

    def make_recordable(self) -> None:
        """Let a CUDA graph hold the steps: the learning rate becomes a number on the device, moments start as zeros."""
        first = next(iter(self.parameters.values()))
        chosen = self.adam.param_groups[0]
        chosen["lr"] = torch.as_tensor(chosen["lr"], dtype=torch.float32, device=first.device)
        chosen["capturable"] = first.device.type == "cuda"

    @torch.no_grad()
    def step_unless(self, refused: Tensor, divisor: Tensor) -> None:
        """One step by the gradients over `divisor`; nothing at all changes where `refused` is 1. Both are scalars.

        The fused Adam reads both on the device, as a gradient scaler has it do.
        """
        self.adam.grad_scale, self.adam.found_inf = divisor, refused  # type: ignore[attr-defined]
        try:
            self.adam.step()
        finally:
            del self.adam.grad_scale, self.adam.found_inf  # type: ignore[attr-defined]

    def state_tensors(self) -> dict[str, Tensor]:
        """Adam's moments and step counts, by `<group>/<parameter>/<what>`; empty before the first step."""
        return {
            f"{self.name}/{key}/{what}": value
            for key, parameter in self.parameters.items()
            for what, value in self.adam.state.get(parameter, {}).items()
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_tensors` gave; tensors of other groups are ignored.

        Raises:
            CheckpointError: a moment is missing or has another shape, or belongs to no parameter of this group.
        """
        mine = {key: value for key, value in tensors.items() if key.startswith(f"{self.name}/")}
        whats = ("step", "exp_avg", "exp_avg_sq")
        wanted = {f"{self.name}/{key}/{what}" for key in self.parameters for what in whats}
        if mine and mine.keys() != wanted:
            odd = sorted(mine.keys() ^ wanted)
            raise CheckpointError(
                f"optimiser state of group {self.name!r} does not fit: {', '.join(odd[:5])}",
                expected="the state of a run with the same model",
                fix=_SAME,
            )
        self.adam.state.clear()
        for key, parameter in self.parameters.items() if mine else ():
            state = {what: mine[f"{self.name}/{key}/{what}"] for what in whats}
            if state["exp_avg"].shape != parameter.shape:
                raise CheckpointError(
                    f"optimiser state of {key}: found shape {tuple(state['exp_avg'].shape)}",
                    expected=str(tuple(parameter.shape)),
                    fix=_SAME,
                )
            self.adam.state[parameter] = {
                "step": state["step"].detach().to(parameter.device, torch.float32, copy=True),
                # In the parameter's memory layout, which a checkpoint does not keep: see `assign_gradients`.
                **{what: torch.empty_like(parameter).copy_(state[what]).detach() for what in whats[1:]},
            }


def _optimizer(config: OptimizerConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    same: dict[str, Any] = {"lr": config.lr, "eps": config.eps, "weight_decay": config.weight_decay, "fused": True}
    if isinstance(config, AdamWConfig):
        return torch.optim.AdamW(parameters, betas=(config.beta1, config.beta2), **same)
    return torch.optim.Adam(parameters, **same)


def _same_layout(one: Tensor, other: Tensor) -> bool:
    """Whether equal places of the two lie at equal offsets in memory; the stride along a single place says nothing."""
    strides = zip(one.shape, one.stride(), other.stride(), strict=True)
    return all(first == second for size, first, second in strides if size > 1)


def assign_gradients(loss: Tensor, groups: Sequence[OptimizerGroup]) -> None:
    """Gradients of `loss` for the parameters of `groups` alone: none is formed, or left, anywhere else.

    By `backward`, which stores each gradient in its parameter's own memory layout. What `torch.autograd.grad` returns
    for a convolution on channels-last maps is channels-last, and the fused Adam, which walks through the raw memory of
    parameter and gradient side by side, would give each weight the gradient of another one, without an error.
    """
    for group in groups:
        group.zero_grad()
    torch.autograd.backward(loss, inputs=[parameter for group in groups for parameter in group.parameters.values()])


def _norm(group: OptimizerGroup) -> Tensor:
    """Norm of all gradients of a group, a scalar."""
    norms = list(torch._foreach_norm(group.gradients()))
    found: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return found


@torch.no_grad()
def apply_update(
    groups: Sequence[OptimizerGroup],
    losses: Iterable[Tensor] = (),
    scaler: torch.amp.GradScaler | None = None,
) -> UpdateResult:
    """Clip and step all groups by their present gradients, or none of them.

    Args:
        groups: their parameters hold the gradients; those are forgotten afterwards.
        losses: checked together with the gradients.
        scaler: of fp16 training; it is told of the outcome.

    Returns:
        Whether the update was applied, and each group's gradient norm.
    """
    norms = []
    for group in groups:
        if scaler is not None:
            scaler.unscale_(group.adam)
        norms.append(_norm(group))
    checked = torch.stack([*norms, *(loss.detach().float() for loss in losses)]).tolist()  # the one host sync
    finite = all(value - value == 0 for value in checked)
    for group, norm in zip(groups, checked, strict=False):
        clip = group.config.clip
        if finite and clip is not None and norm > clip:
            torch._foreach_mul_(group.gradients(), clip / (norm + 1e-6))
    for group in groups:
        if finite:
            scaler.step(group.adam) if scaler is not None else group.adam.step()
        group.zero_grad()
    if scaler is not None:
        scaler.update()
    return UpdateResult(finite, {group.name: norm for group, norm in zip(groups, checked, strict=False)})


@torch.no_grad()
def apply_on_device(groups: Sequence[OptimizerGroup], losses: Iterable[Tensor], allowed: Tensor) -> DeviceResult:
    """As `apply_update`, with the decision taken on the device: the host does not wait, and a CUDA graph can hold it.

    Args:
        groups: their parameters hold the gradients; those are forgotten afterwards.
        losses: checked together with the gradients.
        allowed: bool scalar; where it is false nothing is applied, whatever the numbers are.
    """
    norms = {group.name: _norm(group) for group in groups}
    checked = torch.stack([*norms.values(), *(loss.detach().float() for loss in losses)])
    applied = checked.isfinite().all() & allowed
    refused = (~applied).float()
    for group in groups:
        clip, norm = group.config.clip, norms[group.name]
        scale = torch.ones_like(norm) if clip is None else ((norm + 1e-6) / clip).clamp_min(1)
        group.step_unless(refused, scale)
        group.zero_grad()
    return DeviceResult(applied, norms)
