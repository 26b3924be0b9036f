"""`ipv-bench adapt`: a model is trained on labelled shard sets, without an environment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.errors import ConfigError, RunError, ShardSetError
from ipv_bench.progress import say
from ipv_bench.run_lock import run_lock
from ipv_bench.run_record import RunRecord, git_commit, read_record
from ipv_bench.segments import Segments, TrackedSegments, check_tracks
from ipv_bench.tracks import ACTION
from models.adapting.action_scale import tell_action_scale
from models.adapting.config import AdaptConfig
from models.adapting.labelled_training import LabelledTraining, action_size
from models.adapting.loop import AdaptLoop
from models.adapting.plan import AdaptPlan, known_start, plan_adapting
from models.methods.base import adaptation_of, find_method
from models.pretraining.config import RESUMABLE_KEYS
from models.pretraining.run_keeping import check_same_run, note_changes, start_record, train_to_the_end
from models.pretraining.video_batches import (
    VideoData,
    check_sizes,
    nothing_held_out,
    open_video_data,
    tell_unread_of_sets,
)
from models.training.begun_run import has_begun
from models.training.checkpoint import load_checkpoint
from models.training.distributed import launched_ranks
from models.training.hardware import choose_device, hardware_record, prepare_torch, settled
from models.training.tracking import check_mirrors
from models.world_models.parent_weights import check_parent


@dataclass(frozen=True)
class LabelledData:
    """What a run trains on and is validated on: `VideoData` whose segments have actions, and the size of an action."""

    videos: VideoData
    action_dim: int


def adapt(parent: str | Path, **options: Any) -> Path:
    """Train, or go on with a run that exists; see `plan_adapting` for the arguments.

    Returns:
        The run folder.

    Raises:
        UsageError: see `plan_adapting`; a wrong key, device or precision; actions that do not fit the model.
        ShardSetError: a shard set is absent, damaged, too small, or has no actions.
        RunError: the folder holds a run of another config, data or parent.
        CheckpointError: a checkpoint is damaged or of another model.
        InterruptedRunError: SIGINT or SIGTERM arrived; the state is saved.
        TrainingError: ten updates in a row were not finite.
    """
    plan = plan_adapting(parent, **options)
    loop = plan.config.training
    check_mirrors(loop.wandb)
    if launched_ranks().world_size > 1:
        raise ConfigError(
            "adapt was started by torchrun",
            expected="one process: labelled sets are small",
            fix="run `ipv-bench adapt` without torchrun",
        )
    device = choose_device(loop.device)
    prepare_torch(device, loop.threads, loop.deterministic)
    asked, plan = plan, replace(plan, resolved=replace(plan.resolved, config=settled(plan.config, device)))
    data = _open_data(plan)
    facts = {"git_commit": git_commit(), "hardware": hardware_record(device)}
    record = plan.record(data.videos.shard_sets, data.action_dim).model_copy(update=facts)
    folder = plan.folder(record)
    if plan.run is None and (known := known_start(parent, folder)) is not None:  # in the usual place
        plan = replace(plan, start=known)
        record = plan.record(data.videos.shard_sets, data.action_dim).model_copy(update=facts)
    previous = read_record(folder) if has_begun(folder) else None
    if previous is None:
        tell_unread_of_sets(plan.resolved.overrides, data.videos.train.sources, plan.config.data)
    else:
        check_same_run(folder, previous, record, RESUMABLE_KEYS)
        _check_same_start(folder, previous, record)
        if previous.status == "finished":
            say(f"{folder} is finished after {loop.updates} updates: nothing to do")
            return folder
    if data.action_dim:
        tell_action_scale(data.videos.train.sources)
    training = _open_training(asked, device, data.action_dim, starts=latest_checkpoint(folder) is None)
    training.check_segment(data.videos.train[0])  # type: ignore[arg-type]
    with run_lock(folder):
        note_changes(previous, record)
        record = start_record(folder, previous, record)
        train_to_the_end(
            folder, record, training, loop.updates,
            lambda: AdaptLoop(folder, record, plan.config, data.videos, training),  # type: ignore[arg-type]
        )  # fmt: skip
    return folder


def _open_data(plan: AdaptPlan) -> LabelledData:
    """Open the sets, with actions where the parts need them, and see that these fit the model to start from.

    Raises:
        ShardSetError: a set has no actions, or too few videos, or such as are smaller than the crop.
        ConfigError: videos are not of the model's size; actions differ in size from one another's or the parent's.
    """
    config: AdaptConfig = plan.config
    wanted = config.data.model_copy(update={"num_videos": config.num_sequences})
    found = open_video_data(wanted, plan.seed, validate=config.validation.every > 0)
    check_sizes(found, wanted, config.image.size)
    needs_actions = adaptation_of(find_method(config.method)).parts[plan.parts]
    tracks = (ACTION,) if needs_actions else ()
    check_tracks(found.train.sources, tracks)
    first, known = found.train.sources[0], plan.start.action_dim
    action_dim = _action_dim(found.train) if needs_actions else 0
    if known is not None and needs_actions and known != action_dim:
        raise ConfigError(
            f"actions in {first.store.location} have {action_dim} components, the model was adapted to {known}",
            expected=f"labelled sets with {known}",
            fix="adapt the pre-trained model instead, or another labelled set",
        )
    chosen = found.train if config.num_segments is None else found.train.of_first(config.num_segments)
    train, held_out = (None if s is None else TrackedSegments(s, tracks) for s in (chosen, found.validation))
    videos: Any = VideoData(train, held_out, found.shard_sets)  # type: ignore[arg-type]
    if held_out is None and config.validation.every:
        say(nothing_held_out(wanted))
    return LabelledData(videos, action_dim)


def _action_dim(segments: Segments) -> int:
    """A of the actions between two frames of a segment: those of all steps between them.

    Raises:
        ShardSetError: their number differs from video to video, or each is no vector.
    """
    first, steps = segments.sources[0], segments.common_stride()
    if steps is None:
        raise ShardSetError(
            "the labelled videos have different frame rates: different numbers of actions lie between two frames",
            expected="one frame rate",
            fix="set data.every_seconds=null and data.every_frames, or prepare the sets at one rate",
        )
    return steps * action_size(first.manifest.tracks[ACTION].shape, first.store.location)


def _check_same_start(folder: Path, previous: RunRecord, record: RunRecord) -> None:
    """Refuse another parent than the run was started from.

    Raises:
        RunError: it is another one.
    """
    before, now = (found.parent.get("checkpoint_sha256") for found in (previous, record))
    if before != now:
        raise RunError(
            f"{folder} was started from {previous.parent.get('checkpoint') or 'random weights'}",
            expected=f"that start, not {record.parent.get('checkpoint') or 'random weights'}",
            fix="name the same checkpoint folder, or choose another folder with --run",
        )


def _open_training(plan: AdaptPlan, device: Any, action_dim: int, *, starts: bool) -> LabelledTraining:
    """The model: with the parent's weights when the run starts; its own checkpoint brings them when it goes on.

    Raises:
        CheckpointError: the parent's weights were trained as something else.
    """
    parent = None
    if plan.start.checkpoint is not None and starts:
        parent = load_checkpoint(plan.start.checkpoint)
        check_parent(
            parent.path, parent.state, plan.config, whole=plan.start.adapted, absent=plan.start.absent(plan.config),
            fix="leave those keys as the run to start from has them (and its run.json as it was written), or name "
            "those that may differ: --set 'init_allow=[...]'",
        )  # fmt: skip
    return LabelledTraining(
        plan.config, plan.seed, device, action_dim=action_dim, parts=plan.parts, parent=parent,
        adapted=plan.start.adapted,
    )  # fmt: skip
