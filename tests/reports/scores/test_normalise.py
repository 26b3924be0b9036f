"""Scales per suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.config import build
from ipv_bench.errors import ConfigError, InputError, IpvBenchError
from reports.scores.known_ranges import outside_known_ranges
from reports.scores.normalise import NormaliseConfig, multiplied, normalise
from reports.scores.score_table import ScoredRun
from tests.reports.scored_runs import scored_run


def scaled(task: str, score: float, config: dict | None = None, **changes: object) -> float:
    run = scored_run(task=task, steps=[1], scores=[score], **changes)
    return float(normalise([run], build(NormaliseConfig, config or {})).runs[0].scores[0])


def test_built_in_rules() -> None:
    assert scaled("dmc/walker_run", 750) == 0.75
    assert scaled("dmcr/walker_run", 500) == 0.5
    assert scaled("carla/ClearNoon", 1200) == 1
    assert scaled("carla/ClearNoon", -400) == 0
    assert scaled("carla/WetSunset", 200) == 0.5
    assert scaled("carla/clear_noon", 1200) == 1
    assert scaled("carla/wet_sunset", 200) == 0.5
    assert scaled("carla/dynamic_weather", 600) == 1
    assert scaled("metaworld/reach", 0.4, metric="success") == 0.4


def test_scales_are_named() -> None:
    runs = [scored_run(task="dmc/a"), scored_run(task="metaworld/reach", scores=[0, 1, 1], metric="success")]
    assert normalise(runs).scales == {"dmc": "return / 1000", "metaworld": "success rate"}


def test_own_ranges_come_first_and_tasks_before_suites() -> None:
    config = {"ranges": {"dmc": {"high": 500}, "dmc/walker_run": {"low": 100, "high": 200}}}
    assert scaled("dmc/cheetah_run", 250, config) == 0.5
    assert scaled("dmc/walker_run", 150, config) == 0.5


def test_human_scores_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "human.csv"
    file.write_text("task,random,human\npong,-20.7,14.6\natari/boxing,0.1,12.1\n")
    config = {"human": str(file)}
    assert scaled("atari/pong", 14.6, config) == 1.0
    assert scaled("atari/boxing", 6.1, config) == pytest.approx(0.5)


def test_scores_without_a_rule_are_kept_and_warned_about_when_pooled() -> None:
    alone = normalise([scored_run(task="gym/a", steps=[1], scores=[7])])
    assert alone.runs[0].scores[0] == 7
    assert not alone.findings
    pooled = normalise([scored_run(task="gym/a"), scored_run(task="gym/b")])
    assert [(finding.code, finding.level) for finding in pooled.findings] == [("not_normalised", "warning")]
    assert pooled.scales == {"gym": "return, not normalised"}


def pooled_tasks(runs: list[ScoredRun], **config: object) -> tuple[set[str], dict[str, str]]:
    found = normalise(runs, build(NormaliseConfig, config))
    return {run.task_id for run in found.poolable}, {finding.code: finding.text for finding in found.findings}


def test_a_task_that_the_human_scores_lack_is_never_pooled(tmp_path: Path) -> None:
    file = tmp_path / "human.csv"
    file.write_text("task,random,human\na,0,10\nb,0,10\nC,0,2000\n")
    runs = [scored_run(task=f"atari/{task}", scores=[7, 7, 7]) for task in ("a", "b", "c")]
    tasks, texts = pooled_tasks(runs, human=str(file))
    assert tasks == {"atari/a", "atari/b"}
    assert "no entry for c (nearest: C)" in texts["other_scale"]
    assert "no run has the task of 1 entries: C" in texts["unused_entries"]
    # Also when most tasks lack an entry: raw scores never take the place of normalised ones.
    tasks, _ = pooled_tasks([*runs, scored_run(task="atari/d"), scored_run(task="atari/e")], human=str(file))
    assert tasks == {"atari/a", "atari/b"}


def test_percent_is_not_pooled_with_shares() -> None:
    shares = [scored_run(task=f"metaworld/{t}", scores=[0, 0.5, 1], metric="success") for t in ("a", "b")]
    percent = scored_run("sac", task="metaworld/c", scores=[0, 50, 87], metric="success")
    never = scored_run(task="metaworld/d", scores=[0, 0, 0], metric="success")
    tasks, texts = pooled_tasks([*shares, percent, never])
    assert tasks == {"metaworld/a", "metaworld/b", "metaworld/d"}
    assert "factor of 100 would explain it (sac)" in texts["other_scale"]
    every = multiplied([*shares, percent, never], {"sac": 0.01})[0]
    assert len(pooled_tasks(list(every))[0]) == 4
    assert scaled("metaworld/c", 87, {"ranges": {"metaworld/c": {"high": 100}}}, metric="success") == 0.87


def test_returns_and_success_of_one_suite_are_not_pooled() -> None:
    runs = [scored_run(task=f"metaworld/{t}", scores=[0, 1, 1], metric="success") for t in ("a", "b")]
    tasks, texts = pooled_tasks([*runs, scored_run(task="metaworld/c")])
    assert tasks == {"metaworld/a", "metaworld/b"}
    assert "return, not normalised" in texts["other_scale"]


def test_success_that_never_came_is_not_pooled_with_returns() -> None:
    never = scored_run(task="metaworld/d", scores=[0, 0, 0], metric="success")
    tasks, texts = pooled_tasks([scored_run(task="metaworld/c"), scored_run(task="metaworld/e"), never])
    assert tasks == {"metaworld/c", "metaworld/e"}
    assert "success rate" in texts["other_scale"]


@pytest.mark.parametrize(
    ("low", "high", "largest", "expected"),
    [
        (-1600, 0, 0.1, ""),
        (-1600, 0, 5.0, "No factor explains it: the range ends at or below 0"),
        (-500, -60, -60.0, ""),
        (-500, -60, -59.0, "No factor explains it"),
        (-10, 100, 150.0, "A factor of 2 would"),
    ],
)
def test_ranges_that_end_at_or_below_zero(low: float, high: float, largest: float, expected: str) -> None:
    config = build(NormaliseConfig, {"ranges": {"gym/Pendulum-v1": {"low": low, "high": high}}})
    run = scored_run(task="gym/Pendulum-v1", scores=[low, low, largest])
    texts = [finding.text for finding in outside_known_ranges([run], config)]
    assert len(texts) == (1 if expected else 0), texts
    assert all(expected in text for text in texts)


def test_rules_that_nothing_uses_are_named() -> None:
    _, texts = pooled_tasks([scored_run()], ranges={"dmc/walker_rum": {"high": 3}}, factors={"contextvm": 2})
    assert "walker_rum (nearest: dmc/walker_run)" in texts["unused_rules"] or "contextwm" in texts["unused_rules"]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([scored_run(scores=[0, 500, 1000.2])], ""),
        ([scored_run(scores=[0, 500, 1900])], "A factor of 2 would"),
        ([scored_run(scores=[0, 500, 3900], action_repeat=4)], "A factor of 4, its action repeat"),
        ([scored_run(scores=[0, 500, 5000.0])], "A factor of 5 would"),
        ([scored_run(scores=[-30, 0, 10])], "below 0"),
        ([scored_run(scores=[0, 0.4, 0.9]), scored_run("apv", scores=[0, 400, 900])], "A factor of 1000"),
        ([scored_run(scores=[0, 0.4, 0.9])], ""),
        ([scored_run(task="metaworld/reach", scores=[0, 40, 90], metric="success")], "factor of 100"),
        ([scored_run(task="carla/dynamic", scores=[-400, 40, 600])], ""),
        ([scored_run(task="x/a", scores=[0, 0.4, 0.9], metric="score"),
          scored_run("apv", task="x/a", scores=[0, 40, 90], metric="score")], "percent beside shares"),
    ],
)  # fmt: skip
def test_scores_outside_their_range_name_the_factor(runs: list[ScoredRun], expected: str) -> None:
    texts = [finding.text for finding in outside_known_ranges(runs, NormaliseConfig())]
    assert len(texts) == (1 if expected else 0), texts
    assert all(expected in text for text in texts)


@pytest.mark.parametrize(
    ("text", "error", "fix"),
    [
        ("task,human\na,1\n", InputError, "into the first line"),
        ("task,random,human\na,x,2\n", InputError, "correct that row"),
        ("task,random,human\na,2,2\n", ConfigError, "are exchanged"),
        ("task,random,human\na,nan,2\n", InputError, "correct that row"),
        ("task,random,human\na,1,2\na,1,3\n", InputError, "all rows of a but"),
    ],
)
def test_wrong_human_files_are_refused(tmp_path: Path, text: str, error: type[IpvBenchError], fix: str) -> None:
    file = tmp_path / "human.csv"
    file.write_text(text)
    with pytest.raises(error, match=r"human\.csv") as caught:
        scaled("atari/a", 1, {"human": str(file)})
    assert caught.value.expected
    assert fix in caught.value.fix
    with pytest.raises(InputError, match="cannot be read.*\n.*task, random, human\n.*correct the path"):
        scaled("atari/a", 1, {"human": str(tmp_path / "none.csv")})


def test_empty_ranges_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"ranges\.dmc\.high 1 is not above ranges\.dmc\.low 1"):
        build(NormaliseConfig, {"ranges": {"dmc": {"low": 1, "high": 1}}})
