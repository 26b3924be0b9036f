"""Mirrors of a run's metrics: TensorBoard events and W&B. `metrics.jsonl` is the truth; these may be deleted."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ipv_bench.extras import missing_extras
from ipv_bench.run_record import RunRecord

TENSORBOARD_FOLDER = "tensorboard"


class MetricMirrors:
    """Copies each line of metrics to the mirrors that are switched on.

    Args:
        run_folder: TensorBoard events go to `tensorboard/` in it.
        tensorboard: write events where the tensorboard package is installed.
        wandb_project: W&B project; empty: none.
        config: resolved config, shown by W&B.
        wandb_id: the run's id there, from the function of that name: kept in `run.json`, so that a resumed run
            goes on with its own, and folders of one name make no two runs one.
        resumed_from: step that the run continues from, 0 for its beginning: events from there on are hidden, since a
            part that was interrupted may have logged more; what the logs hold of that step the caller mirrors again.

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

            self._events = SummaryWriter(run_folder / TENSORBOARD_FOLDER, purge_step=resumed_from)

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


def wandb_id(wandb_project: str, record: RunRecord) -> dict[str, str]:
    """What a record keeps of W&B: the id that it has, or one that no other run has; nothing without W&B.

    A run that was started without a project gets its id when it goes on with one.
    """
    known = (record.model_extra or {}).get("wandb_id")
    if isinstance(known, str) and known:
        return {"wandb_id": known}
    return {"wandb_id": secrets.token_hex(8)} if wandb_project else {}


def _start_wandb(run_folder: Path, project: str, config: Mapping[str, Any], run_id: str) -> Any:
    check_mirrors(project)
    import wandb

    name = "/".join(run_folder.resolve().parts[-4:])
    return wandb.init(
        project=project, name=name, id=run_id or None, dir=run_folder, config=dict(config), resume="allow"
    )
