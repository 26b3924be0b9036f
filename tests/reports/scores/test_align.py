"""Alignment: the grid, reading off, the common range, and the list of what was dropped."""

from __future__ import annotations

import numpy as np
import pytest

from ipv_bench.config import build
from ipv_bench.errors import ConfigError, InputError
from reports.scores.align import GridConfig, align
from tests.reports.scored_runs import scored_run


def grid(**values: object) -> GridConfig:
    return build(GridConfig, values)


def test_scores_equal_to_their_steps_stay_so() -> None:
    runs = [scored_run(seed=0, steps=[0, 10, 20]), scored_run(seed=1, steps=[0, 5, 20])]
    union = align({"a": runs}, grid(fill="linear"))
    assert union.env_steps.tolist() == [0, 5, 10, 20]
    np.testing.assert_allclose(union.groups["a"].scores[:, 0], [union.env_steps] * 2)
    previous = align({"a": runs}, grid(fill="previous")).groups["a"].scores[:, 0]
    assert previous.tolist() == [[0, 0, 10, 20], [0, 5, 5, 20]]


def test_intersection_and_every() -> None:
    runs = [scored_run(seed=0, steps=[0, 10, 20]), scored_run(seed=1, steps=[0, 5, 20])]
    assert align({"a": runs}, grid(points="intersection")).env_steps.tolist() == [0, 20]
    assert align({"a": runs}, grid(points="every", every=6)).env_steps.tolist() == [0, 6, 12, 18]


def test_dims_are_run_task_step_with_empty_places_for_missing_runs() -> None:
    runs = [scored_run(task="dmc/a", seed=s, scores=[s, s, s]) for s in (3, 1)] + [scored_run(task="dmc/b", seed=7)]
    aligned = align({"x": runs}).groups["x"]
    assert aligned.tasks == ("dmc/a", "dmc/b")
    assert aligned.scores.shape == (2, 2, 3)
    assert aligned.num_runs == (2, 1)
    assert aligned.seeds == (("3", "1"), ("7",))
    assert np.isnan(aligned.scores[1, 1]).all()
    assert aligned.scores[:, 0, 0].tolist() == [3, 1]
    assert aligned.task("dmc/b").shape == (1, 1, 3)


def test_common_range_lists_what_it_cuts() -> None:
    runs = [scored_run(seed=0, steps=[0, 10, 20, 30]), scored_run(seed=1, steps=[5, 15])]
    alignment = align({"a": runs})
    assert alignment.env_steps.tolist() == [5, 10, 15]
    found = {(item.run, item.reason): (item.points, item.first, item.last) for item in alignment.dropped}
    name = "dmc/walker_run/contextwm/seed0"
    assert found == {(name, "before the grid"): (1, 0, 0), (name, "behind the grid"): (2, 20, 30)}


def test_stop_drops_runs_that_do_not_reach_it() -> None:
    runs = [scored_run(seed=0, steps=[0, 10, 20]), scored_run(seed=1, steps=[0, 10])]
    alignment = align({"a": runs}, grid(stop=20))
    assert alignment.groups["a"].seeds == (("0",),)
    assert [item.reason for item in alignment.dropped] == ["ends before 20"]
    late = align({"a": [*runs[:1], scored_run(seed=2, steps=[4, 20])]}, grid(start=0, stop=20))
    assert [item.reason for item in late.dropped] == ["starts after 0"]


def test_groups_keep_their_common_tasks_and_one_grid() -> None:
    first = [scored_run(task="dmc/a"), scored_run(task="dmc/b", steps=[0, 10])]
    second = [scored_run("apv", task="dmc/b", steps=[0, 8]), scored_run("apv", task="dmc/c")]
    alignment = align({"a": first, "b": second, "none": []})
    assert alignment.tasks == ("dmc/b",)
    assert list(alignment.groups) == ["a", "b"]
    assert alignment.env_steps.tolist() == [0, 8]
    assert [item.reason for item in alignment.dropped].count("task not run by every method") == 2


def test_at_most_max_points_with_both_ends() -> None:
    steps = np.arange(1000)
    aligned = align({"a": [scored_run(steps=steps)]}, grid(max_points=11))
    assert len(aligned.env_steps) == 11
    assert aligned.env_steps[[0, -1]].tolist() == [0, 999]


def test_final_is_the_last_point_or_a_window_mean() -> None:
    aligned = align({"a": [scored_run(steps=[0, 10, 20, 30])]}).groups["a"]
    assert aligned.final() == 30
    assert aligned.final(10) == 25
    assert aligned.final(100) == 15


def test_no_common_range_names_the_runs() -> None:
    runs = [scored_run(seed=0, steps=[0, 10]), scored_run(seed=1, steps=[20, 30])]
    with pytest.raises(InputError, match=r"seed1 starts at 20, .*seed0 ends at 10"):
        align({"a": runs})
    with pytest.raises(InputError, match="no grid point"):
        align({"a": [scored_run(steps=[1, 2])]}, grid(points="every", every=50))


def test_nothing_left_says_why() -> None:
    with pytest.raises(InputError, match="1 × no evaluations"):
        align({"a": [scored_run(steps=[])]})
    with pytest.raises(InputError, match="2 × task not run by every method"):
        align({"a": [scored_run(task="dmc/a")], "b": [scored_run(task="dmc/b")]})


@pytest.mark.parametrize(
    "values",
    [{"points": "every"}, {"every": 5}, {"start": 5, "stop": 4}, {"points": "all"}, {"max_points": 1}, {"evry": 3}],
)
def test_wrong_grids_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        grid(**values)
