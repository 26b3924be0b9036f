"""Stable-Baselines3's `evaluations.npz`: `timesteps` (T,), `results` (T, episodes), perhaps `successes`, alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ipv_bench.bounded_arrays import read_npz
from ipv_bench.errors import InputError
from reports.readers.base import Read, ReadOptions
from reports.readers.log_run import log_run
from reports.readers.run_names import names_of_log
from reports.readers.score_names import ScoreName
from reports.scores.task_names import suite_metric

LARGEST_BYTES = 1 << 28
_FIX = "restore the file, or leave it out"
"""Unpacked arrays above this are refused: evaluations are kilobytes, and a small archive can hold a huge one."""


class Sb3Evaluations:
    """Reads one `evaluations.npz` as one run."""

    name = "sb3_evaluations"

    def accepts(self, path: Path) -> bool:
        """A file `evaluations*.npz`."""
        return path.is_file() and path.suffix == ".npz" and path.name.startswith("evaluations")

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read the run; its score is the mean over the episodes of each evaluation.

        Raises:
            InputError: it is no archive of such arrays, or the run has no names.
        """
        arrays = _arrays(path)
        names = names_of_log(path, options)
        wanted = suite_metric(names.suite) if options.metric == "auto" else options.metric
        key = "successes" if wanted == "success" and "successes" in arrays else "results"
        steps, values = arrays["timesteps"], arrays[key]
        if values.ndim == 1:
            values = values[:, None]
        if steps.ndim != 1 or values.ndim != 2 or len(values) != len(steps):
            raise InputError(
                f"{path}: timesteps of shape {steps.shape} and {key} of shape {values.shape}",
                expected="(T,) and (T, episodes)",
                fix=_FIX,
            )
        score = ScoreName(key, "success" if key == "successes" else "return", "evaluation")
        means = values.mean(axis=1) if values.shape[1] else np.full(len(values), np.nan)
        episodes = np.full(len(values), values.shape[1], dtype=np.int64)
        run, said = log_run(self.name, path, names, score, steps, means, episodes)
        return Read(runs=(run,), findings=(said,))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    stored = read_npz(path, limit=LARGEST_BYTES, fix=_FIX)
    arrays: dict[str, np.ndarray] = {}
    for name in ("timesteps", "results", "successes"):
        if name in stored:
            if stored[name].dtype.kind not in "biuf":
                raise InputError(f"{path}: {name} is of type {stored[name].dtype}", expected="numbers", fix=_FIX)
            arrays[name] = stored[name].astype(np.float64)
    missing = [name for name in ("timesteps", "results") if name not in arrays]
    if missing:
        raise InputError(
            f"{path} has no {' and no '.join(missing)}", expected="timesteps, results, as EvalCallback writes", fix=_FIX
        )
    return arrays


READER = Sb3Evaluations()
