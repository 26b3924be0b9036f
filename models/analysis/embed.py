"""`ipv-bench analyze embed`: mean states of labelled clips; do they know the motion, and do they know the background?

As in ContextWM's Figure 8b: states averaged over a clip, drawn by t-SNE; and what no picture shows: linear probes
with cross-validation over videos, silhouettes, and beside each the level that labels shuffled among the videos reach.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from pydantic import Field

from ipv_bench.analysis_record import AnalysisRecord
from ipv_bench.errors import InputError
from ipv_bench.progress import say
from ipv_bench.seeding import derive_seed, numpy_generator
from models.analysis.analyses import AnalysisRequest
from models.analysis.clips import ClipSet, open_clips
from models.analysis.config import AnalysisConfig, resolve_analysis
from models.analysis.draws import clip_draws
from models.analysis.estimates import estimated_mean
from models.analysis.loaded_model import AnalysedModel, choose_analysis_device, has_states, open_models
from models.analysis.output import AnalysisOutput, Arrays
from models.analysis.per_model import each_model
from models.analysis.told_actions import action_notes, told_actions
from models.analysis.truth import UNKNOWN, clip_truth, truth_facts
from models.metrics.probes import balanced_weights, linear_probe, silhouettes, two_dimensions
from models.training.hardware import prepare_torch

Numbers = np.ndarray


class EmbedConfig(AnalysisConfig):
    """Fields of `embed` beside those of every analysis."""

    split: str | None = "all"
    """Split of the sets. `all` by default: no label enters the training, and the probe is fitted and asked on different
    videos; null: those that the runs did not train on."""
    per_label: int | None = Field(200, ge=2)
    """At most this many videos of a label, chosen by a hash of their ids; null: all."""
    folds: int = Field(5, ge=2)
    """Parts of the probes' cross-validation over videos; fewer where a label has fewer videos."""
    probe_strength: float = Field(10.0, gt=0)
    """Inverse of the probes' ridge penalty, on features whose squares sum to about one."""
    shuffles: int = Field(5, ge=1)
    """How often labels are shuffled among the videos, for the level that chance reaches."""
    truth: str | None = None
    """`sample_truth.json` of the release that the set was made from: the backgrounds."""


MAX_LABELS = 20
"""More labels than that have to be chosen: nobody can tell so many colours apart."""


def embed(request: AnalysisRequest) -> AnalysisRecord:
    """Analyse the models of `request` and write what their states know."""
    config = resolve_analysis(EmbedConfig, request)
    device = choose_analysis_device(config.device)
    prepare_torch(device, config.threads)
    models = open_models(request.runs, device)
    _check_states(models)
    notes: list[str] = []
    clips = _labelled_clips(open_clips(config, models, request.seed), config, notes)
    notes += action_notes(models, clips)
    facts = truth_facts(config.truth)
    output = AnalysisOutput(request.folder, request.kind, config, models, clips, request.seed, facts)
    done = output.finished()
    if done is not None:
        return done
    truth = clip_truth(clips, config.truth, notes)

    def states(model: AnalysedModel, first: int, frames: np.ndarray) -> Arrays:
        return {"state": mean_states(model, clips, first, frames, request.seed)}

    found = each_model(output, "embed", models, clips, config.batch_size, states)
    names = sorted(set(clips.labels))
    labels = np.array([names.index(label) for label in clips.labels])
    arrays: dict[str, np.ndarray] = {"label": labels, "background": truth.backgrounds, "video": clips.videos}
    numbers: dict[str, Any] = {"labels": names, "models": {}}
    points = []
    for model, values in zip(models, found, strict=True):
        state = values["state"].astype(np.float64)
        points.append(two_dimensions(state, request.seed))
        numbers["models"][model.label] = {
            "label": _knowledge(state, labels, clips.videos, config, request.seed),
            "background": _background(state, truth.backgrounds, clips.videos, config, request.seed),
        }
    if (truth.backgrounds == UNKNOWN).all():
        notes.append("what the states know of the background cannot be told without ground truth (--set truth=FILE)")
    arrays |= {"points": np.stack(points), "label_names": np.array(names)}
    arrays |= {f"state_{number}": values["state"] for number, values in enumerate(found)}  # sizes may differ
    verdicts = [_verdict(label, found) for label, found in numbers["models"].items()]
    say("\n".join(verdicts))
    return output.finish(arrays, numbers=numbers, verdicts=verdicts, notes=notes)


def _check_states(models: list[AnalysedModel]) -> None:
    for model in models:
        if not has_states(model.model):
            raise InputError(
                f"{model.label}: a model of {model.record.method} has no states to be averaged",
                expected="a world model with a recurrent state",
                fix=f"leave {model.run} out",
            )


def _labelled_clips(clips: ClipSet, config: EmbedConfig, notes: list[str]) -> ClipSet:
    """The clips of labels that can be told apart.

    Raises:
        InputError: fewer than two labels, too many of them, or a label with a single video.
    """
    label_of = {(clip.source, clip.video): clip.label for clip in clips.clips}
    counts = Counter(label for label in label_of.values() if label)
    if config.labels is None and len(counts) > MAX_LABELS:
        most = ", ".join(repr(label) for label, _ in counts.most_common(4))
        raise InputError(
            f"the clips have {len(counts)} labels",
            expected=f"at most {MAX_LABELS}, or a choice",
            fix=f"choose some, as in --set 'labels=[\"Holding something\", …]'; the most frequent: {most}",
        )
    alone = sorted(label for label, count in counts.items() if count < 2)
    kept = [label for label in counts if label not in alone]
    if alone and config.labels is not None:
        raise InputError(
            f"only one video of the label {alone[0]!r} is long enough",
            expected="two or more of each: a probe is asked on videos that it was not fitted on",
            fix=f"leave the label out, ask for shorter clips than length={config.length}, or prepare more videos",
        )
    if len(kept) < 2:
        found = f"{len(kept)} label{'s' * (len(kept) != 1)} with two videos or more" if counts else "no labels"
        raise InputError(
            f"the clips have {found}",
            expected="two labels or more, each with two videos or more",
            fix="name a labelled shard set with --data, more labels with --set labels=[…], or shorter clips "
            f"than length={config.length}",
        )
    if alone:
        notes.append(f"left out, since only one video of them is long enough: {', '.join(alone)}")
    return clips.of_labels(kept, config.per_label)


def mean_states(model: AnalysedModel, clips: ClipSet, first: int, frames: np.ndarray, seed: int) -> np.ndarray:
    """(n, F) states of clips from `first` on, mean over time; a model that takes actions is told the set's."""
    images = torch.from_numpy(frames).to(model.device)
    draws = clip_draws(model, clips.clips[first : first + len(frames)], clips.length, seed, "embed")
    told = told_actions(model, clips, range(first, first + len(frames)))
    states: torch.Tensor = model.model.features(images, draws, **told)  # (n, T, F)
    return states.mean(1).float().cpu().numpy()


def _knowledge(state: Numbers, classes: Numbers, videos: Numbers, config: EmbedConfig, seed: int) -> dict[str, Any]:
    """What states know of classes: the probe's balanced accuracy and the silhouette, beside what chance reaches."""
    count = len(np.unique(classes))
    weights = balanced_weights(classes)
    probe = linear_probe(state, classes, videos, seed, folds=config.folds, strength=config.probe_strength)
    accuracy = estimated_mean((probe.answers == classes).astype(float), videos, seed, weights)
    silhouette = estimated_mean(silhouettes(state, classes), videos, seed)
    shuffled, near = [], []
    for number in range(config.shuffles):
        other = shuffled_classes(classes, videos, seed, number)
        answers = linear_probe(state, other, videos, seed, folds=config.folds, strength=config.probe_strength).answers
        shuffled.append(float(np.average(answers == other, weights=balanced_weights(other))))
        near.append(float(silhouettes(state, other).mean()))
    return {
        "accuracy": accuracy.values(chance=1 / count, shuffled=float(np.mean(shuffled))),
        "silhouette": silhouette.values(chance=0.0, shuffled=float(np.mean(near))),
        "classes": count, "clips": len(classes), "videos": len(np.unique(videos)), "folds": probe.folds,
    }  # fmt: skip


def shuffled_classes(classes: Numbers, videos: Numbers, seed: int, number: int) -> Numbers:
    """Classes dealt out anew among the videos: clips of one video keep a common class."""
    _, first, place = np.unique(videos, return_index=True, return_inverse=True)
    of_videos = numpy_generator(seed, number, "shuffled labels").permutation(classes[first])
    return np.asarray(of_videos[place])


def _background(
    state: Numbers, backgrounds: Numbers, videos: Numbers, config: EmbedConfig, seed: int
) -> dict[str, Any] | None:
    """The same for backgrounds of two videos or more; None where fewer than two are known."""
    kinds = np.unique(backgrounds[backgrounds != UNKNOWN])
    kept = [kind for kind in kinds if len(np.unique(videos[backgrounds == kind])) >= 2]
    if len(kept) < 2:
        return None
    chosen = np.isin(backgrounds, kept)
    return _knowledge(state[chosen], backgrounds[chosen], videos[chosen], config, derive_seed(seed, 0, "background"))


def _verdict(label: str, found: dict[str, Any]) -> str:
    texts = []
    for what in ("label", "background"):
        if found[what] is not None:
            value = found[what]["accuracy"]
            texts.append(
                f"{what} {value['point']:.0%} [{value['low']:.0%}, {value['high']:.0%}], chance {value['chance']:.0%}"
            )
    silhouette = found["label"]["silhouette"]
    texts.append(f"silhouette of labels {silhouette['point']:.2f} [{silhouette['low']:.2f}, {silhouette['high']:.2f}]")
    return f"{label}: a linear probe reads from the mean state: " + "; ".join(texts)
