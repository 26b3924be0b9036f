"""The loop of pre-training: updates in order, with logs, validation and checkpoints in between."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ipv_bench.addresses import public_values
from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.errors import InterruptedRunError, IpvBenchError, ShardSetError
from ipv_bench.progress import Bar, say
from ipv_bench.run_record import METRICS_FILE, JsonlLog, RunRecord, mark_inexact
from models.latent_actions.measure import Labels, LatentActionModel, MoreSegments
from models.metrics.ratios import check_another
from models.pretraining.config import PretrainConfig
from models.pretraining.pair_pictures import AFTER, BEFORE, PairModel, write_pairs
from models.pretraining.prediction_strips import write_gif, write_strips
from models.pretraining.validation import Validation, validate
from models.pretraining.video_batches import VideoBatches, VideoData, read_labels, stack_segments, videos_of
from models.pretraining.video_training import VideoTraining
from models.training.begun_run import VIDEOS_FOLDER
from models.training.checkpoint import count_of, load_checkpoint, save_checkpoint, state_errors
from models.training.interruption import StopRequest
from models.training.metric_means import MetricMeans
from models.training.tracking import MetricMirrors
from models.world_models.weight_facts import FACTS, check_own_weights, weight_facts

MEAN_IMAGE_SEGMENTS = 256
"""Training segments whose frames give the mean image, where the config asks for one."""


class PretrainLoop:
    """A run that is under way. Only rank 0 writes; all ranks compute the same parameters.

    Args:
        folder: run folder; its `run.json` is already written.
        record: what `run.json` holds.
        config: resolved config.
        data: what is trained on, and what is held out.
        training: the model; continued from the folder's newest checkpoint, if there is one.
    """

    def __init__(
        self, folder: Path, record: RunRecord, config: PretrainConfig, data: VideoData, training: VideoTraining
    ) -> None:
        self.folder, self.config, self.data, self.training = folder, config, data, training
        self._record = record
        self.ranks = training.ranks
        self._batches = VideoBatches(
            data.train, config.data.batch_size, workers=config.data.workers, prefetch=config.data.prefetch,
            rank=self.ranks.rank, world_size=self.ranks.world_size, stack=self.stack,
        )  # fmt: skip
        if self.compares_segments() and config.validation.every and data.validation is not None:
            check_another(config.validation.segments)
        self._means, self._wall_before = MetricMeans(), 0.0
        self._log = JsonlLog(folder / METRICS_FILE) if self.ranks.is_main else None
        self._held_out: Any = None
        self._known: Labels | None = None
        self._stop: StopRequest | None = None
        """Whether to stop, while a model learns its features."""
        self._saved_at = 0
        """Update of the newest checkpoint."""
        self._resume()
        self._started = self._saved = time.monotonic()
        self._mirrors = self._open_mirrors(record) if self.ranks.is_main else None

    def stack(self, segments: Sequence[Any]) -> Any:
        """Segments as one batch."""
        return stack_segments(segments)

    def frames_of(self, segment: Any) -> np.ndarray:
        """The frames of a training segment, uint8 (T, H, W, 3)."""
        frames: np.ndarray = segment
        return frames

    def adapted(self) -> dict[str, Any]:
        """What of the model is trained, where that is a choice, and on how much; for the pictures of pairs."""
        return {"parts": ""}

    def pairs_of(self, held_out: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """The newest seen frame of held-out segments and the next, (N, 2, H, W, 3), and the actions between them."""
        at = self.config.validation.warmup
        return held_out[:, at - 1 : at + 1], None

    def validate(self, held_out: Any) -> Validation:
        """Measure the model on the held-out segments."""
        return self.validate_videos(self.training.model, held_out, self._labels())

    def validate_videos(self, model: Any, held_out: np.ndarray, labels: Labels | None = None) -> Validation:
        """Measure a model of videos on held-out frames (N, T, H, W, 3); what it says of latent actions is printed."""
        config, training = self.config, self.training
        size, videos = config.data.batch_size, self.videos()
        result = validate(model, held_out, config.validation, training.seed, size, labels, videos, self._more())
        if result.latent_actions is not None:
            unused = training.updates and result.latent_actions.verdict != "usable"
            say(f"update {training.updates}: {'warning: ' if unused else ''}{result.latent_actions.sentence()}")
        return result

    def run(self, bar: Bar) -> None:
        """Train until `training.updates` are reached.

        Raises:
            InterruptedRunError: SIGINT or SIGTERM arrived; the state is saved.
            TrainingError: ten updates in a row were not finite.
            ShardSetError: a shard is damaged or unreadable; the state is saved.
        """
        first, end = self.training.updates, self.config.training.updates
        # Several processes stop together, at the same update: none by itself while it waits.
        alone = self.ranks.world_size == 1
        with StopRequest(reads_too=alone) as stop, self._given_up_reads(stop):
            if self._is_new:
                self._prepare(stop)
            if first == 0:
                self._validate_if_due()
            elif self.config.validation.every and self.data.validation is not None and self.ranks.is_main:
                self._held_out_segments()  # read now, before anything is learned that a failure could lose
            batches = self._batches.iterate(first, end, lambda: stop.requested and alone)
            try:
                for update, batch in enumerate(self._saved_where_they_end(batches), start=first):
                    self._update(update, batch)
                    self._validate_if_due()
                    self._checkpoint_if_due()
                    bar.advance(1, segments=self.config.data.batch_size)
                    self._leave_if_stopped(stop)
            finally:
                batches.close()
            if self.training.updates < end:  # stopped while it waited for a batch
                self._leave_if_stopped(stop)
        if self._saved_at != self.training.updates:
            self._checkpoint()

    @contextmanager
    def _given_up_reads(self, stop: StopRequest) -> Iterator[None]:
        """A read that failed because somebody stopped the run, which waited for a server, is no failure of the run."""
        try:
            yield
        except ShardSetError as error:
            if not stop.requested or self.ranks.world_size > 1:
                raise
            saved = self._saved_at == self.training.updates
            raise InterruptedRunError(
                f"{stop.requested} after update {self.training.updates}, while a shard set was waited for; "
                + (f"the state is saved in {self.folder}" if saved else "the newest checkpoint counts"),
                fix="run the same command again to go on",
            ) from error

    def _saved_where_they_end(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches; where reading one fails (a server is away for good), what was learned until then is saved."""
        try:
            yield from batches
        except Exception:
            if self._saved_at != self.training.updates:
                try:
                    self._checkpoint()
                except IpvBenchError as error:
                    say(f"the state at update {self.training.updates} could not be saved: {error.found}")
                else:
                    say(f"no batch after update {self.training.updates}: the state is saved in {self.folder}, and the "
                        "same command goes on from there")  # fmt: skip
            raise

    def close(self) -> None:
        """Close log and mirrors."""
        if self._log is not None:
            self._log.close()
        if self._mirrors is not None:
            self._mirrors.close()

    def _update(self, update: int, batch: Any) -> None:
        metrics = self.training.step(batch)
        if metrics["skipped"]:
            self._report_skipped(update)
        self._means.add(metrics)
        if self.training.updates % self.config.training.log_every == 0:
            self._write(self._means.take() | {"wall_segments_per_second": self._speed()})

    def _report_skipped(self, update: int) -> None:
        size = self.config.data.batch_size
        if self._log is not None:
            first = update * size
            self._write({"skipped_segments": [first, first + size - 1]})
            say(f"update {update + 1} skipped: a number is not finite (segments {first} to {first + size - 1})")

    def _validate_if_due(self) -> None:
        every, done = self.config.validation.every, self.training.updates
        due = every > 0 and (done % every == 0 or done == self.config.training.updates)
        if not due or self.data.validation is None or not self.ranks.is_main:
            return
        result = self.validate(self._held_out_segments())
        self._write(result.metrics())
        if self.config.validation.strips:
            self._draw(result)
        self._draw_pairs()

    def compares_segments(self) -> bool:
        """Whether validation predicts segments under other segments' actions."""
        return isinstance(self.training.model, LatentActionModel)

    def _held_out_segments(self) -> Any:
        if self._held_out is None:
            assert self.data.validation is not None
            numbers = range(self.config.validation.segments)
            self._held_out = self.stack([self.data.validation[i] for i in numbers])
        return self._held_out

    def videos(self) -> np.ndarray:
        """(N,) video of each held-out segment."""
        assert self.data.validation is not None
        return videos_of(self.data.validation, self.config.validation.segments)

    def _more(self) -> MoreSegments:
        """Held-out segments after those that are predicted, the same ones each time."""
        segments, size = self.data.validation, self.config.data.batch_size
        assert segments is not None
        batches = VideoBatches(
            segments, size, stack=lambda found: stack_segments([self.frames_of(segment) for segment in found])
        )  # fmt: skip
        first = -(-self.config.validation.segments // size)
        return MoreSegments(lambda number: batches.batch(first + number), segments.count_steps())

    def _labels(self) -> Labels | None:
        """True actions of the held-out segments, of a model with latent actions and where every set has them."""
        assert self.data.validation is not None
        if self._known is None and isinstance(self.training.model, LatentActionModel):
            self._known = read_labels(self.data.validation, self.config.validation.segments)
        return self._known

    def _draw(self, result: Validation) -> None:
        folder, number = self.folder / VIDEOS_FOLDER, f"{self.training.updates:09d}"
        warmup = self.config.validation.warmup
        write_strips(folder / f"prediction-{number}.png", result.truth, result.prediction, warmup)
        for n, (truth, prediction) in enumerate(zip(result.truth, result.prediction, strict=True)):
            write_gif(folder / f"prediction-{number}-{n}.gif", truth, prediction, warmup)

    def _draw_pairs(self) -> None:
        """Before the first update and after the last one: what a model of pairs makes of the newest seen frame."""
        model: Any = self.training.model
        done = self.training.updates
        if not isinstance(model, PairModel) or 0 < done < self.config.training.updates:
            return
        frames, action = self.pairs_of(self._held_out_segments())
        was_training = self.training.model.training
        self.training.model.eval()
        found = write_pairs(
            self.folder / (AFTER if done else BEFORE), self._record, model, frames, action, updates=done,
            shown=self.config.validation.strips, device=self.training.device, adapted=self.adapted(),
        )  # fmt: skip
        self.training.model.train(was_training)
        say(f"update {done}: {found.verdicts[0]}")

    def _write(self, values: dict[str, Any]) -> None:
        """One line of `metrics.jsonl`, and its mirrors."""
        if self._log is None:
            return
        line = {"updates": self.training.updates, **values, "wall_seconds": round(self._wall_seconds(), 3)}
        self._log.append(line)
        assert self._mirrors is not None
        self._mirrors.log(self.training.updates, line)

    def _checkpoint_if_due(self) -> None:
        done = self.training.updates
        old = time.monotonic() - self._saved > 60 * self.config.training.checkpoint_minutes
        if done % self.config.training.checkpoint_every == 0 or old:
            self._checkpoint()

    def _checkpoint(self) -> None:
        self._saved, self._saved_at = time.monotonic(), self.training.updates
        if self._log is None:
            return
        state = self.training.state() | {
            "next_segment": self.training.updates * self.config.data.batch_size,
            "means": asdict(self._means),
            "logs": {"metrics": self._log.size_bytes()},
            "wall_seconds": self._wall_seconds(),
            FACTS: weight_facts(self.config.model_dump(mode="json")),
        }
        save_checkpoint(
            self.folder,
            self.training.updates,
            self.training.model.state_dict(),
            self.training.optimizer_tensors(),
            state,
            keep_last=self.config.training.keep_last,
            keep_every=self.config.training.keep_every,
        )

    def _resume(self) -> None:
        """Continue from the newest checkpoint, or start; the log is cut to what the checkpoint knows of."""
        self.ranks.wait()
        path = latest_checkpoint(self.folder)
        self._is_new = path is None
        if path is None:
            self._cut_log(0)
            return
        checkpoint = load_checkpoint(path)
        check_own_weights(checkpoint.state, self.config.model_dump(mode="json"), path)
        with state_errors(path):
            self.training.restore(checkpoint)
            self._means = MetricMeans.of(checkpoint.state["means"])
            self._wall_before = float(checkpoint.state["wall_seconds"])
            log_bytes = count_of(checkpoint.state["logs"]["metrics"])
        self._saved_at = self.training.updates
        dropped = self._cut_log(log_bytes)
        if self.ranks.is_main:
            say(f"continuing from update {self.training.updates}; {dropped} newer log lines dropped")

    def _cut_log(self, size_bytes: int) -> int:
        """Bring the log back to what the checkpoint knows; one that somebody shortened is kept as it is.

        Returns:
            The number of newer lines that were dropped.
        """
        if self._log is None:
            return 0
        cut = self._log.cut(size_bytes)
        if cut.loss:
            say(f"{self.folder}: {cut.loss}; what is there is kept, and the run is no longer exact")
            mark_inexact(self.folder, cut.loss)
        return cut.dropped

    def _prepare(self, stop: StopRequest) -> None:
        """What a model takes from the videos before the first update; kept at once where it took long to learn."""
        self._stop = stop
        if self._prepare_model():
            self._checkpoint()
        self._stop = None

    def _prepare_model(self) -> bool:
        """Whether the model learned something that is not learned twice."""
        training = self.training
        if self.config.image.offset == "mean_image":
            count = MEAN_IMAGE_SEGMENTS
            firsts = [self.frames_of(self.data.train[i])[:1] for i in range(count)]
            training.model.set_mean_image(training.to_device(stack_segments(firsts)[:, 0]))  # (N, H, W, 3)
        return hasattr(training.model, "prepare") and bool(training.model.prepare(self._frames, training.seed))

    def _frames(self, number: int, count: int) -> Tensor:
        """Batch `number` of `count` single frames (count, H, W, 3) on the device; every rank's is the same.

        Raises:
            InterruptedRunError: SIGINT or SIGTERM arrived.
        """
        if self._stop is not None and self.ranks.any(bool(self._stop.requested), self.training.device):
            raise InterruptedRunError(
                f"{self._stop.requested or 'a signal'} while the features were trained, before the first update",
                fix="run the same command again: it trains them anew",
            )
        needed = -(-count // self.config.data.length)
        segments = [self.data.train[i] for i in range(number * needed, (number + 1) * needed)]
        frames = stack_segments([self.frames_of(segment) for segment in segments])  # (B, T, H, W, 3)
        return self.training.to_device(frames.reshape(-1, *frames.shape[2:])[:count])

    def _leave_if_stopped(self, stop: StopRequest) -> None:
        if not self.ranks.any(bool(stop.requested), self.training.device):
            return
        if self._saved_at != self.training.updates:
            self._checkpoint()
        self.ranks.wait()
        raise InterruptedRunError(
            f"{stop.requested or 'a signal'} at update {self.training.updates}; the state is saved in {self.folder}",
            fix="run the same command again to go on",
        )

    def _wall_seconds(self) -> float:
        return self._wall_before + time.monotonic() - self._started

    def _speed(self) -> float:
        seconds = self._wall_seconds()
        return round(self.training.updates * self.config.data.batch_size / max(seconds, 1e-9), 3)

    def _open_mirrors(self, record: RunRecord) -> MetricMirrors:
        training = self.config.training
        return MetricMirrors(
            self.folder, tensorboard=training.tensorboard, wandb_project=training.wandb,
            config=public_values(record.config),
            wandb_id=(record.model_extra or {}).get("wandb_id", ""),
            # Whatever is logged at an update is logged before its checkpoint: only later events are made anew.
            resumed_from=self.training.updates + 1 if self.training.updates else 0,
        )  # fmt: skip
