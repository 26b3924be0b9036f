"""The logs of a fine-tuning run, `metrics.jsonl` and `evaluations.jsonl`, and what mirrors them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipv_bench.addresses import public_values
from ipv_bench.progress import say
from ipv_bench.run_record import EVALUATIONS_FILE, METRICS_FILE, JsonlLog, RunRecord, read_jsonl
from models.finetuning.config import FinetuneTrainingConfig
from models.training.checkpoint import count_of
from models.training.tracking import MetricMirrors

POSITION = ("env_steps", "agent_steps", "wall_seconds")
"""Fields that every line begins with."""

NOTHING = {"metrics": 0, "evaluations": 0}
"""Sizes of the logs of a run that begins."""


class RunLogs:
    """Both logs, opened where the run goes on from.

    Args:
        folder: of the run.
        sizes: bytes of each log that the run's checkpoint knows; what was written after them is dropped.

    Attributes:
        losses: what a log lacks that the checkpoint knew of.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, Any]) -> None:
        self._folder, counts = folder, {name: count_of(sizes[name]) for name in NOTHING}
        self._logs = {"metrics": JsonlLog(folder / METRICS_FILE), "evaluations": JsonlLog(folder / EVALUATIONS_FILE)}
        cuts = [log.cut(counts[name]) for name, log in self._logs.items()]
        self.losses = [cut.loss for cut in cuts if cut.loss]
        for loss in self.losses:
            say(f"{folder}: {loss}; what is there is kept, and the run is no longer exact")
        self._mirrors: MetricMirrors | None = None

    def mirror(self, record: RunRecord, training: FinetuneTrainingConfig, step: int) -> None:
        """Copy lines to TensorBoard and W&B from now on; what the logs hold of `step` comes first.

        A mirror starts anew at the step that a run goes on from.
        """
        self._mirrors = MetricMirrors(
            self._folder,
            tensorboard=training.tensorboard,
            wandb_project=training.wandb,
            config=public_values(record.config),
            wandb_id=(record.model_extra or {}).get("wandb_id", ""),
            resumed_from=step,
        )
        for name, log in self._logs.items() if step else ():
            for line in read_jsonl(log.path):
                if line["env_steps"] >= step:
                    self._copy(name, step, line)

    def metrics(self, position: Mapping[str, float], values: Mapping[str, Any]) -> None:
        """Write a line of metrics."""
        self._write("metrics", position, values)

    def evaluation(self, position: Mapping[str, float], values: Mapping[str, Any]) -> None:
        """Write a line of scores."""
        self._write("evaluations", position, values)

    def sizes(self) -> dict[str, int]:
        """Bytes of each log, made durable: for the checkpoint."""
        return {name: log.size_bytes() for name, log in self._logs.items()}

    def close(self) -> None:
        """Close logs and mirrors."""
        for log in self._logs.values():
            log.close()
        if self._mirrors is not None:
            self._mirrors.close()

    def _write(self, name: str, position: Mapping[str, float], values: Mapping[str, Any]) -> None:
        line = {**position, **values}
        self._logs[name].append(line)
        self._copy(name, int(position["env_steps"]), line)

    def _copy(self, name: str, step: int, line: Mapping[str, Any]) -> None:
        if self._mirrors is None:
            return
        if name == "evaluations":
            self._mirrors.log(step, {"evaluation_return": mean_return(line)})
        else:
            self._mirrors.log(step, {key: value for key, value in line.items() if key not in POSITION})


def mean_return(line: Mapping[str, Any]) -> float:
    """Mean of an evaluation's returns; 0 where no episode was played."""
    return float(sum(line["returns"]) / max(len(line["returns"]), 1))
