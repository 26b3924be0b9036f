"""Scored runs made in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.scores.score_table import ScoredRun


def scored_run(
    method: str = "contextwm",
    task: str = "dmc/walker_run",
    seed: int = 0,
    steps: Any = (0, 10, 20),
    scores: Any = None,
    **changes: Any,
) -> ScoredRun:
    """A run of `suite/task` whose scores equal its steps unless given."""
    suite, _, name = task.rpartition("/")
    env_steps = np.asarray(steps, dtype=np.float64)
    fields = {
        "method": method, "variant": "", "suite": suite, "task": name, "seed": str(seed), "env_steps": env_steps,
        "scores": env_steps if scores is None else np.asarray(scores, dtype=np.float64), "metric": "return",
        "source": f"runs/{task}/{method}/seed{seed}", "format": "run_format1",
    }  # fmt: skip
    return ScoredRun(**{**fields, **changes})
