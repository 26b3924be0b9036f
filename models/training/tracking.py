"""Mirrors of a run's metrics: TensorBoard events and W&B. `metrics.jsonl` is the truth; these may be deleted."""

from __future__ import annotations

import math
import secrets
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
        wandb_id: the run's id there, from `draw_wandb_id`: kept in `run.json`, so that a resumed run goes on with its
            own, and folders of one name make no two runs one.
        resumed_from: step that the run continues from: events from there on are hidden, since the interrupted part may
            have logged more at that very step; what the logs hold of it is mirrored again by the caller.

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
        wandb_id: str = "",
        resumed_from: int = 0,
    ) -> None:
        self._events: Any = None
        self._wandb: Any = None
        if wandb_project:
            self._wandb = _start_wandb(run_folder, wandb_project, config, wandb_id)
        if tensorboard and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(run_folder / TENSORBOARD_FOLDER, purge_step=resumed_from or None)

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


def check_mirrors(wandb_project: str) -> None:
    """Refuse what is not installed, before anything runs.

    Raises:
        MissingDependencyError: a W&B project is named and wandb is not installed.
    """
    if wandb_project and find_spec("wandb") is None:
        raise missing_extras("training.wandb", "tracking")


def draw_wandb_id(wandb_project: str) -> dict[str, str]:
    """What a new run's record keeps: an id that no other run has; nothing without W&B."""
    return {"wandb_id": secrets.token_hex(8)} if wandb_project else {}


def _start_wandb(run_folder: Path, project: str, config: Mapping[str, Any], run_id: str) -> Any:
    check_mirrors(project)
    import wandb

    name = "/".join(run_folder.resolve().parts[-4:])
    # Runs from before the id was kept were started under their folder's name, and go on there.
    return wandb.init(
        project=project, name=name, id=run_id or name.replace("/", "-"), dir=run_folder, config=dict(config),
        resume="allow",
    )  # fmt: skip
