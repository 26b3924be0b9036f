"""The runs of label_efficiency.py: videos, judge, pre-trained and adapted models, and what is kept of them.

All of it by the commands that a person would type, in one folder, and all of it goes on after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cpu_seconds import CountingWorkspace
from inverse_dynamics import BEFORE, InverseDynamics, action_r2, train_judge
from kept_record import check_settings, keep_files
from label_efficiency_protocol import (
    AHEAD,
    FRAMES,
    JUDGE_VIDEOS,
    LEARNERS,
    POLICY,
    PRESET,
    RECORD,
    SEEN,
    TASK,
    Scale,
    adapted_path,
    adapting_changes,
    kept_runs,
    pretrained_path,
    pretraining_changes,
)
from label_efficiency_times import Times
from safetensors.torch import load_file, save

from ipv_bench.atomic_file import with_nulls, write_bytes, write_json
from ipv_bench.checkpoint_index import find_checkpoint
from ipv_bench.run_record import read_record
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import MANIFEST_FILE, file_sha256
from models.adapting.config import adapt_config_class
from models.adapting.labelled_training import LabelledBatch
from models.adapting.validation import ActionValidation, validate_actions
from models.analysis.loaded_model import open_models
from models.latent_actions.measure import Labels, LatentActionModel, measure_latent_actions
from models.methods.base import adaptation_of, find_method
from models.metrics.latent_actions import latent_action_report
from models.metrics.ratios import copy_ratio, shuffle_ratio
from models.pretraining.config import ValidationConfig
from models.training.checkpoint import load_checkpoint
from models.training.module_tensors import load_tensors


class TrainingWorkspace(CountingWorkspace):
    """A workspace whose runs are asked for whether they are done."""

    def finished(self, path: Path) -> bool:
        """Whether a run is there and done."""
        return (self.folder / path / "run.json").is_file() and read_record(self.folder / path).status == "finished"


def make_all_videos(scale: Scale, space: TrainingWorkspace) -> None:
    """The labelled sets to train on and to judge by."""
    for name, count, seed in (("train", scale.videos, 0), ("held-out", scale.held_out, 1)):
        make_videos(space, name, count, seed)


def make_videos(space: TrainingWorkspace, name: str, count: int, seed: int) -> None:
    """Record and prepare a labelled set."""
    if (space.folder / "shards" / name / "manifest.json").is_file():
        return
    settings = [word for value in RECORD for word in ("--set", value)]
    space.command(
        "record", TASK, "--policy", POLICY, "--episodes", str(count), "--seed", str(seed), "--out", f"raw/{name}",
        *settings,
    )  # fmt: skip
    space.command("prepare", "episodes", "--source", f"raw/{name}", "--out", f"shards/{name}")


def the_judge(scale: Scale, space: TrainingWorkspace) -> InverseDynamics:
    """The judge of the workspace, trained when it is first asked for; one of another training does not count."""
    path = judge_file(scale, space)
    if not path.is_file():
        batch = videos_of(space, "train", JUDGE_VIDEOS, 0, FRAMES)
        write_bytes(path, save(train_judge(batch.frames, batch.action, scale.judge_updates).state_dict()))
    weights = load_file(path)
    judge = InverseDynamics(len(weights["dense.2.bias"]))
    judge.load_state_dict(weights)
    return judge.eval()


def judge_file(scale: Scale, space: TrainingWorkspace) -> Path:
    """Where the judge's weights lie."""
    return space.folder / f"judge-{min(JUDGE_VIDEOS, scale.videos)}-videos-{scale.judge_updates}-updates.safetensors"


def seen(scale: Scale, space: TrainingWorkspace) -> dict[str, str]:
    """sha256 of the videos' manifests and of the judge: runs of other ones are no pairs."""
    sets = {name: space.folder / "shards" / name / MANIFEST_FILE for name in ("train", "held-out")}
    return {name: file_sha256(path) for name, path in {**sets, "judge": judge_file(scale, space)}.items()}


def videos_of(space: TrainingWorkspace, name: str, count: int, start: int, length: int) -> LabelledBatch:
    """The same frames of each of the first `count` videos of a set, with the actions that led into them."""
    source = open_segments(space.folder / "shards" / name, FRAMES, 0).sources[0]
    chosen = [int(video) for video in sorted(source.videos)[:count]]
    frames = np.stack([source.frames(video, start, length) for video in chosen])
    action = np.stack([source.tracks(video, start, length, ("action",))["action"] for video in chosen])
    return LabelledBatch(frames, action.astype(np.float32))


def held_out(scale: Scale, space: TrainingWorkspace) -> LabelledBatch:
    """The middle of each held-out video: frames (N, T, H, W, 3) and actions (N, T, A), T = seen and predicted ones."""
    return videos_of(space, "held-out", scale.held_out, (FRAMES - SEEN - AHEAD) // 2, SEEN + AHEAD)


def check_same_world(scale: Scale, space: TrainingWorkspace) -> None:
    """Before anything is trained: this workspace has the videos and the judge of the runs that are kept.

    Raises:
        SystemExit: it has not; says which.
    """
    kept = next((result["seen"] for *_, result in kept_runs(scale) if "seen" in result), None)
    own = seen(scale, space)
    if kept is not None and kept != own:
        others = sorted(name for name in own if own[name] != kept.get(name))
        raise SystemExit(
            f"{space.folder} has other files than the kept runs saw: {', '.join(others)}; runs of two worlds are no "
            "pairs: bring shards/ and the judge's file of the first workspace here, or move the kept runs away"
        )


def pretrain(scale: Scale, space: TrainingWorkspace, path: Path, name: str, seed: int, times: Times) -> None:
    """Make, or go on with, a pre-trained model, and keep what is said of it.

    Raises:
        OutOfTimeError: the minutes are over.
        SystemExit: the run that is there has other settings.
    """
    learner = LEARNERS["prelar" if name == "scratch" else name]
    changes = pretraining_changes(learner, scale, times)
    if not space.finished(path):
        space.train(path, "pretrain", "--preset", PRESET, "--data", "shards/train", "--seed", str(seed), *_set(changes))
    check_settings(space.folder / path, changes)
    if not (scale.kept / path / "result.json").is_file():
        facts = {"cpu_seconds": space.cpu_seconds(path), **latent_verdict(space, path, scale)}
        keep(scale, space, path, facts)


def adapt(scale: Scale, space: TrainingWorkspace, name: str, labels: int, seed: int) -> None:
    """Make, or go on with, an adapted model; judge it; keep what is said of it.

    Raises:
        OutOfTimeError: the minutes are over.
        SystemExit: the run that is there has other settings.
    """
    path, changes = adapted_path(name, labels, seed), adapting_changes(name, labels, scale)
    if not space.finished(path):
        parent = str(pretrained_path(name, seed))
        space.train(path, "adapt", parent, "--data", "shards/train", "--seed", str(seed), *_set(changes))
    check_settings(space.folder / path, changes)
    facts = {"cpu_seconds": space.cpu_seconds(path), "seen": seen(scale, space), **judged(scale, space, path)}
    keep(scale, space, path, facts)


def _set(changes: Sequence[str]) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


def keep(scale: Scale, space: TrainingWorkspace, path: Path, facts: dict[str, Any]) -> None:
    """Copy a finished run's record to where it is kept, with a result beside it that says that all is there; null is
    kept of a measure that is not finite."""
    keep_files(space.folder / path, scale.kept / path, ["run.json"])
    write_json(scale.kept / path / "result.json", with_nulls(facts))


def latent_verdict(space: TrainingWorkspace, path: Path, scale: Scale) -> dict[str, Any]:
    """Of a pre-trained model with latent actions: what `pretrain` prints at a validation, on the held-out videos."""
    model = open_models([space.folder / path], torch.device("cpu"))[0].model
    if not isinstance(model, LatentActionModel):
        return {}
    batch = held_out(scale, space)
    labels = Labels(batch.action, None, np.arange(len(batch.action)))
    evidence = measure_latent_actions(model, batch.frames, SEEN, torch.device("cpu"), 0, labels=labels)
    return {"latent_actions": latent_action_report(evidence).metrics("")}


def judged(scale: Scale, space: TrainingWorkspace, path: Path) -> dict[str, Any]:
    """The measures of an adapted model on the held-out videos; errors by the number of frames ahead."""
    batch = held_out(scale, space)
    config = ValidationConfig(warmup=SEEN, strips=len(batch.frames))  # all predictions are kept, for the judge
    found = validate_actions(adapted_model(space.folder / path), batch, config, 0)
    if found.prediction.shape != batch.frames.shape:
        raise ValueError(f"{path} predicts frames {found.prediction.shape[2:4]}, all methods are judged at 64 x 64")
    judge, first = the_judge(scale, space), SEEN - BEFORE
    actions = batch.action[:, first:]
    predicted = np.concatenate([batch.frames[:, first:SEEN], found.prediction[:, SEEN:]], 1)
    return {
        **_in_features(found),
        "error": float(found.error[:, -1].mean()),
        "copy_ratio": float(copy_ratio(found.error, found.copy_error)),
        "shuffle_ratio": float(shuffle_ratio(found.error, found.shuffled_error)),
        "action_r2": action_r2(judge, predicted, actions),
        "action_r2_of_true_frames": action_r2(judge, batch.frames[:, first:], actions),
        "error_by_step": found.error.mean(0).tolist(),
        "copy_error_by_step": found.copy_error.mean(0).tolist(),
        "shuffled_error_by_step": found.shuffled_error.mean(0).tolist(),
    }


def _in_features(found: ActionValidation) -> dict[str, Any]:
    """The ratios of a model that predicts features: its decoder need not draw what moves."""
    return {} if found.features is None else {
        name.removeprefix("validation_"): value for name, value in found.features.metrics().items()
    }  # fmt: skip


def adapted_model(run: Path) -> Any:
    """The model of a run of `adapt`, as it was trained: an `ActionModel`."""
    record, checkpoint = read_record(run), load_checkpoint(find_checkpoint(run))
    facts = (record.model_extra or {})["adaptation"]
    config = adapt_config_class(record.method).model_validate(record.config)
    adaptation = adaptation_of(find_method(record.method))
    model = adaptation.model(
        config, facts["action_dim"], record.seed, torch.device("cpu"), facts["parts"], None
    )  # fmt: skip
    load_tensors(model, checkpoint.model, checkpoint.path)
    return model
