"""Pre-training of a world model on shard sets: `pretrain` is what the command calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

from ipv_bench.errors import InterruptedRunError, IpvBenchError, RunError
from ipv_bench.progress import progress, say, set_quiet
from ipv_bench.run_lock import run_lock
from ipv_bench.run_record import RUN_FILE, RunRecord, check_same_config, git_commit, read_record, write_record
from models.pretraining.config import RESUMABLE_KEYS
from models.pretraining.loop import PretrainLoop
from models.pretraining.plan import PretrainPlan, describe, plan_pretraining
from models.pretraining.video_batches import VideoData, check_batch_size, open_video_data
from models.pretraining.video_training import VideoTraining
from models.training.checkpoint import refuse_unknown_checkpoints, remove_unfinished
from models.training.distributed import Ranks, launched_ranks, process_group, rank_errors
from models.training.hardware import choose_device, hardware_record, prepare_torch
from models.training.tracking import check_mirrors, draw_wandb_id


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


def describe_plan(**options: Any) -> str:
    """What `pretrain` with the same arguments would do, as text."""
    return describe(plan_pretraining(**options))


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
    with process_group(ranks, device):
        return _pretrain(plan, VideoTraining(plan.config, plan.seed, device, ranks), ranks)


def _pretrain(plan: PretrainPlan, training: VideoTraining, ranks: Ranks) -> Path:
    data = open_video_data(plan.config.data, plan.seed, validate=plan.config.validation.every > 0)
    record = plan.record(data.shard_sets).model_copy(
        update={
            "git_commit": git_commit(),
            "hardware": hardware_record(training.device),
            "world_size": ranks.world_size,
        }
    )
    folder = plan.folder(record)
    previous = read_record(folder) if (folder / RUN_FILE).exists() else None
    if previous is not None:
        _check_same_run(folder, previous, record)
        if previous.status == "finished":
            say(f"{folder} is finished after {plan.config.training.updates} updates: nothing to do")
            return folder
    if data.validation is None and plan.config.validation.every:
        say("no video is held out, so nothing is validated (data.holdout=0 and no validation split)")
    with run_lock(folder) if ranks.is_main else nullcontext():
        if ranks.is_main:
            _note_changes(previous, record)
            record = _start_record(folder, previous, record)
        _train(plan, folder, record, data, training)
    return folder


def _start_record(folder: Path, previous: RunRecord | None, record: RunRecord) -> RunRecord:
    """Write `run.json` of a new run, or of the one that goes on, which keeps what it says of its losses.

    Raises:
        RunError: the folder holds checkpoints, and no `run.json` says of which run.
    """
    refuse_unknown_checkpoints(folder)
    remove_unfinished(folder)
    drawn = draw_wandb_id(record.config["training"]["wandb"])
    if previous is not None:
        record = record.model_copy(update={"exact": previous.exact, "inexact_because": previous.inexact_because})
        drawn = {key: value for key, value in (previous.model_extra or {}).items() if key == "wandb_id"}
    record = record.model_copy(update=drawn)
    write_record(folder, record)
    return record


def _train(plan: PretrainPlan, folder: Path, record: RunRecord, data: VideoData, training: VideoTraining) -> None:
    """Run the loop, and keep `run.json`'s status true whatever happens."""
    updates = plan.config.training.updates
    status, failure = "failed", ""
    try:
        with rank_errors(training.ranks), closing(PretrainLoop(folder, record, plan.config, data, training)) as loop:
            with progress(f"pretrain {record.method}", updates, "updates", training.updates) as bar:
                loop.run(bar)
        status = "finished"
        if training.ranks.is_main:
            say(f"{folder}: {updates} updates done, {training.skipped} of them skipped")
    except (InterruptedRunError, KeyboardInterrupt):
        status = "interrupted"
        raise
    except Exception as error:
        failure = error.found if isinstance(error, IpvBenchError) else str(error) or type(error).__name__
        raise
    finally:
        if training.ranks.is_main:
            with suppress(RunError):  # gone or damaged meanwhile: then what this process knows is written
                record = read_record(folder)  # the loop may have noted a loss
            write_record(folder, record.model_copy(update={"status": status, "failure": failure}))


def _check_same_run(folder: Path, previous: RunRecord, record: RunRecord) -> None:
    """Refuse another config, and shard sets with other contents (moved ones are fine).

    Raises:
        RunError: something that decides the result differs.
    """
    check_same_config(folder, record, RESUMABLE_KEYS)
    before = [entry.get("manifest_sha256") for entry in previous.shard_sets]
    after = [entry["manifest_sha256"] for entry in record.shard_sets]
    if before != after:
        named = [f"{entry['name']} in {entry['path']}" for entry in record.shard_sets]
        raise RunError(
            f"{folder} was trained on other shard sets than {', '.join(named)}",
            expected=", ".join(f"{entry.get('name')} with manifest {str(entry.get('manifest_sha256'))[:12]}"
                               for entry in previous.shard_sets),
            fix="name the same shard sets with --data, or choose another folder with --run",
        )  # fmt: skip


def _note_changes(previous: RunRecord | None, record: RunRecord) -> None:
    """Say what may change between the parts of a run, and makes its numbers differ from an uninterrupted one."""
    if previous is None:
        return
    if previous.world_size != record.world_size:
        say(
            f"the run was started with {previous.world_size} processes and goes on with {record.world_size}: same "
            "segments, other random numbers from here on"
        )
    for key in ("device", "gpu", "cpu", "torch_threads"):
        if previous.hardware.get(key) != record.hardware.get(key):
            say(f"other hardware than before ({key}: {previous.hardware.get(key)} → {record.hardware.get(key)}): "
                "close to the uninterrupted run, not equal to it")  # fmt: skip
