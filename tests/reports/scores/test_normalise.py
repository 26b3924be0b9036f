"""Scales per suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.config import build
from ipv_bench.errors import ConfigError, InputError
from reports.scores.normalise import NormaliseConfig, normalise
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
    assert scaled("metaworld/reach", 0.4, metric="success") == 0.4


def test_scales_are_named() -> None:
    runs = [scored_run(task="dmc/a"), scored_run(task="metaworld/reach", metric="success")]
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


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("task,human\na,1\n", InputError),
        ("task,random,human\na,x,2\n", InputError),
        ("task,random,human\na,2,2\n", ConfigError),
    ],
)
def test_wrong_human_files_are_refused(tmp_path: Path, text: str, error: type[Exception]) -> None:
    file = tmp_path / "human.csv"
    file.write_text(text)
    with pytest.raises(error, match=r"human\.csv"):
        scaled("atari/a", 1, {"human": str(file)})
    with pytest.raises(InputError, match="cannot be read"):
        scaled("atari/a", 1, {"human": str(tmp_path / "none.csv")})


def test_empty_ranges_are_refused() -> None:
    with pytest.raises(ConfigError, match="not above low"):
        build(NormaliseConfig, {"ranges": {"dmc": {"low": 1, "high": 1}}})
