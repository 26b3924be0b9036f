"""Scores of an agent: episodes by the protocol of the suite, while training and by `ipv-bench evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ipv_bench.checkpoint_index import run_of
from ipv_bench.errors import InputError
from ipv_bench.progress import say_aside
from ipv_bench.run_record import read_record
from models.finetuning.env_groups import open_envs
from models.finetuning.evaluation import play_evaluation
from models.finetuning.fingerprint import fingerprint_changes, told_changes
from models.finetuning.played_env import played_env, withheld_is_told
from models.finetuning.policy_video import check_video_path


def evaluate(
    run: str | Path,
    episodes: int | None = None,
    seed: int = 0,
    video: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    on_scores: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Play episodes with the agent of a run's newest checkpoint, or of the one given.

    Args:
        run: folder of a fine-tuning run, or of one of its checkpoints (`checkpoints/best`).
        episodes: how many; None: as many as the run's own evaluations.
        seed: seed of the episodes; they are others than those of the run's own evaluations.
        video: .mp4 or .gif file to write the first episodes to.
        overrides: `env.key=value` texts, or dotted key → value, of what the run's record does not decide: `env.module`
            of an environment of your own; see `models.finetuning.played_env`.
        on_scores: called with what is returned as soon as all is played: a video that cannot be written takes no
            scores along.

    Returns:
        run, env_steps, returns, successes, lengths, seeds, mean_return and, where the suite has it, success_rate;
        env_changes: what of the environment (versions, camera, …) is not as it was in training, as key →
        [in training, here]. Such scores are no longer the run's, which is said on stderr too.

    Raises:
        RunError: `run` is not a run folder.
        InputError: it is a pre-training run, which has no agent.
        CheckpointError: it has no checkpoint yet, or a damaged one.
        ConfigError: an override of something else.
        UsageError: the task cannot be made here, or the video's name is none.
        OutputError: the video cannot be written; where it can be known, before anything is played.
    """
    from models.finetune import open_agent  # the training loop imports this module

    if video is not None:
        check_video_path(Path(video))
    record = read_record(run_of(run))
    if record.kind != "finetune":
        raise InputError(
            f"{run} is a {record.kind} run, which has no agent",
            expected="a run made by `ipv-bench finetune`",
            fix=f"name such a run; what this model predicts shows `ipv-bench analyze predict {run}`",
        )
    agent, config, counters = open_agent(run, record)
    chosen = {"video_episodes": 0 if video is None else max(config.evaluation.video_episodes, 1)}
    if episodes is not None:
        chosen["episodes"] = episodes
    evaluation = config.evaluation.model_copy(update=chosen)
    env = played_env(record, config.env, overrides)
    with withheld_is_told(record, env):
        envs = open_envs(
            f"{record.suite}/{record.task}", env, config.envs,
            min(evaluation.parallel, evaluation.episodes), config.envs.count,
        )  # fmt: skip
    try:
        with withheld_is_told(record, env):  # environments of other processes are made when they are first asked
            changes = fingerprint_changes(record, envs.fingerprint())
        if changes:
            say_aside(f"warning: {run} was trained in another environment ({told_changes(changes)}); scores may differ")
        scores: dict[str, Any] = {}

        def complete(played: dict[str, Any]) -> None:
            scores.update(run=str(run), env_steps=counters.env_steps, env_changes=changes, **_summed(played))
            if on_scores is not None:
                on_scores(scores)

        play_evaluation(
            agent, envs, evaluation, seed=seed, number=counters.env_steps,
            video=Path(video) if video is not None else None, on_scores=complete, purpose="evaluate command",
        )  # fmt: skip
    finally:
        envs.close()
    return scores


def _summed(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores of episodes with their means."""
    means = {"mean_return": sum(scores["returns"]) / len(scores["returns"])}
    successes = [success for success in scores["successes"] if success is not None]
    if successes:
        means["success_rate"] = sum(successes) / len(successes)
    return scores | means
