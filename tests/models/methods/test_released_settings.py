"""Each method × preset × suite against the released configs and commands: a baseline cannot drift."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.config import flatten
from models.finetuning.config import FinetuneConfig, resolve_finetuning
from models.methods.released_settings import NOT_FOLLOWED, OF_METHOD_AND_SUITE, departures, released_settings

METHODS = ("contextwm", "apv", "dreamerv2", "prelar")
TASKS = ("metaworld/reach", "metaworld/drawer_open", "dmc/cheetah_run", "dmcr/walker_run", "carla/clear_noon")
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


@pytest.mark.parametrize("full", TASKS)
@pytest.mark.parametrize("preset", ["tiny", "demo", "small"])
@pytest.mark.parametrize("method", METHODS)
def test_small_presets_are_small_but_the_same_method_on_the_same_suite(method: str, preset: str, full: str) -> None:
    suite, _, task = full.partition("/")
    ours = flatten(resolved(method, preset, full).model_dump(mode="json"))
    released = released_settings(method, suite, task)
    wanted = {key: released[key].value for key in OF_METHOD_AND_SUITE if key in released}
    assert {key: ours[key] for key in wanted} == wanted


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


def test_a_dry_run_says_what_it_does_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["finetune", "--preset", "paper", "--task", "dmc/cheetah_run", "--init", "none", "--dry-run"]
    assert run([*arguments, "--set", "method=apv", "--set", "reward.dual=true"]) == 0
    told = json.loads(capsys.readouterr().out)["not_as_released"]
    assert told["reward.dual"]["released"] is False
    assert told["reward.dual"]["here"] is True
    assert told["evaluation.episodes"]["why"].startswith("one episode")
    assert "rssm.deter" not in told


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
