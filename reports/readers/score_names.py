"""What the field's loggers call scores and steps, and where each score comes from.

A score's origin matters: an evaluation is a mean over episodes of the policy as it is; a training episode is one noisy
sample with exploration; a training mean is over the last training episodes, behind the policy by some of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.scores.score_table import Metric, Origin


@dataclass(frozen=True)
class ScoreName:
    """A name under which a logger writes a score."""

    name: str
    metric: Metric
    origin: Origin


def _named(metric: Metric, origin: Origin, *names: str) -> tuple[ScoreName, ...]:
    return tuple(ScoreName(name, metric, origin) for name in names)


SCORES: tuple[ScoreName, ...] = (
    *_named(
        "success", "evaluation",
        "eval_success", "eval/success", "eval/success_rate", "eval_episode/success", "evaluation/success_rate",
        "Evaluation/SuccessRate", "eval/success_once", "test/success_rate",
    ),
    *_named("success", "training_mean", "rollout/success_rate"),
    *_named("success", "training_episode", "train_success", "train/success"),
    *_named(
        "return", "evaluation",
        "eval_return", "eval/return", "eval/mean_reward", "eval/episode_reward", "eval_episode/score", "eval/score",
        "eval/episodic_return", "eval/episode_return", "eval/avg_reward", "eval/reward", "eval_reward",
        "Evaluation/AverageReturn", "evaluation/Average Returns", "evaluation/Returns Mean",
        "evaluation/env_runners/episode_return_mean", "evaluation/env_runners/episode_reward_mean",
        "evaluation/episode_return_mean", "evaluation/episode_reward_mean", "AverageTestEpRet",
        "test/reward", "test/returns_stat/mean", "Eval/AverageReturns",
        "evaluator/episode_return", "eval_reward_mean", "mean_eval_return",
    ),
    *_named(
        "return", "training_mean",
        "rollout/ep_rew_mean", "env_runners/episode_return_mean", "env_runners/episode_reward_mean",
        "sampler_results/episode_reward_mean", "episode_return_mean", "episode_reward_mean", "AverageEpRet",
        "Rewards/rew_avg", "exploration/Average Returns", "eprewmean", "Train/AverageReturns",
        "Metrics_vs_EnvironmentSteps/AverageReturn", "Metrics/AverageReturn", "train/returns_stat/mean",
        "Train/mean_reward",
    ),
    *_named(
        "return", "training_episode",
        "train_return", "train/return", "charts/episodic_return", "train/episode_reward", "episode/score", "score",
        "train/reward", "episode_return", "episodic_return", "episode_reward",
    ),
    *_named("return", "evaluation", "Test/cumulative_reward"),  # SheepRL's one test at the end: last, it is no curve
)  # fmt: skip
"""Names of scores, in the order in which they are looked for: evaluations, then means, then training episodes."""

STEPS: tuple[str, ...] = (
    "env_steps", "env_step", "TotalEnvSteps", "TotalEnvInteracts", "total_env_steps",
    "num_env_steps_sampled_lifetime", "env_runners/num_env_steps_sampled_lifetime", "num_env_steps_sampled",
    "info/num_env_steps_sampled", "timesteps_total", "exploration/num steps total", "time/total_timesteps",
    "total_timesteps", "num_timesteps", "timesteps", "frame", "frames", "global_step", "actor_steps", "train_steps",
    "environment_loop_steps", "total_steps", "timestep", "step", "steps", "_step",
)  # fmt: skip
"""Names of the steps behind a score, in the order in which they are looked for: env steps before vaguer ones."""

OTHER_STEPS = ("evaluator_steps", "learner_steps", "episode", "episodes", "Epoch", "epoch", "iteration", "Itr")
"""Counters that are no env steps: naming them tells the user why a log cannot be used."""

PREFIX = "scalars/"
"""DreamerV2's TensorBoard writer puts this before every name."""


def find_score(present: Iterable[str], wanted: Metric, *, only_wanted: bool = False) -> ScoreName | None:
    """The first known score among names, of the wanted metric before others.

    Args:
        present: the log's names, spelled as in the log.
        wanted: the metric that the suite is reported in, or that was asked for.
        only_wanted: pass over other metrics.
    """
    names = set(present)
    metrics: tuple[Metric, ...] = (wanted,) if only_wanted else (wanted, "return", "success")
    for metric in metrics:
        for score in SCORES:
            if score.metric == metric and score.name in names:
                return score
    return None


def find_step(present: Iterable[str]) -> str | None:
    """The first known name of env steps among names."""
    names = set(present)
    return next((name for name in STEPS if name in names), None)


def known_names(wanted: Metric, *, only_wanted: bool = False) -> str:
    """The names that were looked for, for messages: the best known of each kind."""
    metrics = (wanted,) if only_wanted else ("success", "return")
    found = [score.name for score in SCORES if score.metric in metrics]
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more (docs/reports/formats.md)" if len(found) > 8 else "")
