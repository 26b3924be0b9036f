"""Pre-training of a world model on shard sets: `pretrain` is what the command calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ipv_bench.progress import say, set_quiet
from ipv_bench.run_lock import run_lock
from ipv_bench.run_record import git_commit, read_record
from models.pretraining.config import RESUMABLE_KEYS
from models.pretraining.loop import PretrainLoop
from models.pretraining.plan import PretrainPlan, plan_pretraining
from models.pretraining.run_keeping import check_same_run, note_changes, start_record, train_to_the_end
from models.pretraining.video_batches import (
    check_batch_size,
    check_sizes,
    nothing_held_out,
    open_video_data,
    tell_unread_of_sets,
)
from models.pretraining.video_training import VideoTraining
from models.training.begun_run import has_begun
from models.training.distributed import Ranks, launched_ranks, process_group
from models.training.hardware import choose_device, hardware_record, prepare_torch, settled
from models.training.tracking import check_mirrors


def build_training(preset: str, overrides: Mapping[str, Any] | Iterable[str] = (), seed: int = 0) -> VideoTraining:
    """A world model with its optimiser, ready for `.step(batch)`; batches are uint8 (B, T, H, W, 3).

    Args:
        preset: name of a pre-training preset.
        overrides: `key=value` texts, or dotted key → value.
        seed: decides parameters and draws.

    Raises:
        UnknownNameError: unknown preset.
        ConfigError: unknown key, wrong value, or a device that is not there.
    """
    config = plan_pretraining(preset, overrides=overrides).config
    training = VideoTraining(config, seed)
    prepare_torch(training.device, config.training.threads, config.training.deterministic)
    return training


def pretrain(**options: Any) -> Path:
    """Train a world model, or go on with a run that exists; see `plan_pretraining` for the arguments.

    Under torchrun each process calls it; they share the batches of one run, and rank 0 writes.

    Returns:
        The run folder.

    Raises:
        UsageError: unknown preset, key, device or precision.
        ShardSetError: a shard set is absent, damaged or too small.
        RunError: the folder holds a run of another config.
        CheckpointError: the newest checkpoint is damaged or of another model.
        InterruptedRunError: SIGINT or SIGTERM arrived; the state is saved.
        TrainingError: ten updates in a row were not finite.
    """
    plan, ranks = plan_pretraining(**options), launched_ranks()
    training = plan.config.training
    check_mirrors(training.wandb)
    device = choose_device(training.device, ranks.local_rank)
    check_batch_size(plan.config.data.batch_size, ranks.world_size)  # before the ranks wait for one another
    prepare_torch(device, training.threads, training.deterministic)
    if not ranks.is_main:
        set_quiet(True)  # one progress bar for all of them
    asked = plan.config
    plan = replace(plan, resolved=replace(plan.resolved, config=settled(asked, device, ranks.world_size)))
    with process_group(ranks, device):
        return _pretrain(plan, VideoTraining(asked, plan.seed, device, ranks), ranks)


def _pretrain(plan: PretrainPlan, training: VideoTraining, ranks: Ranks) -> Path:
    data = open_video_data(plan.config.data, plan.seed, validate=plan.config.validation.every > 0)
    check_sizes(data, plan.config.data, plan.config.image.size)  # before anything is written
    record = plan.record(data.shard_sets).model_copy(
        update={
            "git_commit": git_commit(),
            "hardware": hardware_record(training.device),
            "world_size": ranks.world_size,
        }
    )
    folder = plan.folder(record)
    previous = read_record(folder) if has_begun(folder) else None
    if previous is None:
        tell_unread_of_sets(plan.resolved.overrides, data.train.sources, plan.config.data)
    else:
        check_same_run(folder, previous, record, RESUMABLE_KEYS)
        if previous.status == "finished":
            say(f"{folder} is finished after {plan.config.training.updates} updates: nothing to do")
            return folder
    training.check_segment(data.train[0])  # frames that cannot be read are refused before anything is written
    if data.validation is None and plan.config.validation.every:
        say(nothing_held_out(plan.config.data))
    with run_lock(folder) if ranks.is_main else nullcontext():
        if ranks.is_main:
            note_changes(previous, record)
            record = start_record(folder, previous, record)
        train_to_the_end(
            folder, record, training, plan.config.training.updates,
            lambda: PretrainLoop(folder, record, plan.config, data, training),
        )  # fmt: skip
    return folder
