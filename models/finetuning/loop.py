"""The loop of fine-tuning: prefill, first updates, then episodes with updates in between, scores and checkpoints.

The loop advances in rounds: each training environment plays one episode, all start together. Between rounds every
environment is between episodes, and only there are scores taken and checkpoints written. So what a checkpoint holds is
all there is, and a run that was killed and continued equals one that was not.

Updates that fall due after a step are made while the environments take it: what it brings enters the replay at the end
of its round, and the next action is chosen by the weights that are there then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ipv_bench.errors import InterruptedRunError, RunError
from ipv_bench.progress import Bar, say
from ipv_bench.run_record import (
    RunRecord,
    mark_inexact,
    note_renderers,
    read_record,
    write_record,
)
from ipv_bench.seeding import derive_seed, numpy_generator
from models.finetuning.best_weights import drop_cut_best, keep_best
from models.finetuning.config import FinetuneConfig
from models.finetuning.counters import Counters
from models.finetuning.env_groups import EnvGroup
from models.finetuning.episode_limits import window_length
from models.finetuning.evaluation import play_evaluation
from models.finetuning.replay import Replay
from models.finetuning.rollout import Policy, UniformPolicy, play_round
from models.finetuning.run_logs import NOTHING, RunLogs, mean_return
from models.finetuning.short_episodes import short_episodes, short_episodes_told
from models.finetuning.unlearned_ends import ENDED
from models.methods.base import Agent
from models.training.checkpoint import load_checkpoint, save_checkpoint, state_errors
from models.training.interruption import StopRequest
from models.training.metric_means import MetricMeans
from models.world_models.weight_facts import FACTS, check_own_weights, weight_facts

MEAN_IMAGE_FRAMES = 1000
"""Frames of the prefill that the mean image is taken from, where the config asks for one."""


@dataclass(frozen=True)
class _Learned:
    """What an update told, and how many there were with it."""

    updates: int
    metrics: Mapping[str, float]


class FinetuneLoop:
    """A run that is under way.

    Args:
        folder: run folder; its `run.json` is already written.
        record: what `run.json` holds.
        config: the run's config.
        agent: the agent, with its start weights.
        envs: training environments, `config.envs.count` of them.
        evaluation_envs: environments for the scores, as many as play at once.
        checkpoint: folder of the checkpoint to continue from; None starts from nothing.
    """

    def __init__(
        self,
        folder: Path,
        record: RunRecord,
        config: FinetuneConfig,
        agent: Agent,
        envs: EnvGroup,
        evaluation_envs: EnvGroup,
        checkpoint: Path | None,
    ) -> None:
        self.folder, self.record, self.config, self.agent = folder, record, config, agent
        self._envs, self._evaluation_envs = envs, evaluation_envs
        self.counters, self._means = Counters(), MetricMeans()
        state: dict[str, Any] | None = None
        if checkpoint is not None:
            state = self._restore(checkpoint)
        else:
            self._open_logs(NOTHING)
        with state_errors(checkpoint or folder):
            self.replay = Replay(
                folder / "replay", config.replay, agent.action_dim, state and state["replay"],
                config.lead(), config.beyond(),
            )  # fmt: skip
        self._report_losses(checkpoint)
        self._started = time.monotonic() - self.counters.wall_seconds
        self._saved = time.monotonic()
        self._episodes_saved = self.counters.episodes
        self._stop = StopRequest()
        self._stop_seen: float | None = None
        self._unbooked: list[_Learned] = []
        self._logs.mirror(record, config.training, self.counters.env_steps)

    def run(self, bar: Bar) -> None:
        """Train until `training.env_steps` are reached.

        Raises:
            InterruptedRunError: SIGINT or SIGTERM arrived.
            TrainingError: training cannot go on (ten non-finite updates in a row).
        """
        self._bar = bar
        with self._stop:
            while self.counters.prefill_end < 0:
                self._prefill_round()
                self._checkpoint_if_due()
            while self.counters.updates < self.config.training.pretrain_updates:
                self._update()
                self._leave_if_stopped()
            while not self._finished:
                self._evaluate_if_due()
                self._train_round()
                self._checkpoint_if_due()
            if self.counters.evaluated_at < self.counters.env_steps:
                self._evaluate()
            self._checkpoint()

    def close(self) -> None:
        """Close logs and mirrors."""
        self._logs.close()
        self.replay.close()

    def short_episodes(self) -> dict[str, Any]:
        """Training episodes that were shorter than a window; see `models.finetuning.short_episodes`."""
        played = self.counters.episodes - self.counters.lost
        return short_episodes(self.replay.short, played, self.config.replay.length, self.config.length_key())

    @property
    def _finished(self) -> bool:
        return self.counters.env_steps >= self.config.training.env_steps

    # Rounds.

    def _prefill_round(self) -> None:
        policy = UniformPolicy(self.agent.action_dim, self.record.seed, "prefill")
        self._play(policy)
        enough = self.counters.agent_steps >= self.config.training.prefill
        if enough and self.replay.num_episodes == 0:
            key, value = window_length(self.config)
            raise RunError(
                f"the prefill of {self.counters.agent_steps} agent steps stored no episode: all {self.replay.short} "
                f"ended before the {self.config.replay.length - 1} agent steps that {key} {value} asks for",
                expected="an episode of that length at least",
                fix=f"use a smaller {key}, or a longer training.prefill where some random episodes are long enough",
            )
        if enough:
            for text in short_episodes_told(self.short_episodes()):
                say(text)
            self.counters.prefill_end = self.counters.agent_steps
            if self.config.image.offset == "mean_image":
                self.agent.see_prefill(self.replay.frames(MEAN_IMAGE_FRAMES))

    def _train_round(self) -> None:
        policy = self.agent.policy(self._envs.count, self.record.seed, "train policy", explore=True)
        # What the agent expected of its episodes beside what they brought; one without a model expects nothing.
        self._play(policy, self._train_meanwhile, getattr(self.agent, "examine", None))

    def _play(self, policy: Policy, meanwhile: Callable[[int], None] | None = None, examine: Any = None) -> None:
        first = self.counters.episodes
        seeds = [derive_seed(self.record.seed, first + i, "train episode") for i in range(self._envs.count)]
        self.counters.episodes += len(seeds)
        played = play_round(
            self._envs, policy, seeds, self.counters.agent_steps, self.agent.action_dim,
            meanwhile=meanwhile, on_step=self._count_steps, record=True,
        )  # fmt: skip
        self._note_renderers(self._envs)
        for number, item in enumerate(played, start=first):
            if item is None:
                self._book_loss()
                continue
            episode, builder = item
            assert builder is not None
            arrays = builder.arrays()
            scores = {
                "train_return": episode.episode_return,
                "train_success": episode.success,
                "train_length": episode.length,
            }
            self.replay.add(
                arrays,
                number,
                {"episode": number, "seed": episode.seed, "env_steps": self.counters.env_steps, **scores,
                 "metadata": episode.metadata},
            )  # fmt: skip
            told = {name: value for name, value in scores.items() if value is not None}
            told[ENDED] = int(arrays["is_terminal"][-1])
            if self.replay.short:
                told["dropped_short"] = self.replay.short
            if examine is not None:
                told |= examine(arrays, number)
            self._log({"episode": number, **told})

    def _count_steps(self, agent_steps: int, env_steps: int) -> None:
        self.counters.agent_steps += agent_steps
        self.counters.env_steps += env_steps
        self._tell_steps(self.counters.agent_steps)
        self._bar.advance(env_steps)
        for learned in self._unbooked:
            self._book_update(learned)
        self._unbooked = []
        if self._stop.requested:
            now = time.monotonic()
            self._stop_seen = now if self._stop_seen is None else self._stop_seen
            if now - self._stop_seen >= self.config.training.stop_grace_seconds:
                raise self._interrupted()

    def _train_meanwhile(self, agent_steps: int) -> None:
        """Make the updates that are due when the step under way is over; they are booked when it has been counted."""
        training, after = self.config.training, self.counters.agent_steps + agent_steps
        self._tell_steps(after)
        due = (after - self.counters.prefill_end) // training.train_every
        while self.counters.trainings < due:
            self.counters.trainings += 1
            self._unbooked += [self._learn() for _ in range(training.updates_per_train)]

    def _tell_steps(self, agent_steps: int) -> None:
        """An agent with a schedule by steps has `see_steps`; others need not."""
        see_steps = getattr(self.agent, "see_steps", None)
        if see_steps is not None:
            see_steps(agent_steps)

    def _update(self) -> None:
        self._book_update(self._learn())

    def _learn(self) -> _Learned:
        batch = self.replay.sample(numpy_generator(self.record.seed, self.counters.updates, "replay"))
        metrics = self.agent.update(batch)
        self.counters.updates += 1
        return _Learned(self.counters.updates, metrics)

    def _book_update(self, learned: _Learned) -> None:
        self._means.add(learned.metrics)
        if learned.updates % self.config.training.log_every == 0:
            self._log({"updates": learned.updates, **self._means.take()})

    def _book_loss(self) -> None:
        self.counters.lost += 1
        self._mark_inexact("an environment process was lost, and its episode dropped")
        say(f"an environment process was lost and started again; its episode is dropped ({self.counters.lost} so far)")

    # Scores, checkpoints, logs.

    def _evaluate_if_due(self) -> None:
        every, done = self.config.evaluation.every, self.counters.evaluated_at
        if every and (done < 0 or self.counters.env_steps // every > done // every):
            self._evaluate()

    def _evaluate(self) -> None:
        line = play_evaluation(
            self.agent,
            self._evaluation_envs,
            self.config.evaluation,
            seed=self.record.seed,
            number=self.counters.env_steps,
            video=self.folder / "videos" / f"policy-{self.counters.env_steps:09d}.gif",
            on_step=lambda *_: self._leave_if_stopped(),
        )
        self.counters.evaluated_at = self.counters.env_steps
        self._note_renderers(self._evaluation_envs)
        self._logs.evaluation(self._position(), line)
        self.record = keep_best(self.folder, self.agent, self.counters, line) or self.record
        self._bar.describe(f"score {mean_return(line):.1f}")

    def _note_renderers(self, envs: EnvGroup) -> None:
        if set(envs.renderers()) - set(self.record.renderers):
            self.record = note_renderers(self.folder, envs.renderers())

    def _log(self, values: Mapping[str, Any]) -> None:
        self._logs.metrics(self._position(), values)

    def _position(self) -> dict[str, Any]:
        self.counters.wall_seconds = round(time.monotonic() - self._started, 3)
        return {
            "env_steps": self.counters.env_steps,
            "agent_steps": self.counters.agent_steps,
            "wall_seconds": self.counters.wall_seconds,
        }

    def _checkpoint_if_due(self) -> None:
        training = self.config.training
        episodes = self.counters.episodes - self._episodes_saved
        due = time.monotonic() - self._saved >= 60 * training.checkpoint_minutes
        if due or (training.checkpoint_episodes and episodes >= training.checkpoint_episodes):
            self._checkpoint()
        self._leave_if_stopped()

    def _checkpoint(self) -> None:
        self._position()
        state = {
            "counters": asdict(self.counters),
            "means": asdict(self._means),
            "agent": self.agent.state(),
            FACTS: weight_facts(self.record.config),
            "replay": self.replay.state(),
            "logs": self._logs.sizes(),
        }
        save_checkpoint(
            self.folder,
            self.counters.agent_steps,
            self.agent.model_tensors(),
            self.agent.optimizer_tensors(),
            state,
            keep_last=self.config.training.keep_last,
        )
        self.replay.forget_evicted()
        short = self.short_episodes()
        if short:
            self.record = read_record(self.folder).model_copy(update={"dropped_short": short})
            write_record(self.folder, self.record)
        self._saved, self._episodes_saved = time.monotonic(), self.counters.episodes

    def _restore(self, path: Path) -> dict[str, Any]:
        checkpoint = load_checkpoint(path)
        state = checkpoint.state
        check_own_weights(state, self.record.config, path)
        with state_errors(path):
            self.agent.load(checkpoint)
            self.counters = Counters.of(state["counters"])
            self.record = drop_cut_best(self.folder, self.counters) or self.record
            self._means = MetricMeans.of(state["means"])
            self._open_logs(state["logs"])
        return state

    def _open_logs(self, sizes: Mapping[str, int]) -> None:
        """Open the logs where the checkpoint left them; one that somebody shortened is kept as it is."""
        self._logs = RunLogs(self.folder, sizes)
        for loss in self._logs.losses:
            self._mark_inexact(loss)

    def _report_losses(self, checkpoint: Path | None) -> None:
        if checkpoint is not None or self.replay.dropped:
            where = f"checkpoint {checkpoint.name}" if checkpoint is not None else "the beginning"
            say(
                f"continuing from {where} ({self.counters.env_steps} env steps); "
                f"{self.replay.dropped} newer episodes moved to {self.folder / 'replay' / 'dropped'}"
            )
        for loss in self.replay.losses():
            say(loss)
            self._mark_inexact(loss)

    def _mark_inexact(self, reason: str) -> None:
        if reason not in self.record.inexact_because:
            self.record = mark_inexact(self.folder, reason)

    def _leave_if_stopped(self) -> None:
        """After a signal, save and end the run. Called only while every training environment is between episodes.

        While an episode runs there is nothing to save from: `_count_steps` lets it end within the grace instead.
        """
        if self._stop.requested:
            self._checkpoint()
            raise self._interrupted()

    def _interrupted(self) -> InterruptedRunError:
        return InterruptedRunError(
            f"{self._stop.requested} at {self.counters.env_steps} env steps; "
            f"the newest checkpoint is in {self.folder / 'checkpoints'}",
            fix="run the same command again to go on",
        )
