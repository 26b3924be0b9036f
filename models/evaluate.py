"""Scores of an agent: episodes by the protocol of the suite, while training and by `ipv-bench evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipv_bench.errors import InputError
from ipv_bench.run_record import read_record
from ipv_bench.seeding import derive_seed
from models.agent import Agent
from models.finetune_config import EvaluationConfig
from models.policy_video import check_video_path, write_policy_video
from models.rollout import EnvGroup, PlayedEpisode, open_envs, play_round

EVALUATION_PURPOSE = "evaluation"


def play_evaluation(
    agent: Agent,
    envs: EnvGroup,
    config: EvaluationConfig,
    *,
    seed: int,
    number: int,
    video: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    purpose: str = EVALUATION_PURPOSE,
) -> dict[str, Any]:
    """Play evaluation episodes with the most likely action (latents are sampled, as published).

    Nothing of the training is touched: the policy's state is its own, and all randomness comes from
    (seed, number, purpose). An episode whose environment is lost is played again, at most three times.

    Args:
        agent: the agent.
        envs: environments; `config.parallel` of them play at once.
        config: number of episodes and videos.
        seed: seed of the run.
        number: number of this evaluation (the run's env_steps); gives each evaluation its own episodes.
        video: file for the first `config.video_episodes` episodes; None: no video.
        on_step: called after each lockstep; may raise to stop.
        purpose: names the random draws.

    Returns:
        returns, successes (None where the suite has none), lengths (agent steps) and seeds of the episodes.
    """
    episodes: list[PlayedEpisode] = []
    frames_of = config.video_episodes if video is not None else 0
    parallel, lost, first_call = min(envs.count, config.parallel), 0, 0
    policy = agent.policy(parallel, seed, f"{purpose} {number} policy", explore=False)
    while len(episodes) < config.episodes:
        first = len(episodes)
        wanted = range(first, min(first + parallel, config.episodes))
        seeds = [derive_seed(seed, index, f"{purpose} {number} episode") for index in wanted]
        keep = first < frames_of
        played = play_round(
            envs, policy, seeds, first_call, agent.action_dim, on_step=on_step, keep_frames=keep
        )  # fmt: skip
        finished = [item[0] for item in played if item is not None]
        first_call += max((episode.length for episode in finished), default=0)
        if len(finished) < len(seeds):
            lost += 1
            if lost > 3:
                raise InputError(
                    f"environments were lost in {lost} rounds of one evaluation",
                    fix="run the task's environment alone to see why it dies (memory? GL driver?)",
                )
            continue
        episodes += finished
    if video is not None and frames_of:
        write_policy_video(video, [episode.frames for episode in episodes[:frames_of]])
    return {
        "returns": [episode.episode_return for episode in episodes],
        "successes": [episode.success for episode in episodes],
        "lengths": [episode.length for episode in episodes],
        "seeds": [episode.seed for episode in episodes],
    }


def evaluate(
    run: str | Path, episodes: int | None = None, seed: int = 0, video: str | Path | None = None
) -> dict[str, Any]:
    """Play episodes with the agent of a run's newest checkpoint.

    Args:
        run: folder of a fine-tuning run.
        episodes: how many; None: as many as the run's own evaluations.
        seed: seed of the episodes; they are others than those of the run's own evaluations.
        video: .mp4 or .gif file to write the first episodes to.

    Returns:
        run, env_steps, returns, successes, lengths, seeds, mean_return and, where the suite has it, success_rate.

    Raises:
        RunError: `run` is not a run folder.
        InputError: it is a pre-training run, which has no agent.
        CheckpointError: it has no checkpoint yet, or a damaged one.
    """
    from models.finetune import open_agent  # the training loop imports this module

    if video is not None:
        check_video_path(Path(video))
    record = read_record(run)
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
        f"{record.suite}/{record.task}", config.env, config.envs, min(evaluation.parallel, evaluation.episodes)
    )
    try:
        scores = play_evaluation(
            agent, envs, evaluation, seed=seed, number=counters.env_steps,
            video=Path(video) if video is not None else None, purpose="evaluate command",
        )  # fmt: skip
    finally:
        envs.close()
    scores = {"run": str(run), "env_steps": counters.env_steps, **scores}
    scores["mean_return"] = sum(scores["returns"]) / len(scores["returns"])
    successes = [success for success in scores["successes"] if success is not None]
    if successes:
        scores["success_rate"] = sum(successes) / len(successes)
    return scores
