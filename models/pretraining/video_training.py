"""One world model, its optimiser, and the update that trains it on a batch of videos."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ipv_bench.errors import TrainingError
from ipv_bench.seeding import derive_seed
from models.methods.base import find_method
from models.pretraining.config import PretrainConfig
from models.training.checkpoint import Checkpoint, count_of
from models.training.compiled import compiled
from models.training.distributed import Ranks
from models.training.entry_check import check_array, check_frames, check_length, to_tensor
from models.training.hardware import (
    autocast,
    check_compile,
    check_cuda_graph,
    check_precision,
    check_sync_batch_norm,
    choose_device,
    settled,
    warn_of_imitated_bf16,
)
from models.training.kept_values import KeptValues
from models.training.module_tensors import load_tensors
from models.training.optimizer import OptimizerGroup, apply_on_device, apply_update
from models.training.recorded_update import RecordedUpdate

MAX_SKIPPED_IN_ROW = 10
COUNTERS = ("updates", "skipped", "skipped_in_row", "scale_skips")


class VideoTraining:
    """The state of pre-training, and `step`.

    All random numbers of update `u` come from generators seeded by (seed, u, purpose); parameters and moments are the
    only state besides three counters.

    Args:
        config: resolved config.
        seed: of the run.
        device: where it computes; None: as the config says.
        ranks: this process among those that train the model.

    Raises:
        ConfigError: device or precision are not available.
    """

    def __init__(
        self, config: PretrainConfig, seed: int = 0, device: torch.device | None = None, ranks: Ranks | None = None
    ) -> None:
        self.seed, self.ranks = seed, ranks or Ranks()
        self.device = device or choose_device(config.training.device, self.ranks.local_rank)
        asked = config.training.cuda_graph
        self.config = config = settled(config, self.device, self.ranks.world_size)
        self.precision = config.training.precision
        check_precision(self.device, self.precision)
        if self.ranks.rank == 0:
            warn_of_imitated_bf16(self.device, self.precision)
        if config.training.compile:
            check_compile()
        if config.training.sync_batch_norm and self.ranks.world_size > 1:
            check_sync_batch_norm(self.device)
        if config.training.cuda_graph:
            check_cuda_graph(self.device, self.precision, self.ranks.world_size)
        self.model = self.initial_model().to(self.device)
        if self.device.type == "cuda":
            self.model = self.model.to(memory_format=torch.channels_last)
            if config.training.sync_batch_norm and self.ranks.world_size > 1:
                self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)  # type: ignore[no-untyped-call]
        self.groups: list[OptimizerGroup] = self.optimizer_groups()
        self.scaler = torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None
        model = compiled(self.model) if config.training.compile else self.model
        self._forward: Callable[..., Any] = self.ranks.wrap(model, self.device)
        self._statistics = KeptValues(_running_statistics(self.model))
        self._metric_names: list[str] = []
        """Of the numbers that `whole_update` returns after the first."""
        self._recorded: RecordedUpdate | None = None
        if config.training.cuda_graph:
            self._recorded = RecordedUpdate(self.whole_update, self._statistics, optional=asked == "auto")
        self.updates, self.skipped, self.skipped_in_row, self.scale_skips = 0, 0, 0, 0

    def initial_model(self) -> Any:
        """The model with first weights that depend on the seed alone."""
        return initial_model(self.config, self.seed)

    @property
    def fewest_frames(self) -> int:
        """The smallest T of a batch; see `models.methods.base.VideoModel`."""
        return int(getattr(self.model, "fewest_frames", 1))

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """What the updates change."""
        return [self.model.optimizer_group()]

    def step(self, batch: Any) -> dict[str, float]:
        """One update.

        Args:
            batch: uint8 (B, T, H, W, 3); this process's part of the batch.

        Returns:
            Means over the batch: loss, image_loss, kl_loss, kl (nats), entropies (nats), gradient_norm before clipping,
            and `skipped`, 1 when a number was not finite and nothing was changed (then alone; with fp16
            `scale_skipped` while the loss scale is still being found).

        Raises:
            ConfigError: the batch has another shape or dtype, or fewer frames than the model learns from.
            TrainingError: ten updates in a row were skipped.
        """
        check_array("the batch of videos", batch, ("B", "T", "H", "W", 3), ("uint8",))
        check_length(batch.shape[1], self.fewest_frames)
        images = self.to_device(batch)  # (B, T, H, W, 3)
        self.schedule()
        return self.update(images, self.draw(images.shape[0], images.shape[1], self.ranks.rank))

    def update(self, images: Any, draws: Any) -> dict[str, float]:
        """One update from frames (and what else the forward pass takes) on the device; see `step`."""
        if self._recorded is not None:
            return self._told(self._recorded(images, draws).tolist())
        loss, metrics = self.loss(images, draws)
        self.backward(loss)
        return self.apply(metrics)

    def whole_update(self, allowed: Tensor, images: Any, draws: Any) -> Tensor:
        """The update without a decision of the host: 1 where it was applied, then metrics and gradient norm.

        With `allowed`, a bool scalar, false nothing is applied.
        """
        for group in self.groups:
            group.make_recordable()
            group.zero_grad()
        loss, metrics = self.loss(images, draws)
        loss.backward()  # type: ignore[no-untyped-call]
        result = apply_on_device(self.groups, [metrics["loss"]], allowed)
        self._statistics.restore_unless(result.applied)
        norm = torch.linalg.vector_norm(torch.stack(list(result.norms.values())))
        self._metric_names = [*metrics, "gradient_norm"]
        return torch.stack([result.applied.float(), *(value.float() for value in metrics.values()), norm])

    def schedule(self) -> None:
        """Set the learning rates of the present update."""
        for group in self.groups:
            group.set_lr_scale(group.config.lr_scale(self.updates, self.config.training.updates))

    def draw(self, batch: int, length: int, part: int) -> Any:
        """Random numbers of the present update for `part`, the part of the batch that a rank takes."""
        generator = torch.Generator(self.device)
        generator.manual_seed(derive_seed(self.seed, self.updates, f"model, part {part}"))
        return self.model.draw(batch, length, generator)

    def forward_pass(self, images: Any, draws: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The model's loss and metrics."""
        result: tuple[Tensor, dict[str, Tensor]] = self._forward(images, draws)
        return result

    def loss(self, images: Any, draws: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of uint8 frames (B, T, H, W, 3) on the device."""
        self._statistics.keep()
        with autocast(self.device, self.precision):
            loss, metrics = self.forward_pass(images, draws)
        return loss, metrics

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, averaged over the processes."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    def apply(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Step by the present gradients, unless they or the loss are not finite; counts the update. See `step`."""
        # Means over the processes come first: every process must decide alike, and one that is not finite spoils them.
        values = self.ranks.mean(torch.stack([value.float() for value in metrics.values()]))
        found = dict(zip(metrics, values, strict=True))
        result = apply_update(self.groups, [found["loss"]], self.scaler)
        self.updates += 1
        if not result.applied:
            # The forward pass has already moved running statistics, perhaps to NaN.
            self._statistics.restore()
            return self._count_skip()  # without the numbers: they would spoil the means that are logged
        self.skipped_in_row = 0
        numbers = dict(zip(found, values.tolist(), strict=True))
        return numbers | {"gradient_norm": math.hypot(*result.norms.values()), "skipped": 0.0}

    def to_device(self, batch: np.ndarray | Tensor) -> Tensor:
        """uint8 frames (..., H, W, 3) on the device.

        Raises:
            ConfigError: they are not of the model's size, or not uint8.
        """
        check_frames(batch, self.config.image.size)
        images = to_tensor(batch)
        if self.device.type != "cuda":
            return images.to(self.device)
        return images.pin_memory().to(self.device, non_blocking=True) if images.device.type == "cpu" else images

    @property
    def optimizer(self) -> OptimizerGroup:
        """The first group; of a video model the only one."""
        return self.groups[0]

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Moments and step counts, for a checkpoint."""
        return {name: value for group in self.groups for name, value in group.state_tensors().items()}

    def check_segment(self, segment: Any) -> None:
        """Refuse what cannot be trained on.

        Raises:
            ConfigError: its frames are not of the model's size, or not uint8.
        """
        self.to_device(segment)

    def state(self) -> dict[str, Any]:
        """Counters, for a checkpoint."""
        state: dict[str, Any] = {name: getattr(self, name) for name in COUNTERS}
        return state | ({"loss_scale": self.scaler.state_dict()} if self.scaler is not None else {})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over parameters, moments and counters.

        Raises:
            CheckpointError: it is of another model.
        """
        load_tensors(self.model, checkpoint.model, checkpoint.path)
        for group in self.groups:
            group.load_state_tensors(checkpoint.optimizer)
        state = checkpoint.state
        for name in COUNTERS:
            setattr(self, name, count_of(state[name]))
        if self.scaler is not None and "loss_scale" in state:
            self.scaler.load_state_dict(state["loss_scale"])
        if self._recorded is not None:
            self._recorded.forget()  # the moments are other tensors now

    def _told(self, values: list[float]) -> dict[str, float]:
        """What `step` returns, from the numbers of `whole_update`; counts the update."""
        self.updates += 1
        if not values[0]:
            return self._count_skip()
        self.skipped_in_row = 0
        return dict(zip(self._metric_names, values[1:], strict=True)) | {"skipped": 0.0}

    def _count_skip(self) -> dict[str, float]:
        if self.scaler is not None and self.scaler.get_scale() > 1:
            self.scale_skips += 1  # fp16: the loss scale was too large, and has just been halved
            return {"skipped": 0.0, "scale_skipped": 1.0}
        self.skipped += 1
        self.skipped_in_row += 1
        if self.skipped_in_row >= MAX_SKIPPED_IN_ROW:
            raise TrainingError(
                f"{self.skipped_in_row} updates in a row had a loss or gradient that is not finite "
                f"(the last is update {self.updates})",
                expected="finite numbers",
                fix="lower optimizer.lr, or use training.precision=fp32; the last checkpoint is from before",
            )
        return {"skipped": 1.0}


def initial_model(config: PretrainConfig, seed: int) -> Any:
    """The method's video model; first parameters depend on `seed` alone, torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, 0, "parameters"))
        return find_method(config.method).video_model(config)


def _running_statistics(model: nn.Module) -> list[Tensor]:
    """What forward passes change: running statistics of batch norms, and what a module names in `statistics`."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    named: list[Any] = [layer for layer in model.modules() if hasattr(layer, "statistics")]
    values = [value for layer in layers for value in layer.buffers()]
    return [*values, *(value for layer in named for value in layer.statistics())]
