"""Mirrors of a run's metrics: TensorBoard events and W&B. `metrics.jsonl` is the truth; these may be deleted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ipv_bench.extras import missing_extras

TENSORBOARD_FOLDER = "tensorboard"


class MetricMirrors:
    """Copies each line of metrics to the mirrors that are switched on.

    Args:
        run_folder: TensorBoard events go to `tensorboard/` in it.
        tensorboard: write events where the tensorboard package is installed.
        wandb_project: W&B project; empty: none.
        config: resolved config, shown by W&B.
        resumed_from: step that the run continues from: events after it, of the interrupted part, are hidden.

    Raises:
        MissingDependencyError: a W&B project is named and wandb is not installed.
    """

    def __init__(
        self,
        run_folder: Path,
        *,
        tensorboard: bool,
        wandb_project: str,
        config: Mapping[str, Any],
        resumed_from: int = 0,
    ) -> None:
        self._events: Any = None
        self._wandb: Any = None
        if wandb_project:
            self._wandb = _start_wandb(run_folder, wandb_project, config)
        if tensorboard and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            purge = resumed_from + 1 if resumed_from else None
            self._events = SummaryWriter(run_folder / TENSORBOARD_FOLDER, purge_step=purge)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Copy the finite numbers of one line; lists and texts stay in `metrics.jsonl` alone."""
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
        if self._events is not None:
            for name, value in numbers.items():
                self._events.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        """Write out what is buffered."""
        if self._events is not None:
            self._events.close()
        if self._wandb is not None:
            self._wandb.finish()


def _start_wandb(run_folder: Path, project: str, config: Mapping[str, Any]) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise missing_extras("training.wandb", "tracking") from error
    name = "/".join(run_folder.resolve().parts[-4:])
    return wandb.init(
        project=project, name=name, id=name.replace("/", "-"), dir=run_folder, config=dict(config), resume="allow"
    )
