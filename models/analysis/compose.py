"""`ipv-bench analyze compose`: the dynamics of one clip with the appearance of another, and what survives.

The poster's "compositional decoding" (ContextWM): where context and dynamics are apart, states of clip A decoded with
the context frame of clip B show A's motion in B's scene. For a model without a context path the papers define no such
thing; see `WITHOUT_CONTEXT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field, model_validator

from ipv_bench.analysis_record import AnalysisRecord, Picture
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import InputError
from ipv_bench.progress import say
from ipv_bench.seeding import numpy_generator
from models.analysis.analyses import AnalysisRequest
from models.analysis.clips import ClipSet, open_clips
from models.analysis.columns import spread_columns
from models.analysis.config import AnalysisConfig, check_columns, resolve_analysis
from models.analysis.draws import clip_draws
from models.analysis.estimates import Estimate, estimated_ratio
from models.analysis.loaded_model import AnalysedModel, choose_analysis_device, open_models
from models.analysis.output import AnalysisOutput, Arrays
from models.analysis.per_model import each_model
from models.analysis.strips import Row, strip_png
from models.analysis.told_actions import action_notes, told_actions
from models.analysis.truth import UNKNOWN, ClipTruth, clip_truth, truth_facts
from models.metrics.displacement import displacement, tracked_positions, velocity
from models.metrics.shares import appearance_terms, motion_terms, standing_picture
from models.training.hardware import prepare_torch

WITHOUT_CONTEXT = (
    "no context path, our reading: the state starts as the posterior of B's first frame alone and goes on by the "
    "latents that A's posterior drew"
)
GAP = 2
"""Frames between which a change is seen; see `models.metrics.displacement`."""


class ComposeConfig(AnalysisConfig):
    """Fields of `compose` beside those of every analysis."""

    shown: int = Field(3, ge=1)
    """The picture shows the motions of so many clips in the scenes of as many others."""
    truth: str | None = None
    """`sample_truth.json` of the release that the set was made from: motion is then measured against the true one."""
    columns: list[int] | None = None
    """Frames that the strips show, from 0; unset: six, spread over the clip."""

    @model_validator(mode="after")
    def _check(self) -> ComposeConfig:
        if self.length < 10:
            raise RefusedValueError(
                f"length={self.length} is too short to see a motion", expected="10 or more", fix="set length=10 or more"
            )
        check_columns(self.columns, self.length)
        return self


def compose(request: AnalysisRequest) -> AnalysisRecord:
    """Compose clips of `request` with its models and write how much of either survives."""
    config = resolve_analysis(ComposeConfig, request)
    device = choose_analysis_device(config.device)
    prepare_torch(device, config.threads)
    models = open_models(request.runs, device)
    notes = _readings(models)
    clips = open_clips(config, models, request.seed)
    notes += action_notes(models, clips)
    facts = truth_facts(config.truth)
    output = AnalysisOutput(request.folder, request.kind, config, models, clips, request.seed, facts)
    done = output.finished()
    if done is not None:
        return done
    truth = clip_truth(clips, config.truth, notes)
    partner = partners(clips, truth, request.seed)

    def look(model: AnalysedModel, first: int, frames: np.ndarray) -> Arrays:
        others = clips.at(partner[first : first + len(frames)])
        draws = clip_draws(model, clips.clips[first : first + len(frames)], clips.length, request.seed, "compose")
        shown = max(0, min(config.shown - first, len(frames)))
        told = told_actions(model, clips, range(first, first + len(frames)))
        return _look(model, frames, others, draws, told, shown)

    found = each_model(output, "compose", models, clips, config.batch_size, look)
    sources = _sources(clips, config.batch_size)
    arrays: dict[str, np.ndarray] = {name: np.stack([values[name] for values in found]) for name in found[0]}
    arrays |= sources | {"partner": partner, "position": truth.positions}
    arrays |= _grid(config, models, clips, partner, request.seed)
    arrays["columns"] = np.array(config.columns or spread_columns(config.length, 6))
    numbers, verdicts = _numbers(models, arrays, clips, truth, partner, request.seed)
    say("\n".join(verdicts))
    return output.finish(
        arrays, numbers=numbers, verdicts=verdicts, notes=notes, pictures=_pictures(models, arrays, clips, partner)
    )


def _readings(models: list[AnalysedModel]) -> list[str]:
    """What "compose" means for each model that has no context path.

    Raises:
        InputError: a model cannot be composed at all.
    """
    notes = []
    for model in models:
        if not hasattr(model.model, "compose"):
            raise InputError(
                f"{model.label}: a model of {model.record.method} cannot compose two clips",
                expected="a world model with a recurrent state that is decoded",
                fix=f"leave {model.run} out",
            )
        if not model.model.vision.has_context:
            notes.append(f"{model.label}: {WITHOUT_CONTEXT}")
    return notes


def partners(clips: ClipSet, truth: ClipTruth, seed: int) -> np.ndarray:
    """(N,) for each clip the one whose appearance it gets: of another video, and of another label and background where
    there is one.

    Raises:
        InputError: all clips are of one video.
    """
    videos, labels = clips.videos, np.array(clips.labels)
    if len(np.unique(videos)) < 2:
        raise InputError(
            "all clips are of one video",
            expected="two videos or more: the appearance comes from another one",
            fix="name a larger shard set with --data, or shorter clips with --set length=…",
        )
    chosen = np.empty(len(clips), np.int64)
    for number in range(len(clips)):
        order = numpy_generator(seed, number, "partner").permutation(len(clips))
        unlike = (labels[order] != labels[number]).astype(int)
        known = truth.backgrounds[number] != UNKNOWN
        unlike += (truth.backgrounds[order] != truth.backgrounds[number]) & known
        unlike = np.where(videos[order] == videos[number], -1, unlike)
        chosen[number] = order[unlike.argmax()]
    return chosen


@torch.no_grad()
def _look(
    model: AnalysedModel, frames: np.ndarray, others: np.ndarray, draws: Any, told: Mapping[str, Any], shown: int
) -> Arrays:
    """What moves and what stands still in the compositions of a batch, and in its own reconstructions."""
    pictures = composed(model, frames, others, draws, told)
    found = {"composed": pictures[:shown]}
    for name, clips in (("composed", pictures), ("reconstructed", composed(model, frames, frames, draws, told))):
        found |= {f"{name}_{what}": values for what, values in _measured(clips).items()}
    return found


@torch.no_grad()
def composed(
    model: AnalysedModel, motion: np.ndarray, appearance: np.ndarray, draws: Any, told: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Clips with the motion of some and the appearance of others, all uint8 (n, T, H, W, 3); `told` actions are those
    of `motion`, see `told_actions`."""
    a, b = (torch.from_numpy(frames).to(model.device) for frames in (motion, appearance))
    pictures: torch.Tensor = model.model.compose(a, b, draws, **(told or {}))  # (n, T, 3, H, W)
    return (pictures.movedim(-3, -1) * 255).round().to(torch.uint8).cpu().numpy()


def _measured(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Motion of clips (n, T, H, W, 3) in pixels, by phase correlation and tracked, and what stands still in them."""
    tracks = tracked_positions(frames, GAP)
    return {
        "displacement": displacement(frames, GAP), "track": tracks, "velocity": velocity(tracks),
        "standing": standing_picture(frames).astype(np.float32),
    }  # fmt: skip


def _sources(clips: ClipSet, size: int) -> dict[str, np.ndarray]:
    """The same of the clips themselves."""
    parts = [_measured(frames) for _, frames in clips.batches(size)]
    return {f"source_{name}": np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _grid(
    config: ComposeConfig, models: list[AnalysedModel], clips: ClipSet, partner: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Every shown motion in every shown scene: `grid` (M, motions, scenes, T, H, W, 3)."""
    motions = np.arange(min(config.shown, len(clips)))
    scenes = np.array(list(dict.fromkeys([*partner.tolist(), *range(len(clips))]))[: len(motions)])
    a, b = clips.at(motions), clips.at(scenes)
    rows = []
    for model in models:
        draws = clip_draws(model, clips.clips[: len(motions)], clips.length, seed, "compose")
        told = told_actions(model, clips, motions)
        rows.append(np.stack([composed(model, a, np.repeat(scene[None], len(a), 0), draws, told) for scene in b], 1))
    return {
        "grid": np.stack(rows),
        "grid_motion": a,
        "grid_scene": b[:, 0],
        "grid_motions": motions,
        "grid_scenes": scenes,
    }


def _numbers(
    models: list[AnalysedModel],
    arrays: dict[str, np.ndarray],
    clips: ClipSet,
    truth: ClipTruth,
    partner: np.ndarray,
    seed: int,
) -> tuple[dict[str, Any], list[str]]:
    """Shares of both clips' motion and appearance; 1 for A's motion and B's appearance is all of it."""
    size, known = models[0].image_size, truth.known & truth.known[partner]
    numbers: dict[str, Any] = {"pairs": len(clips), "pairs_with_truth": int(known.sum()), "models": {}}
    verdicts = []

    def share(found: np.ndarray, source: np.ndarray, which: np.ndarray) -> Estimate:
        return estimated_ratio(*motion_terms(found[which], source[which]), clips.videos[which], seed)

    usual = arrays["source_standing"].mean(0, dtype=np.float64)

    def appearance(found: np.ndarray, source: np.ndarray) -> Estimate:
        return estimated_ratio(*appearance_terms(found, source, usual), clips.videos, seed)

    for number, model in enumerate(models):
        values: dict[str, Any] = {"without_context": not model.model.vision.has_context}
        ways = [("displacement", arrays["source_displacement"], np.ones(len(clips), bool))]
        if known.any():
            ways.append(("velocity", truth.velocities() * size, known))
        for what, source, which in ways:
            name = "tracked" if what == "velocity" else "phase_correlation"
            values[name] = {
                "of_a": share(arrays[f"composed_{what}"][number], source, which).values(),
                "of_b": share(arrays[f"composed_{what}"][number], source[partner], which).values(),
                "reconstruction": share(arrays[f"reconstructed_{what}"][number], source, which).values(),
                "clip_itself": share(arrays[f"source_{what}"], source, which).values(),
                "chance": share(arrays[f"source_{what}"][partner], source, which).values(),
            }
        seen, scenes = arrays["composed_standing"][number], arrays["source_standing"]
        values["appearance"] = {
            "of_b": appearance(seen, scenes[partner]).values(),
            "of_a": appearance(seen, scenes).values(),
            "reconstruction": appearance(arrays["reconstructed_standing"][number], scenes).values(),
            "chance": appearance(scenes[partner], scenes).values(),
        }
        numbers["models"][model.label] = values
        verdicts.append(_verdict(model, values))
    return numbers, verdicts


def _verdict(model: AnalysedModel, values: dict[str, Any]) -> str:
    def text(found: dict[str, Any]) -> str:
        return str(Estimate(found["point"], found["low"], found["high"]))

    motion, look = values.get("tracked") or values["phase_correlation"], values["appearance"]
    words = (
        f"{model.label}: {text(motion['of_a'])} of A's motion (reconstruction of A: {text(motion['reconstruction'])}) "
        f"with {text(look['of_b'])} of B's appearance and {text(look['of_a'])} of A's "
        f"(reconstruction of A: {text(look['reconstruction'])})"
    )
    return words + ("; our reading, without a context path" if values["without_context"] else "")


def _pictures(
    models: list[AnalysedModel], arrays: dict[str, np.ndarray], clips: ClipSet, partner: np.ndarray
) -> list[tuple[Picture, bytes]]:
    """Per shown clip: A, B's first frame with the composition of each model."""
    pictures, columns = [], arrays["columns"].tolist()
    for shown in range(arrays["composed"].shape[1]):
        a, b = clips.at([shown])[0], clips.at([partner[shown]])[0]
        rows = [Row("A", a[columns]), Row("B · its first frame", b[[0] * len(columns)])]
        for number, model in enumerate(models):
            rows.append(Row(f"{model.label} · A's motion in B", arrays["composed"][number, shown][columns]))
        ids = clips.clips[shown].video_id, clips.clips[partner[shown]].video_id
        title = f"{clips.labels[shown] or 'clip'} ({ids[0]}), in the scene of {ids[1]}"
        caption = f"Frames {', '.join(map(str, columns))}, counted from 0."
        pictures.append((Picture(file=f"compose-{shown}.png", title=title, caption=caption), strip_png([rows], zoom=2)))
    return pictures
