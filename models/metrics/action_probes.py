"""Linear probes: how much of a known quantity can be read from something by a linear map, on sequences not fitted on.

Legend: `N` sequences, `T` steps, `D` inputs, `A` outputs, `n` rows: all steps of some sequences.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

FOLDS = 5
FEWEST_GROUPS = 3
"""One to score on, and two to choose a penalty by: with fewer, inputs that only tell videos apart pass for a map."""
PENALTIES = np.append(10.0 ** np.arange(-4, 3), np.inf)
"""Ridge penalties beside standardised inputs, per row that is fitted on: many inputs and few rows need a strong one,
and inputs that say nothing the last one, which leaves the mean alone."""


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
        vary, or fewer than three groups.

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
    if len(distinct) < FEWEST_GROUPS:
        return float("nan")
    folds = min(FOLDS, len(distinct))
    group, part = part, part % folds
    error = spread = 0.0
    for fold in range(folds):
        seen, held = part != fold, part == fold
        truth = _rows(outputs[held])
        belongs = np.repeat(group[seen], inputs.shape[1])  # (n,)
        predicted = _ridge(_rows(inputs[seen]), _rows(outputs[seen]), belongs, _rows(inputs[held]))
        error += float(np.square(truth - predicted).sum())
        spread += float(np.square(truth - _rows(outputs[seen]).mean(0)).sum())
    return 1 - error / spread if spread > 0 else float("nan")


def _rows(values: Numbers) -> Numbers:
    return values.reshape(-1, values.shape[-1])


def _ridge(inputs: Numbers, outputs: Numbers, groups: NDArray[np.integer], asked: Numbers) -> Numbers:
    """Predictions for `asked` of the map that was fitted on the rows of `inputs` (n, D) and `outputs` (n, A).

    The penalty is the one that predicts each group's rows best from the others'. By rows instead of groups (generalised
    cross-validation) too weak a one is chosen: rows of one video resemble one another.
    """
    centre, scale = inputs.mean(0), inputs.std(0)
    scale = np.where(scale > 1e-12, scale, 1.0)  # an input that never varies says nothing
    mean, rows = outputs.mean(0), len(inputs)
    left, singular, right = np.linalg.svd((inputs - centre) / scale, full_matrices=False)  # (n, R), (R,), (R, D)
    projected = left.T @ (outputs - mean)  # (R, A)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    errors = []
    for penalty in PENALTIES * rows:
        kept = singular**2 / (singular**2 + penalty)  # (R,) share of each direction that is fitted
        residual = outputs - mean - left @ (kept[:, None] * projected)  # (n, A)
        errors.append(sum(_left_out_error(left[rows_of], kept, residual[rows_of], rows) for rows_of in members))
    chosen = PENALTIES[int(np.argmin(errors))] * rows
    weights = right.T @ ((singular / (singular**2 + chosen))[:, None] * projected)  # (D, A)
    found: Numbers = (asked - centre) / scale @ weights + mean
    return found


def _left_out_error(left: Numbers, kept: Numbers, residual: Numbers, rows: int) -> float:
    """Squared error of some rows under the map that is fitted without them, from the map that is fitted with them.

    With H the rows' own block of the matrix that turns outputs into fitted ones, it is (I - H)⁻¹ times their residual.

    Args:
        left: (k, R) theirs of the left singular vectors.
        kept: (R,) share of each direction that is fitted.
        residual: (k, A).
        rows: n.
    """
    own = (left * kept) @ left.T + 1 / rows  # the mean is fitted as well
    return float(np.square(np.linalg.solve(np.eye(len(own)) - own, residual)).sum())
