"""Episodes of an evaluation played at the same time: which they are, and where presets let them."""

from __future__ import annotations

import pytest

from models.finetuning.config import EvaluationConfig, resolve_finetuning
from models.finetuning.evaluation import play_evaluation
from models.finetuning.rollout import UniformPolicy
from tests.models.finetuning.test_rollout import CountingEnvs


class Uniform:
    """An agent that does anything."""

    action_dim = 2

    def policy(self, count: int, seed: int, purpose: str, *, explore: bool) -> UniformPolicy:
        return UniformPolicy(self.action_dim, seed, purpose)


@pytest.mark.parametrize("parallel", [1, 2, 5, 9])
def test_episodes_at_the_same_time_are_those_of_one_after_the_other(parallel):
    envs, config = CountingEnvs([3] * parallel), EvaluationConfig(episodes=5, parallel=parallel)
    scores = play_evaluation(Uniform(), envs, config, seed=1, number=2000)
    one = play_evaluation(Uniform(), CountingEnvs([3]), EvaluationConfig(episodes=5), seed=1, number=2000)
    assert (scores["seeds"], scores["lengths"], scores["successes"]) == (one["seeds"], one["lengths"], one["successes"])
    assert len(envs.asked) == 3 * -(-5 // min(parallel, 5))


@pytest.mark.parametrize("explore", [False, True])
def test_actions_are_sampled_where_the_config_says_so(explore):
    asked = []

    class Noting(Uniform):
        def policy(self, count: int, seed: int, purpose: str, *, explore: bool) -> UniformPolicy:
            asked.append(explore)
            return super().policy(count, seed, purpose, explore=explore)

    play_evaluation(Noting(), CountingEnvs([3]), EvaluationConfig(episodes=1, explore=explore), seed=1, number=0)
    assert asked == [explore]


def test_scores_are_of_most_likely_actions_but_for_the_short_runs_of_tiny():
    def explore(preset, suite, method):
        return resolve_finetuning(
            preset, suite, parts=(suite,), overrides=[f"method={method}"]
        ).config.evaluation.explore

    assert [explore("tiny", "dmc", method) for method in ("contextwm", "isodream", "drqv2")] == [True, True, False]
    assert [explore(preset, "dmc", "contextwm") for preset in ("demo", "small", "paper")] == [True, False, False]
    assert not explore("tiny", "highway", "dreamerv2")


@pytest.mark.parametrize("method", ["apv", "drqv2", "isodream"])
def test_tiny_plays_all_of_them_at_once_but_for_simulators_that_are_servers(method):
    def parallel(suite):
        found = resolve_finetuning("tiny", suite, parts=(suite,), overrides=[f"method={method}"])
        return found.config.evaluation.parallel

    assert (parallel("dmc"), parallel("carla")) == (5, 1)
