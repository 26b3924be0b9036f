"""Resumed runs: what was logged behind the point that a run went on from is dropped, counted and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reports.readers.registry import read_sources
from reports.scores.checks import check
from reports.scores.restarts import find_restarts
from reports.scores.score_table import Collection, ScoredRun
from tests.reports.readers.small_logs import events, jsonl, write

FIRST = [(1000, 1.0), (2000, 2.0), (3000, 99.0), (4000, 99.0)]
SECOND = [(2500, 2.5), (3500, 3.5), (4500, 4.5)]
WANTED = ([1000, 2000, 2500, 3500, 4500], [1.0, 2.0, 2.5, 3.5, 4.5])


def only(found: Collection) -> ScoredRun:
    (run,) = check(found).runs
    return run


def dropped(found: Collection) -> str:
    (finding,) = (one for one in check(found).findings if one.code == "restarted")
    assert finding.level == "warning"
    return finding.text


def test_tensorboard_in_two_files(tmp_path: Path) -> None:
    folder = tmp_path / "dmc_walker_walk" / "sac" / "0"
    events(folder, {"eval_return": FIRST}, "events.out.tfevents.1.host.9", began=10)
    events(folder, {"eval_return": SECOND}, "events.out.tfevents.1.host.10", began=10)  # 9 comes before 10
    found = read_sources([tmp_path])
    run = only(found)
    assert (run.env_steps.tolist(), run.scores.tolist()) == WANTED
    assert "first to 2500): 2 scores" in dropped(found)


def test_the_losses_of_the_second_file_say_where_it_went_on(tmp_path: Path) -> None:
    folder = tmp_path / "dmc_walker_walk" / "sac" / "0"
    events(folder, {"eval_return": FIRST}, "events.out.tfevents.1.host", began=10)
    late = {"loss": [(2100, 0.5), (2200, 0.5)], "eval_return": [(4200, 4.2)], "setting": [(0, 1.0)]}
    events(folder, late, "events.out.tfevents.2.host", began=20)
    run = only(read_sources([tmp_path]))
    assert (run.env_steps.tolist(), run.scores.tolist()) == ([1000, 2000, 4200], [1.0, 2.0, pytest.approx(4.2)])


def test_losses_by_updates_say_nothing_of_where_a_score_by_env_steps_went_on(tmp_path: Path) -> None:
    folder = tmp_path / "dmc_walker_walk" / "sac" / "0"
    scores = [(10_000 * n, float(n)) for n in range(1, 41)]
    for place, part in enumerate((scores[:20], scores[20:])):
        losses = [(step // 10 - 900 + extra, 0.5) for step, _ in part for extra in (0, 450)]
        events(folder, {"loss": losses, "eval_return": part}, f"events.out.tfevents.{place}.host", began=10 + place)
    found = read_sources([tmp_path])
    assert only(found).scores.tolist() == [score for _, score in scores]
    assert "restarted" not in {finding.code for finding in found.findings}


def test_jsonl_with_losses_between(tmp_path: Path) -> None:
    folder = tmp_path / "dmc_walker_walk" / "dreamerv2" / "0"
    lines = [{"step": step, "eval_return": score} for step, score in FIRST]
    lines += [{"step": 2100, "loss": 0.5}, {"step": 4100, "eval_return": 4.0}]
    write(folder / "metrics.jsonl", jsonl(*lines))
    found = read_sources([tmp_path])
    run = only(found)
    assert (run.env_steps.tolist(), run.scores.tolist()) == ([1000, 2000, 4100], [1.0, 2.0, 4.0])
    assert "2 scores" in dropped(found)


def test_jsonl_in_several_files(tmp_path: Path) -> None:
    folder = tmp_path / "dmc_walker_walk" / "dreamerv2" / "0"
    write(folder / "metrics.jsonl", jsonl(*({"step": s, "eval_return": v} for s, v in FIRST)))
    write(folder / "metrics_2.jsonl", jsonl(*({"step": s, "eval_return": v} for s, v in SECOND)))
    run = only(read_sources([tmp_path]))
    assert (run.env_steps.tolist(), run.scores.tolist()) == WANTED
    # a second log that begins anew may be another run's
    write(folder / "metrics_3.jsonl", jsonl({"step": 1000, "eval_return": 7.0}))
    found = read_sources([tmp_path])
    assert only(found).scores.tolist() == WANTED[1]
    assert "second_log" in {finding.code for finding in found.findings}


def test_scores_stand_in_the_log_that_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "dmc_walker_walk" / "dreamerv3" / "0"
    write(folder / "metrics.jsonl", jsonl({"step": 10, "loss": 1.0}))
    write(folder / "scores.jsonl", jsonl({"step": 10, "episode/score": 2.0}))
    assert only(read_sources([tmp_path])).scores.tolist() == [2.0]


def test_versions_are_parts_of_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "dmc_walker_walk" / "sac" / "0"
    events(folder / "version_2", {"eval_return": FIRST})
    events(folder / "version_10", {"eval_return": SECOND})
    run = only(read_sources([tmp_path]))
    assert (run.env_steps.tolist(), run.scores.tolist()) == WANTED


def test_our_own_log_and_a_table(tmp_path: Path) -> None:
    rows = "".join(f"a,dmc,walker_walk,0,{step},{score}\n" for step, score in [*FIRST, *SECOND])
    write(tmp_path / "a.csv", "method,suite,task,seed,step,score\n" + rows)
    run = only(read_sources([tmp_path]))
    assert (run.env_steps.tolist(), run.scores.tolist()) == WANTED


def test_rows_in_another_order_are_no_restart(tmp_path: Path) -> None:
    steps = sorted(range(0, 30_000, 1000), key=str)  # as texts: 0, 1000, 10000, 11000, ..., 2000
    rows = "".join(f"a,dmc,walker_walk,0,{step},{step}\n" for step in steps)
    write(tmp_path / "a.csv", "method,suite,task,seed,step,score\n" + rows)
    run = only(read_sources([tmp_path]))
    assert run.env_steps.tolist() == run.scores.tolist() == list(range(0, 30_000, 1000))


def test_restarts_of_restarts() -> None:
    found = find_restarts(np.array([0, 10, 20, 30, 15, 25, 35, 5, 40.0]))
    assert np.flatnonzero(found.keep).tolist() == [0, 7, 8]
    assert found.places.tolist() == [4, 7]


def test_workers_that_log_out_of_turn_lose_nothing() -> None:
    steps = np.arange(0, 100_000, 10.0)
    steps[1::7] -= 15
    found = find_restarts(steps)
    assert found.keep.all()
    assert not len(found.places)
