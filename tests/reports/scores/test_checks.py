"""Each planted mistake fires its finding, and clean runs fire none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ipv_bench.errors import InputError
from reports.grouping import Grouping
from reports.scores.checks import check, zero_width
from reports.scores.score_table import Collection, ScoredRun
from reports.statistics.intervals import interval
from tests.reports.scored_runs import scored_run

ENV = {"suite": "dmc", "mujoco": "3.3.0", "camera": 0}


def good_runs(**changes: Any) -> list[ScoredRun]:
    fields = {"status": "finished", "env_fingerprint": ENV, "action_repeat": 2, **changes}
    return [
        scored_run(task=f"dmc/{task}", seed=seed, **{"scores": [seed, 10 + seed, 20], **fields})
        for task in ("a", "b")
        for seed in range(5)
    ]


def checked(runs: list[ScoredRun], **options: bool) -> tuple[Collection, dict[str, str]]:
    found = check(Collection(tuple(runs)), **options)
    return found, {finding.code: finding.level for finding in found.findings}


def test_good_runs_have_no_warnings() -> None:
    found, codes = checked(good_runs())
    assert codes == {"x_axis": "note"}
    assert len(found.runs) == 10
    assert "action repeat 2" in found.findings[0].text


def test_scores_that_are_not_finite_are_dropped_and_counted() -> None:
    runs = good_runs()
    runs[0] = scored_run(
        task="dmc/a", seed=0, steps=[0, 10, 20, 30], scores=[1, np.nan, np.inf, 4], env_fingerprint=ENV
    )
    found, codes = checked(runs)
    assert codes["not_finite"] == "warning"
    assert found.runs[0].scores.tolist() == [1, 4]
    assert "2 of 4" in next(finding.text for finding in found.findings if finding.code == "not_finite")


def test_steps_that_go_back_are_a_resumed_run() -> None:
    runs = good_runs()
    runs[0] = scored_run(task="dmc/a", seed=0, steps=[0, 10, 20, 10, 20], scores=[0, 1, 2, 3, 4], env_fingerprint=ENV)
    found, codes = checked(runs)
    assert codes["restarted"] == "warning"
    assert found.runs[0].env_steps.tolist() == [0, 10, 20]
    assert found.runs[0].scores.tolist() == [0, 3, 4]


def test_same_run_twice_uses_the_longest() -> None:
    copy = scored_run(task="dmc/a", seed=0, steps=[0, 10], source="elsewhere", env_fingerprint=ENV)
    found, codes = checked([*good_runs(), copy])
    assert codes["duplicate_runs"] == "warning"
    assert len(found.runs) == 10
    assert all(run.source != "elsewhere" for run in found.runs)


def test_duplicates_with_different_configs_are_refused_with_the_difference() -> None:
    runs = good_runs(record={"config": {"rssm": {"deter": 512}, "training": {"device": "cpu"}}})
    copy = scored_run(
        task="dmc/a", seed=0, source="a-copy", env_fingerprint=ENV, record={"config": {"rssm": {"deter": 64}}}
    )
    found, codes = checked([*runs, copy])
    assert codes["duplicate_configs"] == "refusal"
    assert len(found.runs) == 10
    text = next(finding.text for finding in found.findings if finding.code == "duplicate_configs")
    assert "rssm.deter: 64 → 512" in text
    assert "device" not in text


def test_runs_pretrained_on_other_videos_are_no_duplicates() -> None:
    runs = [*good_runs(pretraining={"data": ["ssv2"]}), *good_runs(pretraining={"data": ["human36m"]})]
    found, codes = checked(runs)
    assert len(found.runs) == 20
    assert "duplicate_runs" not in codes


def test_runs_that_start_from_an_earlier_checkpoint_are_a_line_of_their_own() -> None:
    seen = {"data": ["episodes"], "updates": 300}
    runs = [*good_runs(pretraining=seen), *good_runs(pretraining=seen | {"updates": 100})]
    found, codes = checked(runs)
    assert len(found.runs) == 20
    assert not {"duplicate_runs", "duplicate_configs", "mixed_data"} & codes.keys()
    assert Grouping(found.runs).labels == [
        "contextwm (episodes, 100 updates)", "contextwm (episodes, 300 updates)",
    ]  # fmt: skip


def test_videos_of_one_name_and_other_contents_are_pooled_with_a_warning_and_refused_as_copies() -> None:
    def of(contents: str) -> dict[str, Any]:
        parent = {"checkpoint_sha256": f"weights-of-{contents}"}
        return {"record": {"parent": parent, "shard_sets": [{"name": "episodes", "inventory_sha256": contents}]}}

    walker = good_runs(pretraining={"data": ["episodes"]}, **of("walker"))
    other = scored_run(task="dmc/a", seed=9, env_fingerprint=ENV, pretraining={"data": ["episodes"]}, **of("hopper"))
    found, codes = checked([*walker, other])
    assert (codes["mixed_data"], len(found.runs)) == ("warning", 11)
    text = next(finding.text for finding in found.findings if finding.code == "mixed_data")
    assert "walker… (10 runs), hopper… (1 runs)" in text
    found, codes = checked([*walker, replace(other, seed="0", source="z")])
    assert (codes["duplicate_configs"], len(found.runs)) == ("refusal", 10)
    text = next(finding.text for finding in found.findings if finding.code == "duplicate_configs")
    assert "parent.checkpoint_sha256: 'weights-of-w…' → 'weights-of-h…'" in text
    assert "shard_sets.inventory_sha256: 'walker…' → 'hopper…'" in text
    assert "mixed_data" not in checked(walker)[1]


def test_other_environments_are_left_out_or_marked() -> None:
    other = scored_run(task="dmc/a", seed=9, env_fingerprint={**ENV, "mujoco": "2.1"})
    found, codes = checked([*good_runs(), other])
    assert codes["mixed_environments"] == "refusal"
    assert len(found.runs) == 10
    assert "mujoco: '3.3.0' → '2.1'" in found.findings[0].text
    pooled, codes = checked([*good_runs(), other], allow_mixed=True)
    assert codes["mixed_environments"] == "warning"
    assert len(pooled.runs) == 11
    assert {run.label for run in pooled.runs} == {"contextwm (mixed environments)"}


def test_tasks_may_differ_in_camera_but_seeds_of_a_task_may_not() -> None:
    side = {**ENV, "camera": 1}
    runs = good_runs()[:5] + [scored_run(task="dmc/b", seed=seed, env_fingerprint=side) for seed in range(5)]
    assert "mixed_environments" not in checked(runs)[1]
    runs[0] = scored_run(task="dmc/a", seed=0, env_fingerprint={**ENV, "camera": 3})
    found, codes = checked(runs)
    assert codes["mixed_environments"] == "refusal"
    assert len(found.runs) == 9


def test_gym_tasks_differ_in_what_is_their_own_and_seeds_of_a_task_may_not() -> None:
    env = {"suite": "gym", "gymnasium": "1.4.0", "environment": "gymnasium 1.4.0", "action_low": [-2.0], "kwargs": {}}
    other = env | {"environment": "gymnasium-robotics 1.4", "action_low": [-1.0, -1.0], "kwargs": {"maze": 1}}
    runs = [
        scored_run(task=f"gym/{task}", seed=seed, env_fingerprint=its_env, scores=[seed, 1, 2], status="finished")
        for task, its_env in (("Pendulum-v1", env), ("Maze-v3", other))
        for seed in range(5)
    ]
    found, codes = checked(runs)
    assert len(found.runs) == 10
    assert "mixed_environments" not in codes
    runs[0] = replace(runs[0], env_fingerprint=env | {"kwargs": {"g": 5}})
    assert checked(runs)[1]["mixed_environments"] == "refusal"


def test_of_copies_the_one_that_came_furthest_is_used() -> None:
    crashed = scored_run(
        task="dmc/a", seed=0, steps=range(0, 15, 2), source="crashed", env_fingerprint=ENV, status="finished"
    )
    found, codes = checked([*good_runs(), crashed])
    assert codes["duplicate_runs"] == "warning"
    assert all(run.source != "crashed" for run in found.runs)


def test_methods_of_different_environments_are_warned_about() -> None:
    others = [
        scored_run("apv", run.task_id, int(run.seed), env_fingerprint={**ENV, "mujoco": "2.1"}) for run in good_runs()
    ]
    assert checked([*good_runs(), *others])[1]["compared_environments"] == "warning"
    unknown = [scored_run("sac", run.task_id, int(run.seed)) for run in good_runs()]
    assert checked([*good_runs(), *unknown])[1]["unknown_environment"] == "note"


def test_scores_of_sampled_actions_are_not_pooled_with_those_of_most_likely_ones() -> None:
    sampled = {"config": {"evaluation": {"explore": True}}}
    other = scored_run(task="dmc/a", seed=9, env_fingerprint=ENV, record=sampled)
    found, codes = checked([*good_runs(), other])
    assert codes["mixed_environments"] == "refusal"
    assert len(found.runs) == 10
    text = next(finding.text for finding in found.findings if finding.code == "mixed_environments")
    assert "evaluation.explore: '(absent)' → True" in text
    before = scored_run(
        task="dmc/a", seed=9, env_fingerprint=ENV, record={"config": {"evaluation": {"explore": False}}}
    )
    assert "mixed_environments" not in checked([*good_runs(), before])[1]
    others = [scored_run("apv", run.task_id, int(run.seed), env_fingerprint=ENV, record=sampled) for run in good_runs()]
    assert checked([*good_runs(), *others])[1]["compared_environments"] == "warning"


def in_its_own_way(explore: bool, size: int, preset: str = "tiny", **overrides: Any) -> dict[str, Any]:
    record = {"preset": preset, "config": {"evaluation": {"explore": explore}}, "overrides": overrides}
    return {"record": record, "env_fingerprint": {**ENV, "image_size": size}}


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (in_its_own_way(True, 84), {"compared_observations": "note"}),
        (in_its_own_way(False, 84), {"compared_observations": "note"}),
        (in_its_own_way(True, 64), {}),
        (in_its_own_way(False, 64, "small"), {"compared_environments": "warning", "compared_presets": "warning"}),
        ({"record": {"preset": "tiny", "config": {"rssm": {"deter": 8}}}, "env_fingerprint": {**ENV, "image_size": 64}},
         {"compared_environments": "warning"}),  # of before the preset sampled: nobody recorded it
        (in_its_own_way(False, 64, **{"evaluation.explore": False}), {"compared_environments": "warning"}),
        (in_its_own_way(True, 84) | {"env_fingerprint": {**ENV, "image_size": 84, "camera": 1}},
         {"compared_environments": "warning"}),
    ],
)  # fmt: skip
def test_what_a_method_sees_and_how_its_preset_scores_it_is_its_own(other: dict[str, Any], found: dict[str, str]):
    ours = good_runs(**in_its_own_way(True, 64))
    others = [scored_run("drqv2", run.task_id, int(run.seed), **other) for run in ours]
    codes = checked([*ours, *others])[1]
    assert {code: level for code, level in codes.items() if code.startswith("compared")} == found


def test_methods_with_other_first_tasks_are_compared_on_a_task_of_both() -> None:
    first, second = sorted({run.task_id for run in good_runs()})

    def of(method: str, tasks: tuple[str, ...], env: dict[str, Any], explore: bool = False) -> list[ScoredRun]:
        record = {"config": {"evaluation": {"explore": explore}}}
        return [scored_run(method, task, seed, env_fingerprint=env, record=record) for task in tasks for seed in (0, 1)]

    base, old = of("contextwm", (first, second), ENV), {**ENV, "mujoco": "2.1"}
    assert checked([*base, *of("apv", (second,), old)])[1]["compared_environments"] == "warning"
    alone = of("contextwm", (first,), ENV)  # environments of two tasks differ, ways of scoring must not
    assert "compared_environments" not in checked([*alone, *of("apv", (second,), old)])[1]
    found, codes = checked([*alone, *of("apv", (second,), old, explore=True)])
    assert codes["compared_environments"] == "warning"
    text = next(finding.text for finding in found.findings if finding.code == "compared_environments")
    assert text.endswith("way of scoring: evaluation.explore: '(absent)' → True")


def one_more(**changes: Any) -> list[ScoredRun]:
    return [*good_runs(), scored_run(**{"task": "dmc/a", "seed": 5, "env_fingerprint": ENV, **changes})]


@pytest.mark.parametrize(
    ("code", "runs"),
    [
        ("few_seeds", [run for run in good_runs() if int(run.seed) < 4]),
        ("one_task", good_runs()[:5]),
        ("unequal_seeds", one_more()),
        ("unequal_lengths", one_more(steps=range(0, 90, 10))),
        ("unfinished_runs", one_more(status="running")),
        ("no_evaluations", one_more(steps=[])),
        ("mixed_configs", one_more(record={"config": {"x": 1}})),
        ("mixed_versions", one_more(record={"packages": {"torch": "2"}})),
        ("mixed_metrics", one_more(method="apv", metric="success")),
    ],
)
def test_planted_mistakes_fire(code: str, runs: list[ScoredRun]) -> None:
    assert checked(runs)[1].get(code) == "warning"


def _drawn_by(*names: object) -> dict[str, Any]:
    return {"hardware": {"cpu": "x", "renderers": list(names)}}


def test_runs_of_different_renderers_are_shown_together_with_a_warning() -> None:
    card = scored_run(task="dmc/a", seed=6, env_fingerprint=ENV, record=_drawn_by("NVIDIA H200"))
    mesa = one_more(record=_drawn_by("Mesa, llvmpipe"))
    found, codes = checked([*mesa, card])
    assert codes["mixed_renderers"] == "warning"
    assert len(found.runs) == 12  # nothing is refused
    text = next(finding.text for finding in found.findings if finding.code == "mixed_renderers")
    assert text == "frames of dmc/a were drawn by different renderers: Mesa, llvmpipe (1 runs); NVIDIA H200 (1 runs)"
    other_method = scored_run("apv", "dmc/a", 6, env_fingerprint=ENV, record=_drawn_by("NVIDIA H200"))
    assert checked([*mesa, other_method])[1]["mixed_renderers"] == "warning"
    two_machines = one_more(record=_drawn_by("Mesa, llvmpipe", "NVIDIA H200"))
    assert checked(two_machines)[1]["mixed_renderers"] == "warning"


@pytest.mark.parametrize("hardware", [{}, {"renderers": []}, {"renderers": ["Mesa"]}, {"renderers": 3}, "a card"])
def test_one_renderer_or_none_known_is_no_warning(hardware: object) -> None:
    assert "mixed_renderers" not in checked(one_more(record={"hardware": hardware}))[1]


@pytest.mark.parametrize("task", ["highway/a", "dmc/b"])
def test_renderers_of_different_tasks_are_not_compared(task: str) -> None:
    other = scored_run("apv", task, 6, env_fingerprint=ENV, record=_drawn_by("a package of its own"))
    assert "mixed_renderers" not in checked([*one_more(record=_drawn_by("Mesa")), other])[1]


def test_tasks_that_the_same_renderers_drew_share_a_warning() -> None:
    runs = [
        scored_run("apv", task, seed, env_fingerprint=ENV, record=_drawn_by(("Mesa", "NVIDIA H200")[seed]))
        for task in ("dmc/b", "dmc/a")
        for seed in range(2)
    ]
    said = [finding.text for finding in checked(runs)[0].findings if finding.code == "mixed_renderers"]
    assert said == ["frames of dmc/a, dmc/b were drawn by different renderers: Mesa (2 runs); NVIDIA H200 (2 runs)"]


def test_zero_width_intervals() -> None:
    draw = np.random.default_rng(0)
    equal = interval(np.full((5, 2), 0.4), "iqm", 50, draw)
    finding = zero_width("apv", equal)
    assert finding is not None
    assert "5 runs" in finding.text
    assert finding.level == "warning"
    single = zero_width("apv", interval(np.array([[0.1, 0.2]]), "iqm", 50, draw))
    assert single is not None
    assert "one run" in single.text
    assert zero_width("apv", interval(draw.random((5, 2, 3)), "iqm", 50, draw)) is None


def test_no_scores_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="none of the 1 runs"):
        check(Collection((scored_run(steps=[1], scores=[np.nan]),)))


def test_presets_that_differ_are_told_within_a_method_and_between_two() -> None:
    first, second = sorted({run.task_id for run in good_runs()})

    def of(method: str, preset: str, task: str) -> list[ScoredRun]:
        return [scored_run(method, task, seed, env_fingerprint=ENV, record={"preset": preset}) for seed in range(5)]

    one = [*of("dreamerv2", "small", first), *of("dreamerv2", "paper", second)]
    found, codes = checked([*one, *of("contextwm", "paper", first), *of("contextwm", "paper", second)])
    assert (codes["mixed_presets"], codes["compared_presets"]) == ("warning", "warning")
    (text,) = [finding.text for finding in found.findings if finding.code == "mixed_presets"]
    assert f"small: {first}; paper: {second}" in text
    same = [*of("dreamerv2", "paper", first), *of("contextwm", "paper", first)]
    assert not {"mixed_presets", "compared_presets"} & checked(same)[1].keys()
    assert not {"mixed_presets", "compared_presets"} & checked([*same, *good_runs()])[1].keys()  # says nothing of it


def test_action_repeats_that_logs_say_are_one_within_a_task() -> None:
    def of(task: str, *repeats: int | None) -> list[ScoredRun]:
        return [scored_run(task=task, seed=n, action_repeat=repeat) for n, repeat in enumerate(repeats)]

    found, codes = checked([*of("dmc/a", 2, 2, 2), *of("dmc/b", 4, 4, 2)])
    assert codes["mixed_environments"] == "refusal"
    assert [run.name for run in found.runs if run.task == "b"] == ["dmc/b/contextwm/seed0", "dmc/b/contextwm/seed1"]
    assert "action_repeat: 4 → 2" in found.findings[0].text
    assert "mixed_environments" not in checked([*of("dmc/a", 2, 2), *of("dmc/b", 4, None)])[1]  # not said by all
