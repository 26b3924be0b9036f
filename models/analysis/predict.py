"""`ipv-bench analyze predict`: how well videos are predicted open loop, against copying the last frame."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field, model_validator

from ipv_bench.analysis_record import AnalysisRecord
from ipv_bench.progress import progress, say
from ipv_bench.seeding import derive_seed
from models.analysis.analyses import AnalysisRequest
from models.analysis.clips import open_clips
from models.analysis.config import AnalysisConfig, resolve_analysis
from models.analysis.loaded_model import AnalysedModel, choose_analysis_device, open_models
from models.analysis.output import AnalysisOutput
from models.metrics.image_quality import mean_squared_error
from models.metrics.ratios import copy_ratio
from models.training.hardware import prepare_torch


class PredictConfig(AnalysisConfig):
    """Fields of `predict` beside those of every analysis."""

    observed: int = Field(15, ge=1)
    """Frames that the model sees; the rest is predicted open loop. The context frame is the last of them."""

    @model_validator(mode="after")
    def _something_to_predict(self) -> PredictConfig:
        if self.observed >= self.length:
            raise ValueError(f"observed={self.observed} leaves nothing to predict of length={self.length}")
        return self


def predict(request: AnalysisRequest) -> AnalysisRecord:
    """Measure the models of `request` and write the analysis."""
    config = resolve_analysis(PredictConfig, request)
    device = choose_analysis_device(config.device)
    prepare_torch(device, config.threads)
    models = open_models(request.runs, device, {"context.frame": "last"})
    clips = open_clips(config, models, request.seed)
    output = AnalysisOutput(request.folder, request.kind, config, models, clips, request.seed)
    done = output.finished()
    if done is not None:
        say(f"{output.folder} is complete: nothing to do")
        return done
    errors = {"mse": [], "copy_mse": []}  # type: dict[str, list[np.ndarray]]
    with progress("predict", len(models) * len(clips), "clips") as bar:
        for first, frames in clips.batches(config.batch_size):
            for model in models:
                part = output.part(f"{model.label} {first}", lambda m=model, f=frames, n=first: _errors(  # type: ignore
                    m, f, config.observed, derive_seed(request.seed, n, "predict")))  # fmt: skip
                for name, values in part.items():
                    errors[name].append(values)
                bar.advance(len(frames))
    arrays = {name: _by_model(values, len(models)) for name, values in errors.items()}
    ratio = copy_ratio(arrays["mse"], arrays["copy_mse"], axis=(1, 2))
    numbers = {model.label: {"copy_ratio": float(value)} for model, value in zip(models, ratio, strict=True)}
    verdicts = [f"{label}: copy ratio {value['copy_ratio']:.2f}" for label, value in numbers.items()]
    say("\n".join(verdicts))
    return output.finish(arrays, numbers=numbers, verdicts=verdicts)


def _by_model(parts: list[np.ndarray], models: int) -> np.ndarray:
    return np.stack([np.concatenate(parts[number::models]) for number in range(models)])


@torch.no_grad()
def _errors(model: AnalysedModel, frames: np.ndarray, observed: int, seed: int) -> dict[str, np.ndarray]:
    images = torch.from_numpy(frames).to(model.device)
    generator = torch.Generator(model.device).manual_seed(seed)
    predicted = model.model.open_loop(images, observed, generator)[:, observed:]
    truth = images.movedim(-1, -3).float() / 255
    future, last = truth[:, observed:], truth[:, observed - 1 : observed]
    return {
        "mse": mean_squared_error(predicted, future).double().cpu().numpy(),
        "copy_mse": mean_squared_error(last.expand_as(future), future).double().cpu().numpy(),
    }
