"""What the doors of both video trainings do around their loops: `run.json`, its status, and what may have changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from ipv_bench.checkpoint_index import newest_as_recorded
from ipv_bench.errors import InterruptedRunError, IpvBenchError, RunError, UsageError
from ipv_bench.folder_kind import refuse_other_kind
from ipv_bench.progress import progress, say
from ipv_bench.run_record import RUN_FILE, RunRecord, check_same_config, read_record, write_record
from models.pretraining.loop import PretrainLoop
from models.pretraining.video_training import VideoTraining
from models.training.begun_run import has_begun, take_back
from models.training.checkpoint import refuse_unknown_checkpoints, remove_unfinished
from models.training.distributed import rank_errors
from models.training.tracking import wandb_id


def start_record(folder: Path, previous: RunRecord | None, record: RunRecord) -> RunRecord:
    """Write `run.json` of a new run, or of the one that goes on, which keeps what it says of its losses.

    Raises:
        RunError: the folder holds checkpoints, and no `run.json` says of which run; it is a shard set or
            another thing; or another process began a run there meanwhile.
    """
    refuse_unknown_checkpoints(folder)
    refuse_other_kind(folder, RUN_FILE, "--run", RunError)
    if previous is None and has_begun(folder):
        raise RunError(
            f"another process began a run in {folder} meanwhile",
            expected="one process at a time in a run folder",
            fix="let it end, then run the same command again to go on; or choose another folder with --run",
        )
    remove_unfinished(folder)
    if previous is not None:
        record = record.model_copy(update={"exact": previous.exact, "inexact_because": previous.inexact_because})
    record = record.model_copy(update=wandb_id(record.config["training"]["wandb"], previous or record))
    write_record(folder, record)
    return record


def train_to_the_end(
    folder: Path, record: RunRecord, training: VideoTraining, updates: int, make_loop: Callable[[], PretrainLoop]
) -> None:
    """Run the loop, and keep `run.json`'s status true whatever happens; of a run that was refused it is taken back."""
    status, failure, refused = "failed", "", False
    try:
        with rank_errors(training.ranks), closing(make_loop()) as loop:
            with progress(f"{record.kind} {record.method}", updates, "updates", training.updates) as bar:
                loop.run(bar)
        status = "finished"
        if training.ranks.is_main:
            say(f"{folder}: {updates} updates done, {training.skipped} of them skipped")
    except (InterruptedRunError, KeyboardInterrupt):
        status = "interrupted"
        raise
    except Exception as error:
        failure = error.found if isinstance(error, IpvBenchError) else str(error) or type(error).__name__
        refused = isinstance(error, UsageError)
        raise
    finally:
        if training.ranks.is_main and not (refused and take_back(folder)):
            with suppress(RunError):  # gone or damaged meanwhile: then what this process knows is written
                record = read_record(folder)  # the loop may have noted a loss
            newest = newest_as_recorded(folder) if status == "finished" else {}
            write_record(folder, record.model_copy(update={"status": status, "failure": failure, "checkpoint": newest}))


def check_same_run(folder: Path, previous: RunRecord, record: RunRecord, resumable: tuple[str, ...]) -> None:
    """Refuse another config, and shard sets with other contents (moved ones are fine).

    Raises:
        RunError: something that decides the result differs.
    """
    check_same_config(folder, record, resumable)
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


def note_changes(previous: RunRecord | None, record: RunRecord) -> None:
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
