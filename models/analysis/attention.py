"""`ipv-bench analyze attention`: what the decoder looks at in its context frame, and whether that follows what moves.

As in ContextWM's Appendix C.5: weights over the 16 x 16 map of the context frame without masking, mean over heads and
over the positions of a small target region.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from ipv_bench.analysis_record import AnalysisRecord, Picture
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import InputError, IpvBenchError
from ipv_bench.plugins import plugin_names
from ipv_bench.progress import say
from models.analysis.action_sources import ActionDriver, read_actions
from models.analysis.analyses import AnalysisRequest
from models.analysis.clip_predictions import predict_clips
from models.analysis.clips import Clip, ClipSet, open_clips
from models.analysis.columns import spread_columns
from models.analysis.config import AnalysisConfig, check_columns, resolve_analysis
from models.analysis.context_attention import attention_map, has_attention, recorded_attention
from models.analysis.draws import clip_draws
from models.analysis.estimates import Estimate, estimated_mean
from models.analysis.loaded_model import AnalysedModel, choose_analysis_device, open_models
from models.analysis.output import AnalysisOutput, Arrays
from models.analysis.per_model import each_model
from models.analysis.regions import (
    REGION,
    Target,
    around,
    centre,
    check_target,
    clip_regions,
    peak,
    region_weights,
)
from models.analysis.strips import Row, boxed, heat_frames, strip_png
from models.analysis.told_actions import action_notes, told_source
from models.analysis.truth import ClipTruth, clip_truth, truth_facts
from models.methods.base import find_method
from models.training.hardware import prepare_torch


class AttentionConfig(AnalysisConfig):
    """Fields of `attention` beside those of every analysis."""

    observed: int = Field(15, ge=1)
    """Frames that the model sees; the rest is predicted open loop. The context frame is the last of them."""
    target: Target = (0, 0, REGION)
    """Region of the decoder's map whose attention is drawn: [x, y, size] in positions of the map from its left upper
    corner (Figure 8a: that corner); `motion`: where most changes in the clip; `object`: where the object is in each
    frame, by the ground truth."""
    truth: str | None = None
    """`sample_truth.json` of the release that the set was made from, for the number and for `target=object`."""
    shown: int = Field(4, ge=1)
    """Clips that are drawn."""
    columns: list[int] | None = None
    """Frames that the strips show, from 0; unset: ten, spread over the clip."""

    @model_validator(mode="after")
    def _check(self) -> AttentionConfig:
        if self.observed > self.length:
            raise RefusedValueError(
                f"observed={self.observed} of length={self.length} frames",
                expected=f"observed of at most {self.length}",
                fix=f"set observed={self.length} or less, or a larger length",
            )
        check_columns(self.columns, self.length)
        if self.target == "object" and self.truth is None:
            raise RefusedValueError(
                "target=object, and truth, which says where the object is, is not set",
                expected="`sample_truth.json` of the release that the set was made from",
                fix="set truth=FILE, or target=motion",
            )
        return self

    @property
    def context(self) -> int:
        """Number of the context frame."""
        return self.observed - 1


def attention(request: AnalysisRequest) -> AnalysisRecord:
    """Analyse the models of `request` and write what their decoders look at."""
    config = resolve_analysis(AttentionConfig, request)
    device = choose_analysis_device(config.device)
    prepare_torch(device, config.threads)
    models = open_models(request.runs, device, {"context.frame": "last", "context.mask_at_eval": False})
    notes: list[str] = []
    looking = _with_attention(models, notes)
    clips = open_clips(config, models, request.seed)
    facts = truth_facts(config.truth)
    output = AnalysisOutput(request.folder, request.kind, config, models, clips, request.seed, facts)
    done = output.finished()
    if done is not None:
        return done
    side = _side(looking)
    check_target(config.target, side)
    drivers = {model.label: ActionDriver(model, told_source(model, clips)) for model in models}
    notes += action_notes(models, clips)
    truth = clip_truth(clips, config.truth, notes)

    def look(model: AnalysedModel, first: int, frames: np.ndarray) -> Arrays:
        end, driver = first + len(frames), drivers[model.label]
        shown = max(0, min(config.shown - first, len(frames)))
        tracks = read_actions(clips, [driver.source], first, end)
        batch = _Batch(model, frames, clips.clips[first:end], tracks, request.seed)
        if model not in looking:
            return {"prediction": batch.predictions(driver, config.observed, shown)}
        return _look(batch, driver, truth.positions[first:end], config, side, shown)

    found = each_model(output, "attention", models, clips, config.batch_size, look)
    shown = clips.read(0, config.shown)
    arrays = _arrays(config, models, looking, found, shown, truth, side)
    numbers, verdicts = _follows(looking, arrays, clips, truth, config, request.seed)
    numbers["clips"] = clips.describe()[: config.shown]
    say("\n".join(verdicts))
    return output.finish(
        arrays, numbers=numbers, verdicts=verdicts, notes=notes, pictures=_pictures(config, models, looking, arrays)
    )


class _Batch:
    """Clips of one pass of a model: their frames (n, T, H, W, 3), and the set's actions (n, T, A) if it takes any."""

    def __init__(
        self, model: AnalysedModel, frames: np.ndarray, clips: Sequence[Clip], tracks: np.ndarray | None, seed: int
    ) -> None:
        self.model, self.clips, self.tracks, self.seed = model, clips, tracks, seed
        self.images = torch.from_numpy(frames).to(model.device)

    def actions(self, driver: ActionDriver) -> Tensor | None:
        """What the model predicts under; None: nothing, zeros, or latent actions of its own."""
        return driver.actions(self.images, self.tracks) if driver.source == "real" else None

    def predictions(self, driver: ActionDriver, observed: int, shown: int) -> np.ndarray:
        """The first `shown` clips as a model without attention predicts them: uint8 (shown, T, H, W, 3)."""
        actions = self.actions(driver)
        clips = self.clips[:shown]
        return _pixels(predict_clips(driver, self.images, clips, actions, observed, self.seed, "attention"))


@torch.no_grad()
def _look(
    batch: _Batch, driver: ActionDriver, places: np.ndarray, config: AttentionConfig, side: int, shown: int
) -> Arrays:
    """Predictions of the first `shown` clips; their heat maps, and where the object's attention goes in all of them."""
    frames, model, actions = batch.images, batch.model, batch.actions(driver)
    draws = clip_draws(model, batch.clips, frames.shape[1], batch.seed, "attention", config.observed)
    led = {} if actions is None else {"action": actions}
    with recorded_attention(model.model) as records:
        predicted = model.model.open_loop(frames, config.observed, draws=draws, **led)  # (n, T, 3, H, W)
    weights = torch.cat(records).numpy().reshape(*frames.shape[:2], side**2, side**2)  # [clip, time, from, to]
    regions = clip_regions(config.target, frames.cpu().numpy(), places, side)
    heat = _looked_at(weights[:shown], regions[:shown], side)
    known = ~np.isnan(places).any((1, 2))
    asked = around(np.where(known[:, None, None], places, 0.5), side)
    maps = _looked_at(weights, asked, side)  # (n, T, side, side)
    unknown = ~known[:, None, None]
    return {
        "prediction": _pixels(predicted[:shown]),
        "heat": heat.astype(np.float32),
        "target": regions[:shown],
        "attention_centre": np.where(unknown, np.nan, centre(maps)),
        "attention_peak": np.where(unknown, np.nan, peak(maps)),
    }


def _pixels(predicted: Tensor) -> np.ndarray:
    """(n, T, 3, H, W) in [0, 1] as uint8 (n, T, H, W, 3)."""
    return np.asarray((predicted.movedim(-3, -1) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())


def _looked_at(weights: np.ndarray, regions: np.ndarray, side: int) -> np.ndarray:
    """Weights over the context frame, mean over a region's positions: (n, T, side, side)."""
    asked = region_weights(regions, side).astype(weights.dtype)
    return np.asarray(np.einsum("ntq,ntqk->ntk", asked, weights).reshape(*weights.shape[:2], side, side))


def _arrays(
    config: AttentionConfig,
    models: list[AnalysedModel],
    looking: list[AnalysedModel],
    found: list[dict[str, Any]],
    shown: np.ndarray,
    truth: ClipTruth,
    side: int,
) -> dict[str, np.ndarray]:
    """All arrays; axes: models (with attention: `looking`), clips, time."""
    seeing = [values for model, values in zip(models, found, strict=True) if model in looking]
    arrays = {
        name: np.stack([values[name] for values in seeing]) for name in ("heat", "attention_centre", "attention_peak")
    }
    arrays |= {
        "prediction": np.stack([values["prediction"] for values in found]),
        "truth": shown,
        "target": seeing[0]["target"],
        "position": truth.positions,
        "context": np.array(config.context),
        "observed": np.array(config.observed),
        "side": np.array(side),
        "looking": np.array([number for number, model in enumerate(models) if model in looking]),
        "boxed": _boxed(shown, seeing[0]["target"], side),
        "overlay": _overlay(shown[:, config.context], arrays["heat"]),
        "columns": np.array(config.columns or spread_columns(config.length, 10, config.context)),
    }
    return arrays


def _follows(
    looking: list[AnalysedModel],
    arrays: dict[str, np.ndarray],
    clips: ClipSet,
    truth: ClipTruth,
    config: AttentionConfig,
    seed: int,
) -> tuple[dict[str, Any], list[str]]:
    """Distances in pixels from the object's true place in the context frame, mean over the predicted frames."""
    if not truth.known.any():
        return {}, ["whether the attention follows what moves cannot be told without ground truth (--set truth=FILE)"]
    later = np.arange(config.length) >= config.observed if config.observed < config.length else _other(config)
    place, size = truth.positions, looking[0].image_size
    source = place[:, config.context, None]  # (N, 1, 2)
    frames = "predicted frames" if config.observed < config.length else "frames other than the context frame"

    def distance(to: np.ndarray) -> Estimate:
        away = np.linalg.norm(to - source, axis=-1)[:, later].mean(1) * size
        return estimated_mean(away, clips.videos, seed)

    baselines = {"identity": distance(place), "uniform": distance(np.full_like(place, 0.5))}
    numbers: dict[str, Any] = {name: value.values() for name, value in baselines.items()}
    numbers |= {"unit": "pixels", "frames": frames, "models": {}}
    verdicts = []
    for number, model in enumerate(looking):
        centres, peaks = (distance(arrays[name][number]) for name in ("attention_centre", "attention_peak"))
        nearer = _nearer(arrays["attention_centre"][number], place, source, later, size, clips, seed)
        numbers["models"][model.label] = {
            "centre": centres.values(), "peak": peaks.values(), "identity_minus_centre": nearer.values()
        }  # fmt: skip
        word = "follows" if nearer.low > 0 else "does not follow" if nearer.high < 0 else "may or may not follow"
        verdicts.append(
            f"{model.label}: attention {word} the object: {centres} pixels from where it was in the context frame "
            f"(peak {peaks}; looking at the same place {baselines['identity']}; everywhere {baselines['uniform']})"
        )
    return numbers, verdicts


def _nearer(
    centres: np.ndarray, place: np.ndarray, source: np.ndarray, later: np.ndarray, size: int, clips: ClipSet, seed: int
) -> Estimate:
    """By how many pixels the attention's centre is nearer to the source than the object's own place, clip by clip."""
    same, attention = (np.linalg.norm(to - source, axis=-1)[:, later].mean(1) for to in (place, centres))
    return estimated_mean((same - attention) * size, clips.videos, seed)


def _other(config: AttentionConfig) -> np.ndarray:
    return np.asarray(np.arange(config.length) != config.context)


def _boxed(clips: np.ndarray, targets: np.ndarray, side: int) -> np.ndarray:
    """Clips (S, T, H, W, 3) with boxes around their target regions (S, T, 3)."""
    pixels = clips.shape[2] / side
    pairs = zip(clips, targets, strict=True)
    return np.stack([[boxed(f, _box(at, pixels)) for f, at in zip(*pair, strict=True)] for pair in pairs])


def _overlay(context: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Heat maps (L, S, T, side, side) over the context frames (S, H, W, 3): (L, S, T, H, W, 3)."""
    return heat_frames(np.broadcast_to(context[None, :, None], (*heat.shape[:3], *context.shape[1:])), heat)


def _pictures(
    config: AttentionConfig, models: list[AnalysedModel], looking: list[AnalysedModel], arrays: dict[str, np.ndarray]
) -> list[tuple[Picture, bytes]]:
    """A strip per shown clip: truth; per model its prediction and, where it has one, its attention."""
    pictures, columns = [], arrays["columns"].tolist()
    seen = sum(column < config.observed for column in columns)
    for clip, truth in enumerate(arrays["boxed"]):
        rows = [Row("truth", truth[columns])]
        for number, model in enumerate(models):
            predicted = arrays["prediction"][number, clip][None]
            framed = _boxed(predicted, arrays["target"][clip][None], int(arrays["side"]))[0]
            rows.append(Row(model.label, framed[columns]))
            if model in looking:
                rows.append(Row(f"{model.label} · attention", arrays["overlay"][looking.index(model), clip, columns]))
        caption = (
            f"Frames {', '.join(map(str, columns))}, counted from 0; {config.observed} are seen (green), the others "
            f"predicted open loop (red). Attention over the context frame, {config.context}, from the box."
        )
        picture = Picture(file=f"attention-{clip}.png", title=f"Clip {clip}", caption=caption)
        pictures.append((picture, strip_png([rows], seen, zoom=2)))
    return pictures


def _box(region: np.ndarray, pixels: float) -> tuple[float, float, float, float]:
    left, top, size = (float(value) * pixels for value in region)
    return left, top, left + size, top + size


def _with_attention(models: list[AnalysedModel], notes: list[str]) -> list[AnalysedModel]:
    """The models whose decoder attends to a context frame; of the others only predictions are drawn.

    Raises:
        InputError: none does; the methods that have one are named.
    """
    looking = [model for model in models if has_attention(model.model)]
    others = [model.label for model in models if model not in looking]
    if not looking:
        names = ", ".join(_methods_with_attention())
        raise InputError(
            f"the decoder of {', '.join(others)} attends to no context frame",
            expected=f"a run of a method that has a context encoder and cross-attention: {names}",
            fix=f"name such a run, made by `ipv-bench pretrain --set method={names.partition(',')[0]}`",
        )
    if others:
        notes.append(f"no context attention, only predictions: {', '.join(others)}")
    return looking


def _methods_with_attention() -> list[str]:
    found = []
    for name in plugin_names("methods"):
        try:
            values = getattr(find_method(name).agent_config, "method_values", {})
        except IpvBenchError:  # another package's, and it does not work: it is not what was asked for
            continue
        if values.get("context.fusion") == "cross_attention":
            found.append(name)
    return found


def _side(looking: list[AnalysedModel]) -> int:
    """Side of the models' map, in positions.

    Raises:
        InputError: it is not the same in all of them.
    """
    sides = {math.isqrt(module.query_position.shape[0]) for model in looking if (module := attention_map(model.model))}
    if len(sides) > 1:
        raise InputError(
            f"the models' maps have sides of {sorted(sides)}",
            expected="one side in all of them",
            fix="analyse them one after the other",
        )
    return sides.pop()
