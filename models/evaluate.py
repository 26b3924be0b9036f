"""Scores of an agent: episodes by the protocol of the suite, while training and by `ipv-bench evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ipv_bench.errors import InputError
from ipv_bench.progress import say_aside
from ipv_bench.run_record import read_record
from models.finetuning.env_groups import open_envs
from models.finetuning.evaluation import play_evaluation
from models.finetuning.fingerprint import fingerprint_changes, told_changes
from models.finetuning.policy_video import check_video_path
from models.training.checkpoint import run_of


def evaluate(
    run: str | Path, episodes: int | None = None, seed: int = 0, video: str | Path | None = None
) -> dict[str, Any]:
    """Play episodes with the agent of a run's newest checkpoint, or of the one given.

    Args:
        run: folder of a fine-tuning run, or of one of its checkpoints (`checkpoints/best`).
        episodes: how many; None: as many as the run's own evaluations.
        seed: seed of the episodes; they are others than those of the run's own evaluations.
        video: .mp4 or .gif file to write the first episodes to.

    Returns:
        run, env_steps, returns, successes, lengths, seeds, mean_return and, where the suite has it, success_rate;
        env_changes: what of the environment (versions, camera, …) is not as it was in training, as key →
        [in training, here]. Such scores are no longer the run's, which is said on stderr too.

    Raises:
        RunError: `run` is not a run folder.
        InputError: it is a pre-training run, which has no agent.
        CheckpointError: it has no checkpoint yet, or a damaged one.
    """
    from models.finetune import open_agent  # the training loop imports this module

    if video is not None:
        check_video_path(Path(video))
    record = read_record(run_of(run))
    if record.kind != "finetune":
        raise InputError(
            f"{run} is a {record.kind} run, which has no agent",
            expected="a run made by `ipv-bench finetune`",
            fix="its own scores stand in its evaluations.jsonl",
        )
    agent, config, counters = open_agent(run, record)
    chosen = {"video_episodes": 0 if video is None else max(config.evaluation.video_episodes, 1)}
    if episodes is not None:
        chosen["episodes"] = episodes
    evaluation = config.evaluation.model_copy(update=chosen)
    envs = open_envs(
        f"{record.suite}/{record.task}", config.env, config.envs,
        min(evaluation.parallel, evaluation.episodes), config.envs.count,
    )  # fmt: skip
    try:
        changes = fingerprint_changes(record, envs.fingerprint())
        if changes:
            say_aside(f"warning: {run} was trained in another environment ({told_changes(changes)}); scores may differ")
        scores = play_evaluation(
            agent, envs, evaluation, seed=seed, number=counters.env_steps,
            video=Path(video) if video is not None else None, purpose="evaluate command",
        )  # fmt: skip
    finally:
        envs.close()
    scores = {"run": str(run), "env_steps": counters.env_steps, "env_changes": changes, **scores}
    scores["mean_return"] = sum(scores["returns"]) / len(scores["returns"])
    successes = [success for success in scores["successes"] if success is not None]
    if successes:
        scores["success_rate"] = sum(successes) / len(successes)
    return scores
