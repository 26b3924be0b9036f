"""Claims of the label-efficiency benchmark, where the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.models.adapting.label_efficiency_cases import (
    LABELS,
    MEASURES,
    benchmark,
)


def runs(claims: Any, generator: np.random.Generator, gain: float = 0.0, seeds: int = 5) -> list[Any]:
    """Runs of equal learners, but for `prelar`, whose every measure is larger by `gain`; a seed's runs are alike."""
    found = []
    for labels in LABELS:
        for seed in range(1, seeds + 1):
            shared = generator.normal()
            for name in ("scratch", "apv", "contextwm", "prelar", "uwm"):
                value = 10 + shared + 0.1 * generator.normal() + gain * (name == "prelar")
                found.append(claims.Run(name, labels, seed, dict.fromkeys(MEASURES, value)))
    return found


def test_equal_methods_give_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = benchmark(monkeypatch, "label_efficiency_claims")
    generator = np.random.default_rng(0)
    experiments = [claims.compare(runs(claims, generator), ("error",), LABELS) for _ in range(100)]
    assert {len(comparisons) for comparisons in experiments} == {16}
    wrong = sum(any(one.claim for one in comparisons) for comparisons in experiments)
    assert wrong <= 12  # 5 % of 100 are expected at most; more than 12 would be one chance in a thousand
    covered = [one.low <= 0 <= one.high for comparisons in experiments for one in comparisons]
    assert np.mean(covered) > 0.99


def test_a_clear_difference_is_claimed_with_its_sign_and_an_interval_that_holds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims = benchmark(monkeypatch, "label_efficiency_claims")
    for gain, lower, higher in ((2.0, "worse", "better"), (-2.0, "better", "worse")):
        found = claims.compare(runs(claims, np.random.default_rng(1), gain), MEASURES, LABELS)
        for one in found:
            if one.learner == "prelar":
                assert one.claim == (lower if one.measure in ("error", "copy_ratio") else higher)
                assert one.low < gain < one.high
                assert one.low < one.difference < one.high
                assert one.claim in claims.sentence(one)
            else:
                assert one.claim == ""
                assert "no difference is shown" in claims.sentence(one)
    # pairs of one seed: what all runs of a seed share is no noise of the comparison
    assert all(one.high - one.low < 2 for one in found)


def test_a_measure_that_is_not_finite_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = benchmark(monkeypatch, "label_efficiency_claims")
    for value in (float("nan"), float("inf")):
        found = runs(claims, np.random.default_rng(1), 2.0)
        for run in found:
            if (run.learner, run.seed) == ("prelar", 3):
                run.result.update(dict.fromkeys(MEASURES, value))
        judged = claims.compare(found, MEASURES, LABELS)
        assert not any(one.claim for one in judged)
        said = {one.learner: claims.sentence(one) for one in judged}
        assert "a run's measure is not finite, nothing is claimed" in said["prelar"]
        assert "no difference is shown" in said["apv"]


def test_too_few_runs_claim_nothing_however_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = benchmark(monkeypatch, "label_efficiency_claims")
    four = claims.compare(runs(claims, np.random.default_rng(2), 50.0, seeds=4), ("error",), LABELS)
    assert not any(one.claim for one in four)
    assert "4 of 5 pairs of runs, nothing is claimed" in claims.sentence(four[0])
    one = claims.compare(runs(claims, np.random.default_rng(2), 50.0, seeds=1), ("error",), LABELS)[0]
    assert (one.pairs, one.low, one.high, one.claim) == (1, None, None, "")
    # seeds that `scratch` does not have are no pairs
    odd = [run._replace(seed=run.seed + 3) if run.learner == "scratch" else run
           for run in runs(claims, np.random.default_rng(2), 50.0)]  # fmt: skip
    assert {one.pairs for one in claims.compare(odd, ("error",), LABELS)} == {2}


def test_runs_outside_the_protocol_claim_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = benchmark(monkeypatch, "label_efficiency_claims")
    five = runs(claims, np.random.default_rng(2), 50.0)
    others = [run._replace(seed=run.seed + 10) for run in five]
    assert claims.compare(others, ("error",), LABELS, (1, 2, 3, 4, 5)) == []
    assert claims.compare(five + others, ("error",), LABELS) == claims.compare(five, ("error",), LABELS)
    strange = [run._replace(labels=run.labels + 1) for run in five]
    assert claims.compare(strange, ("error",), LABELS) == []
    # five common seeds are not all six
    found = claims.compare(five, ("error",), LABELS, (1, 2, 3, 4, 5, 6))
    assert not any(one.claim for one in found)
    assert "5 of 6 pairs of runs, nothing is claimed" in claims.sentence(found[0])


def test_ratios_in_features_are_told_of_those_that_predict_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = benchmark(monkeypatch, "label_efficiency_summary")

    def kept(name: str, seed: int, **more: Any) -> Any:
        return summary.Run(name, 16, seed, dict(more))

    by_step = {"feature_shuffle_ratio_by_step": [1.5, 1.0], "feature_copy_ratio_by_step": [0.5, 1.0]}
    unknown = by_step | {"feature_copy_ratio_by_step": [None, 1.0]}
    (row,) = summary.in_features([kept("uwm", 1, **by_step), kept("uwm", 2, **unknown), kept("apv", 1)])
    assert (row["learner"], row["labels"], row["runs"], row["shuffle_ratio"]["mean"]) == ("uwm", 16, 2, 1.5)
    assert np.isnan(row["copy_ratio"]["mean"])  # of a run in which nothing moves
    assert "in features, one step ahead: shuffle_ratio 1.5 [1.5, 1.5]" in capsys.readouterr().err
