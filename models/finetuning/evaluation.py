"""Scores of an agent: episodes by the protocol of the suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipv_bench.errors import InputError
from ipv_bench.seeding import derive_seed
from models.finetuning.config import EvaluationConfig
from models.finetuning.env_groups import EnvGroup
from models.finetuning.policy_video import write_policy_video
from models.finetuning.rollout import PlayedEpisode, play_round
from models.methods.base import Agent

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
    on_scores: Callable[[dict[str, Any]], None] | None = None,
    purpose: str = EVALUATION_PURPOSE,
) -> dict[str, Any]:
    """Play evaluation episodes, with most likely or with sampled actions (latents are sampled, as published).

    Nothing of the training is touched: the policy's state is its own, and all randomness comes from
    (seed, number, purpose). An episode whose environment is lost is played again, at most three times.

    Args:
        agent: the agent.
        envs: environments; `config.parallel` of them play at once.
        config: number of episodes and videos, and whether actions are sampled.
        seed: seed of the run.
        number: number of this evaluation (the run's env_steps); gives each evaluation its own episodes.
        video: file for the first `config.video_episodes` episodes; None: no video.
        on_step: called after each lockstep; may raise to stop.
        on_scores: called with what is returned, before the video is written: a full disk does not take the scores.
        purpose: names the random draws.

    Returns:
        returns, successes (None where the suite has none), lengths (agent steps) and seeds of the episodes.
    """
    episodes: list[PlayedEpisode] = []
    frames_of = config.video_episodes if video is not None else 0
    parallel, lost, first_call = min(envs.count, config.parallel), 0, 0
    policy = agent.policy(parallel, seed, f"{purpose} {number} policy", explore=config.explore)
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
                    expected="at most 3, which are played again",
                    fix="run the task's environment alone to see why it dies (memory? GL driver?)",
                )
            continue
        episodes += finished
    scores = {
        "returns": [episode.episode_return for episode in episodes],
        "successes": [episode.success for episode in episodes],
        "lengths": [episode.length for episode in episodes],
        "seeds": [episode.seed for episode in episodes],
    }
    if on_scores is not None:
        on_scores(scores)
    if video is not None and frames_of:
        write_policy_video(video, [episode.frames for episode in episodes[:frames_of]])
    return scores
