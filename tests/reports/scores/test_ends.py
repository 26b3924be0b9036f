"""Which runs are pooled, and at which env step their final scores are read."""

from __future__ import annotations

import numpy as np
import pytest

from ipv_bench.config import build
from reports.config import ReportConfig
from reports.grouping import common_tasks
from reports.scores.align import GridConfig
from reports.scores.ends import final_scores, task_ends, unequal_ends
from reports.scores.health import without_odd_runs
from reports.scores.overlap import overlapping
from reports.scores.score_table import ScoredRun
from reports.suite_scores import Ends, pooled, suite_scores
from tests.reports.scored_runs import scored_run


def seeds(number: int = 5, **changes: object) -> list[ScoredRun]:
    return [scored_run(seed=seed, **{"steps": range(0, 101, 10), **changes}) for seed in range(number)]


def suite(groups: dict[str, list[ScoredRun]], **config: object):
    every = build(ReportConfig, config)
    ends = Ends(groups, every)
    return suite_scores(pooled(groups, list(ends.tasks), every.min_tasks), ends, every)


def test_a_run_that_ended_early_is_left_out_and_named() -> None:
    short = scored_run(seed=9, steps=[0, 10, 70])
    kept, left_out, findings = without_odd_runs([*seeds(), short], GridConfig())
    assert [one.run.seed for one in left_out] == ["9"]
    assert len(kept) == 5
    assert [finding.code for finding in findings] == ["short_runs"]
    assert "seed9 ends at 70" in findings[0].text
    almost = scored_run(seed=9, steps=[0, 10, 80])
    assert len(without_odd_runs([*seeds(), almost], GridConfig())[0]) == 6
    assert len(without_odd_runs([*seeds(), short], build(GridConfig, {"min_length": 0}))[0]) == 6


def test_a_run_is_judged_by_its_own_method_and_task_alone() -> None:
    brief = [scored_run("apv", seed=seed, steps=[0, 20]) for seed in range(5)]
    other = [scored_run(task="dmc/b", seed=seed, steps=[0, 30]) for seed in range(5)]
    assert without_odd_runs([*seeds(), *brief, *other], GridConfig())[1] == []


def test_runs_that_stop_where_the_user_stops_are_long_enough() -> None:
    half = scored_run(seed=9, steps=range(0, 51, 10))
    assert without_odd_runs([*seeds(), half], build(GridConfig, {"stop": 50}))[1] == []


def test_seeds_in_another_score_or_in_percent_are_left_out() -> None:
    shares = [scored_run(seed=seed, scores=[0, 0.5, 0.9], metric="success") for seed in range(4)]
    percent = scored_run(seed=4, scores=[0, 50, 90], metric="success")
    zero = scored_run(seed=6, scores=[0, 0, 0], metric="success")
    kept, left_out, _ = without_odd_runs([*shares, percent, zero, scored_run(seed=5)], GridConfig())
    assert [one.run.seed for one in left_out] == ["5", "4"]
    assert "factor 100" in left_out[1].reason
    assert len(kept) == 5


@pytest.mark.parametrize(
    ("ends", "final_at", "read_at"),
    [
        ({"a": 100, "b": 90}, "auto", {"a": 90, "b": 90}),
        ({"a": 100, "b": 20}, "auto", {"a": 100, "b": 20}),
        ({"a": 100, "b": 95, "c": 20, "d": 19}, "auto", {"a": 95, "b": 95, "c": 19, "d": 19}),
        ({"a": 100, "b": 20}, "common", {"a": 20, "b": 20}),
        ({"a": 100, "b": 90}, "own", {"a": 100, "b": 90}),
    ],
)
def test_where_final_scores_are_read(ends: dict[str, float], final_at: str, read_at: dict[str, float]) -> None:
    groups = {label: [scored_run(label, steps=[0, end])] for label, end in ends.items()}
    found = task_ends(groups, "dmc/walker_run", final_at)
    assert found.read_at == read_at
    assert found.own == ends


def test_methods_that_end_apart_are_reported_with_their_ends() -> None:
    def codes(*ends: float) -> list[str]:
        groups = {str(end): [scored_run(steps=[0, end])] for end in ends}
        return [finding.code for finding in unequal_ends("dmc", [task_ends(groups, "dmc/walker_run")])]

    assert codes(100, 100) == []
    assert codes(100, 20) == ["unequal_ends"]
    assert codes(100, 1e6) == ["unequal_ends", "step_units"]
    groups = {"a": [scored_run(steps=[0, 1000])], "b": [scored_run(steps=[0, 200])]}
    (finding,) = unequal_ends("dmc", [task_ends(groups, "dmc/walker_run")])
    assert "b at 200, a at 1000" in finding.text
    assert "a is read at 1000; b is read at 200" in finding.text


def test_final_scores_say_which_evaluations_they_are_made_of() -> None:
    run = scored_run(steps=[0, 10, 20, 30], scores=[1, 2, 4, 8])
    late = scored_run(seed=1, steps=[30, 40])
    (one,) = final_scores([run, late], 25)
    assert (one.score, one.first, one.last, one.number) == (4, 20, 20, 1)
    (mean,) = final_scores([run], 30, window=10)
    assert (mean.score, mean.first, mean.last, mean.number) == (6, 20, 30, 2)
    (line,) = final_scores([run], 25, fill="linear")
    assert (line.score, line.first, line.last) == (6, 20, 30)
    (before,) = final_scores([run], 28, window=2)
    assert before.score == 4


def test_one_run_with_a_single_point_changes_neither_curve_nor_suite() -> None:
    odd = scored_run(seed=9, steps=[100], scores=[7])
    kept, dropped = overlapping([*seeds(), odd])
    assert len(kept) == 5
    assert "not in the curve" in dropped[0].reason
    groups = {"a": [*seeds(), odd], "b": [scored_run("b", steps=range(0, 101, 10))]}
    scores, _ = suite(groups)
    assert scores is not None
    assert scores.final["a"][:, 0].tolist() == [100] * 5 + [7]  # its final score counts
    assert scores.ranges == ((0, 100),)


def test_a_task_without_a_common_range_is_left_out_and_the_suite_stays() -> None:
    early, late = scored_run(task="dmc/x", steps=[0, 10]), scored_run("b", task="dmc/x", steps=[1000, 1010])
    groups = {"a": [*seeds(), early], "b": [scored_run("b", steps=range(0, 101, 10)), late]}
    scores, dropped = suite(groups, final_at="common")
    assert scores is not None
    assert scores.tasks == ("dmc/walker_run",)
    assert any("dmc/x" in one.run for one in dropped)


def test_a_task_that_starts_late_is_left_out_of_the_line() -> None:
    runs = [scored_run(task=f"dmc/{task}", steps=range(0, 101, 10)) for task in "abc"]
    kept, dropped = overlapping([*runs, scored_run(task="dmc/d", steps=[100])])
    assert {run.task for run in kept} == {"a", "b", "c"}
    assert [one.run for one in dropped] == ["dmc/d/contextwm/seed0"]


def test_a_method_with_few_tasks_does_not_shrink_the_aggregate() -> None:
    ours = [scored_run(task=f"dmc/{index}") for index in range(8)]
    groups = {"ours": ours, "stray": [scored_run("stray", task="dmc/3")], "apart": [scored_run("apart", task="dmc/z")]}
    found = pooled(groups, common_tasks({"a": [*ours, *groups["apart"]]}), 0.25)
    assert set(found.groups) == {"ours"}
    assert len(found.tasks) == 8
    assert found.left_out == {"apart": 1, "stray": 1}
    half = {"ours": ours, "half": [scored_run("half", task=f"dmc/{index}") for index in range(3)]}
    assert pooled(half, [run.task_id for run in ours], 0.25).tasks == ("dmc/0", "dmc/1", "dmc/2")
    apart = {"a": ours[:4], "b": [scored_run("b", task=f"dmc/{index}") for index in range(4, 7)]}
    assert set(pooled(apart, [run.task_id for run in ours], 0.25).groups) == {"a"}
    # Equals go together: of methods with as few tasks none stays for its name's sake.
    equals = {"a": ours, "b": [ours[0]], "c": [ours[1]], "d": [ours[1]]}
    found = pooled(equals, [run.task_id for run in ours], 0.25)
    assert set(found.groups) == {"a"}
    assert found.left_out == {"b": 1, "c": 1, "d": 1}


def test_every_method_is_read_at_its_own_end_when_they_lie_apart() -> None:
    rising = np.linspace(0, 0.9, 11)
    long = [scored_run(seed=s, steps=range(0, 101, 10), scores=rising) for s in range(5)]
    short = [scored_run("b", seed=s, steps=[0, 20], scores=[0, 0.4]) for s in range(5)]
    scores, dropped = suite({"a": long, "b": short})
    assert scores is not None
    assert scores.final["a"].mean() == pytest.approx(0.9)
    assert scores.read_at("a") == (100, 100)
    assert scores.read_at("b") == (20, 20)
    assert scores.ranges == ((0, 20),)
    assert scores.area["a"].mean() == pytest.approx(0.09)  # 0, 0.09, 0.18: over the range that both cover
    common, dropped = suite({"a": long, "b": short}, final_at="common")
    assert common is not None
    assert common.final["a"].mean() == pytest.approx(0.18)
    assert all(one.points == 8 and one.first == 30 for one in dropped)
    assert len(dropped) == 5
