"""Pairs of neighbouring frames beside what a model makes of them: material for UWM's figures and its Table 1.

A model that has such pictures leaves them in its run folder, as an analysis of kind "pairs" (see
`ipv_bench.analysis_record`): `pairs_before/` before the first update, `pairs/` after the last one. A prediction that
copies the first frame is nearer to its reconstruction than to the next frame's; so distances to both are measured, to
reconstructions, since the decoder blurs predictions and reconstructions alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ipv_bench.analysis_record import ANALYSIS_FILE, ARRAYS_FILE, AnalysedRun, AnalysisRecord
from ipv_bench.atomic_file import write_bytes, write_json
from ipv_bench.npz_file import npz_bytes
from ipv_bench.run_record import RunRecord
from models.metrics.image_quality import mean_squared_error
from models.metrics.lpips import LPIPS, SMALLEST
from models.metrics.lpips_files import Backbone, find_weights
from models.training.begun_run import PAIRS_BEFORE

KIND = "pairs"
BEFORE, AFTER = PAIRS_BEFORE, "pairs"
BACKBONE: Backbone = "alex"
"""Of LPIPS; the paper does not say which."""
FIRST, NEXT = "reconstruction", "next_reconstruction"
PREDICTIONS = ("prediction", "action_prediction")


@runtime_checkable
class PairModel(Protocol):
    """A model that has such pictures."""

    def pair_pictures(self, image: Tensor, action: Tensor | None) -> dict[str, Tensor]:
        """Pictures of pairs uint8 (B, 2, H, W, 3), each (B, 3, H, W) in [0, 1].

        Returns:
            `reconstruction` and `next_reconstruction` of the two frames, `prediction` of the second under the latent
            action inferred from both, and with actions (B, A) `action_prediction` under the real one.
        """


def write_pairs(
    folder: Path, record: RunRecord, model: PairModel, frames: np.ndarray, action: np.ndarray | None, *,
    updates: int, shown: int, device: torch.device, adapted: Mapping[str, Any], batch_size: int = 16,
) -> AnalysisRecord:  # fmt: skip
    """Measure pairs, and write the analysis.

    Args:
        folder: of the analysis; one that is there is replaced.
        record: of the run.
        model: the model; in evaluation mode.
        frames: uint8 (N, 2, H, W, 3), held-out.
        action: (N, A) between the two; None without actions.
        updates: done so far.
        shown: pairs whose pictures are kept.
        device: where the model is.
        adapted: `parts`, what `adapt` trains, and on how much; `parts` is empty in pre-training.
        batch_size: pairs computed at once.
    """
    arrays = measure_pairs(model, frames, action, shown, device, batch_size)
    label = record.display_name or record.method
    lpips = "lpips" if "prediction_lpips_to_next" in arrays else ""
    numbers = _numbers(arrays)
    run = AnalysedRun(
        label=label, line=label, run=str(folder.parent), kind=record.kind, method=record.method,
        display_name=record.display_name, variant=record.variant, seed=record.seed, pretraining=record.pretraining,
        step=updates, checkpoint_sha256="",
    )  # fmt: skip
    found = AnalysisRecord(
        kind=KIND, seed=record.seed, config={"updates": updates, **adapted, "lpips": BACKBONE if lpips else None},
        models=[run], shard_sets=record.shard_sets, numbers={"models": {label: numbers}},
        verdicts=[_verdict(numbers, lpips or "mse")], packages=record.packages,
    )  # fmt: skip
    (folder / ANALYSIS_FILE).unlink(missing_ok=True)  # never half of two analyses
    write_bytes(folder / ARRAYS_FILE, npz_bytes(arrays, compressed=True))
    write_json(folder / ANALYSIS_FILE, found.model_dump(mode="json"))
    return found


@torch.no_grad()
def measure_pairs(
    model: PairModel, frames: np.ndarray, action: np.ndarray | None, shown: int, device: torch.device, batch_size: int
) -> dict[str, np.ndarray]:
    """Pictures of the first `shown` pairs, uint8 (k, H, W, 3), and distances of all predictions, (N,) each."""
    network = _lpips(frames.shape[2], device)
    pictures: dict[str, list[np.ndarray]] = {}
    distances: dict[str, list[np.ndarray]] = {}
    for first in range(0, len(frames), batch_size):
        image = torch.from_numpy(frames[first : first + batch_size]).to(device)
        given = None if action is None else torch.from_numpy(action[first : first + batch_size]).to(device)
        drawn = model.pair_pictures(image, given)
        for name, values in drawn.items():
            kept = values[: max(0, shown - first)]
            pictures.setdefault(name, []).append((kept.movedim(1, -1) * 255).round().to(torch.uint8).cpu().numpy())
        for name in PREDICTIONS:
            for to, other in (("first", FIRST), ("next", NEXT)):
                if name in drawn:
                    pair = drawn[name], drawn[other]
                    found = {"mse": mean_squared_error(*pair)} | ({} if network is None else {"lpips": network(*pair)})
                    for measure, value in found.items():
                        distances.setdefault(f"{name}_{measure}_to_{to}", []).append(value.cpu().numpy())
    arrays = {name: np.concatenate(values) for name, values in pictures.items()}
    arrays |= {name: np.concatenate(values).astype(np.float32) for name, values in distances.items()}
    return arrays | {"observation": frames[:shown, 0], "next_observation": frames[:shown, 1]}


def _lpips(size: int, device: torch.device) -> LPIPS | None:
    """LPIPS, where its weights are found and the frames are large enough for it."""
    path = find_weights(BACKBONE) if size >= SMALLEST[BACKBONE] else None
    return None if path is None else LPIPS.load(path, BACKBONE).to(device)


def _numbers(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Means of distances, and how many predictions are nearer to the next frame than to the first."""
    found: dict[str, Any] = {name: float(value.mean()) for name, value in arrays.items() if "_to_" in name}
    for name in list(found):
        if name.endswith("_to_next"):
            stem = name.removesuffix("_to_next")
            nearer = arrays[name] < arrays[f"{stem}_to_first"]
            found[f"{stem}_nearer_next"] = int(nearer.sum())
    return found | {"pairs": len(arrays["prediction_mse_to_next"])}


def _verdict(numbers: Mapping[str, Any], measure: str) -> str:
    stem = f"prediction_{measure}"
    name = "LPIPS" if measure == "lpips" else "squared error (no LPIPS weights)"
    return (
        f"{name} to the reconstruction of the first frame {numbers[f'{stem}_to_first']:.3g}, of the next one "
        f"{numbers[f'{stem}_to_next']:.3g}; {numbers[f'{stem}_nearer_next']} of {numbers['pairs']} predictions are "
        "nearer to the next"
    )
