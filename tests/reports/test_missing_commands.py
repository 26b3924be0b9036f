"""Commands of missing runs: complete, in order, once each, and accepted by the commands that they name."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from pydantic import ValidationError

from ipv_bench import cli
from ipv_bench.planned import Planned
from reports.config import FigureConfig, MethodLine
from reports.figures.paper_figures import wanted_figures
from reports.figures.selection import MissingRun, missing_lines, select_panels
from reports.missing_commands import MissingCommands, missing_commands
from reports.scores.score_table import PretrainedRun, ScoredRun
from tests.reports.scored_runs import scored_run


def commands_of(
    names: str, pretrained: list[PretrainedRun] | None = None, there: Sequence[ScoredRun] = ()
) -> MissingCommands:
    figures = wanted_figures([names], {}).described
    missing = [
        run
        for name, figure in figures.items()
        for selection in select_panels(name, figure, there)
        for run in selection.missing
    ]
    return missing_commands(missing, pretrained or [], "runs", there)


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


def test_a_model_of_another_preset_is_not_the_papers_and_its_folder_is_not_free():
    record = {"method": "contextwm", "status": "finished", "pretraining": {"data": ["ssv2"]}, "preset": "tiny"}
    empty = np.zeros(0)
    elsewhere = commands_of("fig5a", [PretrainedRun("p", "elsewhere/model", record, empty, {})])
    assert len(elsewhere.pretraining) == 2
    there = commands_of("fig5a", [PretrainedRun("p", "runs/pretrain/ssv2/contextwm/seed0", record, empty, {})])
    assert [option(line, "--set") for line in there.pretraining] == [["method=apv"]]
    assert len(there.finetuning) == 2 * 48
    (reason,) = there.planned
    assert "the preset tiny, not paper" in reason
    assert there.planned[reason] == 48
    papers = PretrainedRun("p", "elsewhere/model", record | {"preset": "paper"}, empty, {})
    assert len(commands_of("fig5a", [papers]).pretraining) == 1


def one_run(seed: int, **changes: object) -> ScoredRun:
    """DrQ-v2 on one of figure 9b's tasks, in the folder that its command names."""
    source = f"runs/metaworld/{TASK}/drqv2/seed{seed}"
    fields = {"metric": "success", "record": {"preset": "paper"}, "source": source, "status": "finished", **changes}
    return scored_run("drqv2", f"metaworld/{TASK}", seed, scores=[0.1, 0.2, 0.3], **fields)


TASK = "lever_pull"


def test_what_has_not_ended_has_its_command_and_what_lies_elsewhere_is_told():
    def folders(*there: ScoredRun) -> set[str]:
        found = commands_of("fig9b", there=there)
        ours = [option(line, "--run")[0] for line in found.finetuning if "method=drqv2" in line]
        return {name.rpartition("/")[2] for name in ours if f"/{TASK}/" in name}

    everything = {f"seed{seed}" for seed in range(8)}
    assert folders() == everything
    assert folders(one_run(2)) == everything - {"seed2"}
    for status in ("running", "interrupted", "failed"):
        assert folders(one_run(2, status=status)) == everything  # the same command goes on with it
    none = np.zeros(0)
    assert folders(replace(one_run(2, status="running"), env_steps=none, scores=none)) == everything
    small = one_run(2, record={"preset": "small"})
    assert folders(small) == everything - {"seed2"}  # `finetune` would refuse: another config lies there
    (reason,) = commands_of("fig9b", there=[small]).planned
    assert "the preset small, not paper" in reason
    assert folders(replace(small, source="elsewhere/seed2")) == everything
    left_out = replace(one_run(2), method="drqv2-of-old")  # finished, in that folder, and not of the line
    assert folders(left_out) == everything - {"seed2"}


def test_an_unfinished_run_that_is_drawn_is_no_gap_of_the_picture():
    figure = wanted_figures(["fig9b"], {}).described["fig9b"]
    for panel in select_panels("fig9b", figure, [one_run(2, status="running")]):
        absent = [run for run in panel.missing if run.seed == 2 and run.task == TASK and run.label == "DrQ-v2"]
        if panel.tasks == (f"metaworld/{TASK}",):
            assert [run.drawn for run in absent] == [True]
            assert "missing 7 runs: DrQ-v2" in missing_lines(panel.missing, Planned())


def test_a_line_that_chooses_its_preset_is_made_with_that():
    figure = FigureConfig(
        title="sizes", suite="metaworld", tasks=[TASK], seeds=3,
        methods=[MethodLine(label=name, where={"method": "drqv2", "preset": name}) for name in ("tiny", "small")],
    )  # fmt: skip
    there = [one_run(seed, record={"preset": name}) for name in ("tiny", "small") for seed in range(3)]
    assert not select_panels("sizes", figure, there)[0].missing
    found = missing_commands(list(select_panels("sizes", figure, there[:4])[0].missing), [])
    assert [option(line, "--preset") + option(line, "--seed") for line in found.finetuning] == [
        ["small", "1"], ["small", "2"],
    ]  # fmt: skip


def test_a_figure_may_name_its_seeds():
    def absent(seeds: int | list[int], there: Sequence[int]) -> list[int]:
        figure = FigureConfig(
            title="seeds", suite="metaworld", tasks=[TASK], seeds=seeds, preset="paper",
            methods=[MethodLine(label="DrQ-v2", where={"method": "drqv2"})],
        )  # fmt: skip
        return [run.seed for run in select_panels("seeds", figure, [one_run(seed) for seed in there])[0].missing]

    assert absent([1, 2, 3], [1, 2]) == [3]
    assert absent([1, 2, 3], [2, 7]) == [1, 3]  # another one takes no seed's place
    assert absent([1, 2, 3], [1, 2, 3]) == []
    assert absent(3, [1, 2]) == [0]
    assert absent(3, [5, 6, 7]) == []
    for wrong in (0, [], "three"):
        with pytest.raises(ValidationError):
            FigureConfig.model_validate({"title": "t", "suite": "dmc", "tasks": ["a"], "seeds": wrong})


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ({"method": "contextwm", "variant": "loss.kl_scale=0.1"}, "their line chooses by variant, which is no setting"),
        ({"method": "contextwm", "parent.run": "runs/x"}, "their line chooses by parent.run, which is no setting"),
        ({"method": "dreamerv2", "env_fingerprint.mujoco": "3.3.0"}, "their line chooses by env_fingerprint.mujoco"),
        ({"pretraining.kind": "none"}, "their line names no method"),
    ],
)
def test_what_no_command_can_be_told_is_told_to_the_user(where: dict[str, str], reason: str):
    missing = MissingRun("own", "line", tuple(where.items()), "dmc", "walker_run", 0, "tiny")
    found = missing_commands([missing], [])
    assert not found.text()
    ((said, count),) = found.planned.items()
    assert said.startswith(reason)
    assert count == 1


def test_a_field_of_the_config_is_a_setting_with_or_without_its_prefix():
    where = (("method", "dreamerv2"), ("config.behavior.horizon", 5))
    (line,) = missing_commands([MissingRun("own", "line", where, "dmc", "walker_run", 0, "tiny")], []).finetuning
    assert option(line, "--set") == ["method=dreamerv2", "behavior.horizon=5"]


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


def test_lengths_of_pretraining_that_differ_have_folders_of_their_own():
    def run(updates: int) -> MissingRun:
        where = (("method", "apv"), ("pretraining.data", ["ssv2"]), ("pretraining.updates", updates))
        return MissingRun("mine", str(updates), where, "dmc", "cheetah_run", 0, "tiny")

    found = missing_commands([run(100), run(600)], [])
    folders = [option(command, "--run")[0] for command in found.finetuning]
    assert folders == [f"runs/dmc/cheetah_run/apv@init=ssv2-training.updates={n}/seed0" for n in (100, 600)]


def test_what_only_an_agent_has_a_use_for_is_not_set_where_its_model_is_pretrained():
    where = (("method", "apv"), ("pretraining.data", ["ssv2"]), ("loss.action_free_kl_scale", 0.5), ("rssm.deter", 32))
    found = missing_commands([MissingRun("mine", "x", where, "dmc", "cheetah_run", 0, "tiny")], [])
    assert option(found.pretraining[0], "--set") == ["method=apv", "rssm.deter=32"]
    assert option(found.finetuning[0], "--set") == ["method=apv", "loss.action_free_kl_scale=0.5", "rssm.deter=32"]
