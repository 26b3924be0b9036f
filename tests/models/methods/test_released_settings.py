"""Each method × preset × suite against the released configs and commands: a baseline cannot drift."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.config import flatten
from ipv_bench.plugins import plugin_names
from models.finetuning.config import FinetuneConfig, resolve_finetuning
from models.methods.released_drqv2 import TASKS as DRQV2_TASKS
from models.methods.released_settings import (
    NOT_FOLLOWED,
    OF_METHOD_AND_SUITE,
    OTHER_ACTION_REPEATS,
    departures,
    released_settings,
)

METHODS = ("contextwm", "apv", "dreamerv2", "prelar", "isodream", "drqv2")
TASKS = ("metaworld/reach", "metaworld/drawer_open", "dmc/cheetah_run", "dmcr/walker_run", "carla/clear_noon")
PAPERS_SUITES = ("dmc", "dmcr", "metaworld", "metaworld-remastered", "carla")
SEEN_FRAMES = ("action_steps", "free_steps")
DOCS = Path(__file__).parents[3] / "docs" / "methods" / "released_settings.md"


def resolved(method: str, preset: str, full: str) -> FinetuneConfig:
    suite, _, task = full.partition("/")
    parts = (f"{suite}-{task}", suite)
    return resolve_finetuning(preset, suite, parts=parts, overrides={"method": method}).config


@pytest.mark.parametrize("full", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_the_paper_preset_has_every_released_value_but_those_it_names(method: str, full: str) -> None:
    suite, _, task = full.partition("/")
    found = list(departures(resolved(method, "paper", full), suite, task))
    assert [(key, ours, setting.value) for key, ours, setting in found if not setting.why] == []
    assert {key for key, _, _ in found} == {
        key for key, setting in released_settings(method, suite, task).items() if setting.why
    }


@pytest.mark.parametrize("preset", ["tiny", "demo", "small"])
@pytest.mark.parametrize("task", ["dmc/walker_stand", "dmc/walker_walk", "dmc/walker_run", "dmcr/walker_run"])
def test_walker_tasks_have_one_step_returns_in_every_preset(task: str, preset: str) -> None:
    assert resolved("drqv2", preset, task).drqv2.n_step == 1


@pytest.mark.parametrize("task", sorted(DRQV2_TASKS))
def test_drqv2_has_every_value_of_each_task_of_its_release(task: str) -> None:
    config = resolved("drqv2", "paper", f"dmc/{task}")
    assert len(released_settings("drqv2", "dmc", task)) == 33
    assert [(key, ours, setting.value) for key, ours, setting in departures(config, "dmc", task)] == []


@pytest.mark.parametrize("full", TASKS)
@pytest.mark.parametrize("preset", ["tiny", "demo", "small"])
@pytest.mark.parametrize("method", METHODS)
def test_small_presets_are_small_but_the_same_method_on_the_same_suite(method: str, preset: str, full: str) -> None:
    suite, _, task = full.partition("/")
    ours = flatten(resolved(method, preset, full).model_dump(mode="json"))
    released = released_settings(method, suite, task)
    wanted = {key: released[key].value for key in OF_METHOD_AND_SUITE if key in released}
    if released and released["env.action_repeat"].why:  # the release counts otherwise; every preset is as `paper`
        wanted["env.action_repeat"] = resolved(method, "paper", full).env.action_repeat
    if (preset, suite) in OTHER_ACTION_REPEATS:
        wanted["env.action_repeat"], why = OTHER_ACTION_REPEATS[preset, suite]
        assert why
    assert {key: ours[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("preset", "suite"),
    [
        *((preset, suite) for preset in ("tiny", "demo", "small") for suite in plugin_names("suites")),
        *(("paper", suite) for suite in PAPERS_SUITES),
    ],
)
def test_isodreams_branches_see_as_large_a_part_of_a_window_as_released(preset: str, suite: str) -> None:
    """With fixed numbers of frames a short window is seen whole, and the switches of the release never act."""
    config = resolved("isodream", preset, f"{suite}/any")
    released = released_settings("isodream", "carla" if suite == "carla" else "dmc")
    window, found = config.replay.length, config.isolation
    shares = {key: released[f"isolation.{key}"].value / released["replay.length"].value for key in SEEN_FRAMES}
    assert {key: getattr(found, key) for key in SEEN_FRAMES} == {
        key: round(share * window) for key, share in shares.items()
    }
    assert (found.free_steps < window) == (suite != "carla")


@pytest.mark.parametrize("preset", ["tiny", "demo", "small", "paper"])
@pytest.mark.parametrize("full", TASKS)
def test_all_methods_repeat_actions_alike_in_a_preset(full: str, preset: str) -> None:
    assert len({resolved(method, preset, full).env.action_repeat for method in METHODS}) == 1


def test_the_values_that_made_the_baselines_wrong_are_in_the_table() -> None:
    assert released_settings("apv", "metaworld")["reward.dual"].value is False
    assert released_settings("contextwm", "metaworld")["reward.dual"].value is True
    assert released_settings("dreamerv2", "dmc")["rssm.deter"].value == 200
    assert released_settings("dreamerv2", "dmcr")["rssm.deter"].value == 1024
    assert released_settings("dreamerv2", "dmc")["encoder.kind"].value == "plain"
    assert released_settings("contextwm", "dmc")["concat_embed"].value is True
    assert released_settings("contextwm", "metaworld", "drawer_open")["context.augmentation"].value == "none"
    assert released_settings("mine", "dmc") == {}
    assert released_settings("prelar", "metaworld")["intrinsic.features"].value == "embed"
    assert released_settings("prelar", "dmc") == {}
    assert released_settings("isodream", "dmc")["isolation.use_free"].value is False
    assert released_settings("isodream", "carla")["isolation.use_free"].value is True
    assert released_settings("isodream", "metaworld") == {}
    assert released_settings("drqv2", "dmc", "walker_stand")["drqv2.n_step"].value == 1
    assert released_settings("drqv2", "dmc", "humanoid_walk")["drqv2.critic_optimizer.lr"].value == 8e-5
    assert released_settings("drqv2", "dmc", "fish_swim") == {}
    assert released_settings("drqv2", "carla") == {}


def test_a_dry_run_says_what_it_does_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["finetune", "--preset", "paper", "--task", "dmc/cheetah_run", "--init", "none", "--dry-run"]
    assert run([*arguments, "--set", "method=apv", "--set", "reward.dual=true"]) == 0
    told = json.loads(capsys.readouterr().out)["not_as_released"]
    assert told["reward.dual"]["released"] is False
    assert told["reward.dual"]["here"] is True
    assert told["evaluation.episodes"]["why"].startswith("one episode")
    assert "rssm.deter" not in told


@pytest.mark.parametrize(
    ("method", "task", "change", "release"),
    [
        ("drqv2", "dmc/walker_stand", "drqv2.n_step=3", "DrQ-v2's release"),
        ("isodream", "dmc/cheetah_run", "isolation.free_steps=30", "Iso-Dream's release"),
    ],
)
def test_a_dry_run_shows_a_method_beside_its_own_release(
    method: str, task: str, change: str, release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["finetune", "--preset", "paper", "--task", task, "--dry-run"]
    assert run([*arguments, "--set", f"method={method}", "--set", change]) == 0
    said = capsys.readouterr()
    key, _, value = change.partition("=")
    told = json.loads(said.out)["not_as_released"]
    assert told[key]["here"] == int(value)
    assert told[key]["released"] == released_settings(method, *task.split("/"))[key].value
    assert release in said.err
    assert "ContextWM" not in said.err


@pytest.mark.parametrize(("method", "suite"), [("isodream", "dmc"), ("isodream", "carla"), ("drqv2", "dmc")])
def test_the_docs_show_every_value_of_these_releases_with_its_place(method: str, suite: str) -> None:
    lines = DOCS.read_text().partition("### isodream")[2].splitlines()
    for key, setting in released_settings(method, suite).items():
        (line,) = [line for line in lines if line.startswith(f"| `{key}` |") and setting.source in line]
        assert str(setting.value) in line


@pytest.mark.parametrize("suite", ["metaworld", "dmc", "dmcr", "carla"])
def test_the_docs_have_a_row_for_every_value_of_the_papers_release(suite: str) -> None:
    table = DOCS.read_text().partition(f"\n### {suite}\n")[2].partition("\n### ")[0]
    rows = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    fields = {key for method in ("contextwm", "apv", "dreamerv2") for key in released_settings(method, suite)}
    assert rows == fields


def test_the_docs_list_what_is_not_followed() -> None:
    text = DOCS.read_text()
    for subject, release, ours in NOT_FOLLOWED:
        assert f"| {subject} | {release} | {ours} |" in text
    for method in METHODS:
        for suite in ("metaworld", "dmc", "dmcr", "carla"):
            for key, setting in released_settings(method, suite).items():
                if setting.why:
                    assert f"`{key}`" in text
                    assert setting.why in text
