"""Commands of missing runs: complete, in order, once each, and accepted by the commands that they name."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import numpy as np
import pytest

from ipv_bench import cli
from reports.figures.paper_figures import wanted_figures
from reports.figures.selection import select_panels
from reports.missing_commands import MissingCommands, missing_commands
from reports.scores.score_table import PretrainedRun


def commands_of(names: str, pretrained: list[PretrainedRun] | None = None) -> MissingCommands:
    figures = wanted_figures([names], {}).described
    missing = [
        run
        for name, figure in figures.items()
        for selection in select_panels(name, figure, [])
        for run in selection.missing
    ]
    return missing_commands(missing, pretrained or [], "runs")


def option(command: str, name: str) -> list[str]:
    words = shlex.split(command)
    return [words[index + 1] for index, word in enumerate(words) if word == name]


def test_figure_5a_needs_two_world_models_and_144_agents():
    found = commands_of("fig5a")
    assert len(found.pretraining) == 2
    assert len(found.finetuning) == 3 * 6 * 8
    lines = found.text().splitlines()
    assert [line.split()[1] for line in lines] == ["pretrain"] * 2 + ["finetune"] * 144


def test_figures_share_runs():
    found = commands_of("fig5,fig6,fig7,fig10")
    carla = 0 if found.planned else 1  # CARLA's runs are counted and not made while its suite is not built
    # Meta-world: 3 lines, 2 without pre-training, 2 techniques, 2 subsets, RLBench and assembled, 1 partial start.
    metaworld = (3 + 2 + 2 + 2 + 2 + 1) * 48
    others = 3 + 2 + 2  # 3 lines, 2 without pre-training, one data set of the suite's own and assembled
    assert len(found.finetuning) == metaworld + others * 24 * (1 + carla)
    assert sum(found.planned.values()) == (0 if carla else others * 24)
    assert len(set(found.finetuning)) == len(found.finetuning)
    folders = [option(line, "--run")[0] for line in (*found.pretraining, *found.finetuning)]
    assert len(set(folders)) == len(folders)
    # SSv2 for both methods, 2 subsets, RLBench, Human3.6M, assembled, concatenation; YouTube Driving for CARLA.
    assert len(found.pretraining) == 2 + 2 + 1 + 1 + 1 + 1 + carla


def test_figure_9s_model_free_baseline_has_a_command_for_each_run():
    lines = [line for line in commands_of("fig9b").finetuning if "method=drqv2" in line]
    assert len(lines) == 6 * 8
    assert not any(option(line, "--init") for line in lines)
    assert option(lines[0], "--run")[0].endswith("/drqv2/seed0")


def test_without_pretraining_is_the_same_model_from_random_weights():
    found = commands_of("fig5b")
    scratch = [line for line in found.finetuning if option(line, "--init") == ["none"]]
    assert len(scratch) == 2 * 48
    assert {option(line, "--set")[0] for line in scratch} == {"method=contextwm", "method=apv"}
    assert all("@init=none/" in option(line, "--run")[0] for line in scratch)


def test_every_start_is_made_by_a_line_before_it():
    found = commands_of("fig5a,fig7,fig10")
    made = {option(line, "--run")[0] for line in found.pretraining}
    starts = {one for line in found.finetuning for one in option(line, "--init")}
    assert starts == {*made, "none"}


def test_the_paper_trains_twice_as_long_on_several_data_sets():
    several = [line for line in commands_of("fig7b").pretraining if len(option(line, "--data")) > 1]
    assert len(several) == 1
    assert "training.updates=1200000" in option(several[0], "--set")


def test_a_finished_world_model_is_used_and_not_made_again():
    record = {
        "method": "contextwm", "status": "finished", "pretraining": {"data": ["ssv2"], "num_videos": None},
    }  # fmt: skip
    empty = np.zeros(0)
    done = PretrainedRun("p", "elsewhere/model", record, empty, {})
    found = commands_of("fig5a", [done])
    assert [option(line, "--set") for line in found.pretraining] == [["method=apv"]]
    assert "elsewhere/model" in {one for line in found.finetuning for one in option(line, "--init")}
    running = PretrainedRun("p", "elsewhere/model", record | {"status": "running"}, empty, {})
    assert len(commands_of("fig5a", [running]).pretraining) == 2


@pytest.mark.parametrize("figure", ["fig5", "fig6", "fig7", "fig9", "fig10", "prelar"])
def test_commands_parse_and_resolve(figure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each distinct kind of command is one that click accepts and whose overrides are fields of the config."""
    from models.finetuning.config import resolve_finetuning
    from models.pretraining.config import resolve_pretraining

    found = commands_of(figure)
    kinds = {(tuple(option(line, "--set")), *option(line, "--task")): line for line in found.finetuning}
    kinds |= {(tuple(option(line, "--set")), "pretrain"): line for line in found.pretraining}
    for line in kinds.values():
        program, name, *arguments = shlex.split(line)
        assert program == "ipv-bench"
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        parsed = command.make_context(name, arguments).params
        if name == "pretrain":
            resolve_pretraining(parsed["preset"], overrides=parsed["overrides"])
            continue
        suite, _, task = parsed["task"].partition("/")
        resolve_finetuning(parsed["preset"], suite, parts=(f"{suite}-{task}", suite), overrides=parsed["overrides"])
