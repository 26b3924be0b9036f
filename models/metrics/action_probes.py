"""Linear probes: how much of a known quantity can be read from something by a linear map, on sequences not fitted on.

Legend: `N` sequences, `T` steps, `D` inputs, `A` outputs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

FOLDS = 5
PENALTIES = 10.0 ** np.arange(-4, 3)
"""Ridge penalties beside standardised inputs, per row that is fitted on: many inputs and few rows need a strong one."""


def probe_r2(inputs: Numbers, outputs: Numbers, groups: NDArray[np.integer] | None = None) -> float:
    """R² of a ridge regression, cross-validated over whole sequences.

    Each of five parts of the sequences is predicted by a map that was fitted on the others; the errors of all parts are
    taken together, and the outputs' components by their variance. Sequences of one group are never on both sides.

    Args:
        inputs: (N, T, D).
        outputs: (N, T, A).
        groups: (N,) what each sequence belongs to (its video); None: each is a group of its own.

    Returns:
        1 is a perfect map; 0 (or below) is no better than the mean. NaN where nothing can be said: outputs that do not
        vary, or fewer than two groups.

    Raises:
        ValueError: the shapes do not fit.
    """
    inputs, outputs = np.asarray(inputs, np.float64), np.asarray(outputs, np.float64)
    if inputs.ndim != 3 or outputs.ndim != 3 or inputs.shape[:2] != outputs.shape[:2]:
        raise ValueError(
            f"a probe takes inputs (N, T, D) and outputs (N, T, A) of the same steps, found {inputs.shape} and "
            f"{outputs.shape}"
        )
    named = np.arange(len(inputs)) if groups is None else np.asarray(groups)
    if named.shape != (len(inputs),):
        raise ValueError(f"{len(inputs)} sequences need as many groups, found {named.shape}")
    distinct, part = np.unique(named, return_inverse=True)
    folds = min(FOLDS, len(distinct))
    if folds < 2:
        return float("nan")
    part = part % folds
    error = spread = 0.0
    for fold in range(folds):
        seen, held = part != fold, part == fold
        truth = _rows(outputs[held])
        predicted = _ridge(_rows(inputs[seen]), _rows(outputs[seen]), _rows(inputs[held]))
        error += float(np.square(truth - predicted).sum())
        spread += float(np.square(truth - _rows(outputs[seen]).mean(0)).sum())
    return 1 - error / spread if spread > 0 else float("nan")


def _rows(values: Numbers) -> Numbers:
    return values.reshape(-1, values.shape[-1])


def _ridge(inputs: Numbers, outputs: Numbers, asked: Numbers) -> Numbers:
    """Predictions for `asked` of the map that was fitted on the rows of `inputs` and `outputs`.

    The penalty is the one with the least generalised cross-validation error (Golub, Heath and Wahba, 1979) on the rows
    that are fitted on.
    """
    centre, scale = inputs.mean(0), inputs.std(0)
    scale = np.where(scale > 1e-12, scale, 1.0)  # an input that never varies says nothing
    x, mean = (inputs - centre) / scale, outputs.mean(0)
    rows = len(x)
    left, singular, right = np.linalg.svd(x, full_matrices=False)  # (rows, R), (R,), (R, D)
    projected = left.T @ (outputs - mean)  # (R, A)
    outside = float(np.square(outputs - mean).sum() - np.square(projected).sum())  # what no weights can reach
    best, chosen = np.inf, PENALTIES[-1] * rows
    for penalty in PENALTIES * rows:
        kept = singular**2 / (singular**2 + penalty)  # (R,) share of each direction that is fitted
        error = outside + float(np.square((1 - kept)[:, None] * projected).sum())
        score = error / max(1 - (1 + kept.sum()) / rows, 1e-9) ** 2
        if score < best:
            best, chosen = score, penalty
    weights = right.T @ ((singular / (singular**2 + chosen))[:, None] * projected)  # (D, A)
    found: Numbers = (asked - centre) / scale @ weights + mean
    return found
