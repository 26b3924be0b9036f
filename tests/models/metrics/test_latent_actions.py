"""The report on latent actions: probes that recover what is there, verdicts, and numbers that nobody measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.metrics.action_probes import probe_r2
from models.metrics.latent_actions import (
    LatentActionEvidence,
    code_perplexity,
    judge,
    latent_action_report,
)

N, T = 40, 6


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def evidence(**changes: Any) -> LatentActionEvidence:
    error = np.full((N, 3), 1.0)
    values = {"own_error": error, "other_error": 4 * error, "copy_error": 2 * error * [1, 2, 4], "action_kl": 3.0}
    return LatentActionEvidence(**(values | changes))


def test_a_probe_finds_a_linear_map_and_nothing_in_noise() -> None:
    inputs = random(N, T, 5)
    outputs = inputs @ random(5, 2, seed=1) + 3
    assert probe_r2(inputs, outputs) > 0.999
    assert probe_r2(random(N, T, 5, seed=2), outputs) < 0.05
    half = outputs + outputs.std() * random(N, T, 2, seed=3)  # as much noise as signal
    assert 0.35 < probe_r2(inputs, half) < 0.65
    assert np.isnan(probe_r2(inputs, np.ones((N, T, 2))))
    many = random(12, T, 64, seed=4)  # as many inputs as rows: a weak penalty would fit them all, to no end
    assert -0.2 < probe_r2(many, random(12, T, 2, seed=5)) < 0.2


def test_a_probe_is_scored_on_other_videos() -> None:
    """A map from an input that only names the video is no map at all."""
    named = np.repeat(np.eye(8), 5, 0)[:, None].repeat(T, 1)  # (40, T, 8): five segments of each of eight videos
    outputs = np.repeat(random(8, 1, 2), 5, 0).repeat(T, 1)
    videos = np.repeat(np.arange(8), 5)
    assert probe_r2(named, outputs) > 0.9
    assert probe_r2(named, outputs, videos) < 0.1
    assert np.isnan(probe_r2(named, outputs, np.arange(N) % 2))  # too few videos to choose a penalty by


def test_a_probe_finds_nothing_where_rows_of_a_video_resemble_one_another() -> None:
    """Rows that are alike look like many: a penalty chosen by rows is too weak, and the map worse than the mean."""
    actions, slow = np.cumsum(random(64, 8, 2), 1), np.cumsum(random(64, 8, 64, seed=1), 1)
    backgrounds = random(9, 1, 64, seed=2)[np.arange(64) // 8] + 0.1 * random(64, 8, 64, seed=3)
    videos = np.arange(64) // 8
    for inputs in (slow, backgrounds):
        assert -0.2 < probe_r2(inputs, actions, videos) < 0.1
        assert probe_r2(np.concatenate([inputs, actions], -1), actions, videos) > 0.99


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups"),
    [((4, 3, 2), (4, 2, 2), None), ((4, 3), (4, 3, 1), None), ((4, 3, 1), (4, 3, 1), (3,))],
)
def test_probes_of_shapes_that_do_not_fit_are_refused(inputs: Any, outputs: Any, groups: Any) -> None:
    with pytest.raises(ValueError, match="found"):
        probe_r2(np.zeros(inputs), np.zeros(outputs), None if groups is None else np.zeros(groups, int))


def test_latents_that_code_the_next_position_are_found_beside_the_state() -> None:
    position = np.cumsum(random(N, T + 1, 2), 1) * 3
    actions, latents = np.diff(position, axis=1), position[:, 1:]  # z says where it ends up, not how it moved
    report = latent_action_report(evidence(latents=latents, actions=actions, states=position[:, :-1]))
    assert report.r2_action < 0.5
    assert report.r2_action_given_state > 0.99
    assert report.r2_state_alone < 0.1
    assert "R²(a|z,s) 1.00" in report.sentence()


def test_the_ratios_are_those_of_sums_over_sequences_step_by_step() -> None:
    own, other = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[2.0, 2.0], [6.0, 4.0]])
    copied = np.array([[8.0, 0.0], [0.0, 8.0]])
    report = latent_action_report(evidence(own_error=own, other_error=other, copy_error=copied, prior_error=3 * own))
    assert (report.copy_ratio, report.shuffle_ratio, report.prior_ratio) == (0.5, 2.0, 3.0)
    assert report.copy_ratio_by_step == [0.5, 0.5]
    assert report.shuffle_ratio_by_step == [2.0, 1.5]
    assert report.open_loop_error == [2.0, 2.0]


@pytest.mark.parametrize(
    ("shuffled", "copied", "kl", "perplexity", "verdict", "number"),
    [
        (4.2, 0.6, 4.1, None, "usable", "shuffle ratio 4.2"),
        (4.2, 0.6, 0.05, None, "collapsed", "KL 0.05 nats < 0.1"),
        (1.02, 0.6, 4.1, None, "ignored", "shuffle ratio 1.02 < 1.3"),
        (1.0, 0.6, 0.0, None, "collapsed", "KL 0 nats"),
        (6.5, 0.2, None, [39.9, 20.0], "usable", "shuffle ratio 6.5"),
        (1.0, 0.8, None, [38.0], "ignored", "shuffle ratio 1 < 1.3"),  # healthy perplexity does not mean used codes
        (6.5, 0.2, None, [1.1], "collapsed", "perplexity 1.1 < 25% of 64 codes"),
        (6.5, 0.2, None, [40.0, 1.0, 1.0, 1.0], "collapsed", "2.51 (geometric mean, the smallest 1) < 25% of 64"),
        (float("nan"), 0.6, 4.1, None, "cannot_tell", "shuffle ratio nan, which is not finite"),
        (float("inf"), 0.6, 4.1, None, "cannot_tell", "shuffle ratio inf, which is not finite"),
        (4.0, 0.6, float("nan"), None, "cannot_tell", "KL nan nats, which is not finite"),
        (4.0, 0.6, float("inf"), None, "cannot_tell", "KL inf nats, which is not finite"),
        (2.1, 19.9, 12.0, None, "worse_than_copy", "copy ratio 19.9 ≥ 1"),  # they decide where a bad guess goes
        (2.1, 1.0, 12.0, None, "worse_than_copy", "copy ratio 1 ≥ 1"),
        (2.1, float("nan"), 12.0, None, "cannot_tell", "copy ratio nan, which is not finite: nothing moves"),
        (2.1, float("inf"), 12.0, None, "cannot_tell", "copy ratio inf, which is not finite"),
        (2.1, 0.0, 12.0, None, "usable", "shuffle ratio 2.1"),
        (1.02, float("nan"), 12.0, None, "ignored", "shuffle ratio 1.02"),
        (1.02, 19.9, 12.0, None, "ignored", "shuffle ratio 1.02"),
    ],
)
def test_the_verdict_and_the_number_that_decides(
    shuffled: float, copied: float, kl: float | None, perplexity: list[float] | None, verdict: str, number: str
) -> None:
    found = judge(shuffled, copied, kl, None if perplexity is None else np.array(perplexity), 64)
    assert found[0] == verdict
    assert number in found[1]


@pytest.mark.parametrize(
    ("used", "steps", "verdict", "number"),
    [
        (20, 64, "cannot_tell", "on 64 different steps, fewer than the 1024 codes"),  # 2 % of the codebook, on 64 pairs
        (20, 4096, "collapsed", "< 25% of 1024 codes"),
        (3, 64, "collapsed", "< 25% of 64 steps"),
        (300, 900, "usable", "shuffle ratio 4 ≥"),  # a quarter is used whatever more steps would bring
        (1024, 4096, "usable", "shuffle ratio 4 ≥"),
    ],
)
def test_few_steps_cannot_tell_how_much_of_a_large_codebook_is_used(
    used: int, steps: int, verdict: str, number: str
) -> None:
    codes = (np.arange(steps) % used).reshape(steps, 1, 1)
    report = latent_action_report(evidence(action_kl=None, codes=codes, num_codes=1024))
    assert report.verdict == verdict
    assert number in report.decided_by
    # the same steps over and over are no more of them
    often = latent_action_report(evidence(action_kl=None, codes=codes, num_codes=1024, code_steps=min(steps, 64)))
    assert often.verdict == ("usable" if used > 256 else "cannot_tell" if used > 16 else "collapsed")
    ignored = evidence(action_kl=None, codes=codes, num_codes=1024, code_steps=64, other_error=np.ones((N, 3)))
    assert latent_action_report(ignored).verdict == ("collapsed" if used < 16 else "ignored")


def test_a_line_says_each_number_once() -> None:
    """What the issue asks to be printed: both ratios, perplexity of each code, bits, and errors by steps ahead."""
    codes = np.stack([np.arange(N * T) % 8, np.zeros(N * T, int)], -1).reshape(N, T, 2)
    coded = {"action_kl": None, "codes": codes, "num_codes": 8}
    for changes in ({}, {"other_error": np.ones((N, 3))}, {"copy_error": np.full((N, 3), 0.5)}):
        for more in ({}, coded):
            report = latent_action_report(evidence(own_error=np.ones((N, 3)) * [1, 2, 3], **(changes | more)))
            told = report.sentence()
            assert told.count("shuffle ratio") == told.count("copy ratio") == 1, told
            assert "open loop 1 to 3 steps ahead: error 1 to 3, at the end " in told
            assert ("3 bits (perplexity 8, 1)" in told) == bool(more)
    assert report.metrics()["latent_action_open_loop_error"] == [1.0, 2.0, 3.0]
    one = latent_action_report(evidence(**{f"{name}_error": np.ones((N, 1)) for name in ("own", "other", "copy")}))
    assert "open loop 1 step ahead: error 1;" in one.sentence()


def test_perplexity_counts_the_codes_that_are_used() -> None:
    codes = np.stack([np.arange(N * T) % 8, np.zeros(N * T, int), np.arange(N * T) % 2], -1).reshape(N, T, 3)
    np.testing.assert_allclose(code_perplexity(codes, 8), [8, 1, 2])
    report = latent_action_report(evidence(action_kl=None, codes=codes, num_codes=8))
    assert report.bits == pytest.approx(3 + 0 + 1)
    assert report.verdict == "usable"
    with pytest.raises(ValueError, match="codebook of 4"):
        code_perplexity(codes, 4)


def test_what_was_not_measured_is_left_out_and_said() -> None:
    report = latent_action_report(evidence())
    assert report.metrics().keys() == {
        f"latent_action_{name}"
        for name in (
            "decided_by",
            "copy_ratio",
            "shuffle_ratio",
            "action_kl",
            "verdict",
            "open_loop_error",
            "copy_ratio_by_step",
            "shuffle_ratio_by_step",
        )
    }
    assert "no true actions to probe for" in report.sentence()
    labelled = {"latents": random(N, T, 3), "actions": random(N, T, 2)}
    few = latent_action_report(evidence(groups=np.arange(N) % 2, **labelled))
    assert "R²(a|z) unknown: fewer than 3 held-out videos" in few.sentence()
    assert "latent_action_r2_action" not in few.metrics()
    worse = latent_action_report(evidence(copy_error=np.full((N, 3), 0.5)))
    assert worse.verdict == "worse_than_copy"
    assert "copy ratio 2 ≥ 1); shuffle ratio 4; not better than repeating the last frame" in worse.sentence()
    still = latent_action_report(evidence(copy_error=np.zeros((N, 3))))
    assert still.verdict == "cannot_tell"
    assert "(copy ratio nan, which is not finite: nothing moves, or an error is not); shuffle" in still.sentence()
    assert "than repeating" not in still.sentence()
    with pytest.raises(ValueError, match="at least one"):
        latent_action_report(evidence(own_error=np.zeros((0, 3))))
