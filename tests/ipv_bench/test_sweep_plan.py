"""What a sweep's file may say, and what is planned of it, before anything runs: with the package of docs/plugins.md."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ipv_bench.errors import ConfigError, IpvBenchError, UsageError
from ipv_bench.sweeps.config import SweepConfig, read_sweep
from ipv_bench.sweeps.plan import plan_sweep
from tests.ipv_bench.test_sweep import SHARDS, lab, prepared

__all__ = ["lab", "prepared"]

PLANNED = {"data": ["robot-videos"], "tasks": ["dmc/cheetah_run"], "seeds": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks: [dot/left]", "neither `methods` and `tasks` nor `figures`"),
        ("methods: [linear]\ntasks: [dot/left]\nseed: 3", "unknown config key 'seed'"),
        ("methods: [linear]\ntasks: [dot/left, dot/left]", "names something twice"),
        ("methods: [{method: linear, set: {a.b: 1}}]\ntasks: [dot/left]\nset: {a.b: 2}", "a.b is set for all methods"),
        (
            "methods: [{method: linear, set: {a.b: 1}}]\ntasks: [dot/left]\nset: {a: {b: 2}}",
            "a.b is set for all methods",
        ),
        ("methods: [{method: linear, set: {a.b: 1, a: {b: 2}}}]\ntasks: [dot/left]", "names a.b twice"),
        ("methods: [{method: linear, set: {method: apv}}]\ntasks: [dot/left]", "names another method"),
        ("methods: [linear]\nfigures: [fig5a]", "it names methods alone"),
        ("figures: [fig5a]\npreset: tiny\nset: {a.b: 2}", "preset, set would not be heeded"),
        ("protocol: v1/cpu-night\nseeds: 3", "the protocol says seeds itself"),
        ("protocol: v1/cpu-night\nmethods: [{method: apv, set: {evaluation.episodes: 50}}]", "evaluation.episodes"),
        ("protocol: v1/cpu-night\nmethods: [{method: apv, set: {training: {env_steps: 9}}}]", "training.env_steps"),
        ("[1, 2]", "holds a list"),
        (
            "methods: [linear]\ntasks: [dot/left]\nseeds: 5\nseeds: 2",
            "'seeds' is said twice (first in line 3) in line 4",
        ),
        ("methods: [apv]\ntasks: [dot/left]\nset: {a.b: 1, c: 2, a.b: 3}", "'a.b' is said twice"),
        (
            "protocol: v1/cpu-night\nmethods: [{method: apv, set: {behavior.horizon: 1, behavior: {horizon: 2}}}]",
            "names behavior.horizon twice",
        ),
        ("methods: [linear]\ntasks: [dot/left]\nset: {a.b: 2024-01-01}", "a.b is '2024-01-01', of YAML's kind date"),
        (
            "methods: [{method: apv, pretrain_set: {a: {b: !!binary aGk=}}}]\ntasks: [dot/left]",
            "of YAML's kind bytes",
        ),
        ("methods: [linear]\ntasks: [dot/left]\nseeds: [-1]", "seeds"),
        ("methods: [linear]\ntasks: [dot/left]\ndata: [[ssv2, ssv2]]", "has the entry ['ssv2', 'ssv2']"),
        ("methods: [linear]\ntasks: [dot/left]\ndata: [[]]", "has the entry []"),
        ("methods: [linear]\ntasks: [dot/left]\nroot: ''", "root"),
        (
            "methods: [apv]\ntasks: [dmc/walker_run]\nsamples: {data/shards/a: {dataset: ssv2}}",
            "samples names 'data/shards",
        ),
    ],
)
def test_files_that_say_something_wrong(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        read_sweep(tmp_path / "wrong.yaml")
    assert "wrong.yaml" in caught.value.found
    assert caught.value.expected
    assert caught.value.fix


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"methods": ["linera"], "tasks": ["dot/left"]}, "did you mean 'linear'"),
        ({"methods": ["linear"], "tasks": ["dot/lift"]}, "did you mean 'dot/left'"),
        ({"figures": ["fig5x"]}, "did you mean 'fig5"),
        ({"methods": ["linear"], "tasks": ["dot/left"], "data": ["sssv2"], "prepare": True}, "did you mean 'ssv2'"),
        ({"methods": ["linear"], "tasks": ["dot/left"], "pretrain_set": {"linear.feature": 3}}, "did you mean"),
        (
            {"methods": [{"method": "apv", "set": {"rssm.deter": 32}}], "tasks": ["dot/left"]},
            "rssm.deter: 64 there, 32 here",
        ),
        (
            {"methods": [{"method": "contextwm", "pretrain_set": {"image.gain": 2.0}}], "tasks": ["dot/left"]},
            "image.gain: 2.0 there, 4.0 here",
        ),
        ({"methods": ["linear"], "tasks": ["dot/left"], "set": {"linear.feature": 3}}, "did you mean"),
    ],
)
def test_unknown_names_are_refused_before_anything_runs(lab: Path, fields: dict, words: str) -> None:
    with pytest.raises(IpvBenchError, match=words):
        plan_sweep(SweepConfig.model_validate(fields if "figures" in fields else {"data": ["robot-videos"], **fields}))
    assert not (lab / "runs").exists()


def test_a_data_set_that_is_not_prepared_says_how(lab: Path) -> None:
    fields = {"methods": ["linear"], "tasks": ["dot/left"], "data": [["robot-videos", "ego4d"]]}
    with pytest.raises(UsageError, match="not prepared: data/shards/ego4d") as caught:
        plan_sweep(SweepConfig.model_validate(fields))
    assert "ipv-bench prepare ego4d" in caught.value.fix
    jobs = plan_sweep(SweepConfig.model_validate({**fields, "prepare": True}))
    assert [job.kind for job in jobs] == ["prepare", "pretrain", "finetune"]
    assert jobs[0].words == ("prepare", "ego4d", "--out", "data/shards/ego4d")


def test_figures_and_methods_may_share_a_run(lab: Path) -> None:
    """Both write the same command, in their own order of its options."""
    fields = {
        "figures": ["fig5a"], "methods": ["contextwm"], "tasks": ["metaworld/drawer_open"], "seeds": 2,
        "preset": "paper", "prepare": True, "root": "other",
    }  # fmt: skip
    jobs = plan_sweep(SweepConfig.model_validate(fields))
    folders = [job.folder for job in jobs]
    assert len(folders) == len(set(folders))
    assert "other/metaworld/drawer_open/contextwm/seed0" in folders
    # the folder of runs need not be there for its figures' runs to go there
    assert not [folder for folder in folders if not folder.startswith(("other/", "data/"))]


def test_sections_and_dotted_keys_are_one_model(lab: Path) -> None:
    folders = []
    for said in ({"training.updates": 2}, {"training": {"updates": 2}}):
        fields = {"methods": ["linear"], "tasks": ["dot/left"], "data": ["robot-videos"], "pretrain_set": said}
        folders.append([job.folder for job in plan_sweep(SweepConfig.model_validate(fields))])
    assert folders[0] == folders[1]


def test_sets_of_samples_are_called_as_the_sweep_calls_them(lab: Path) -> None:
    sample = {"dataset": "robot-videos", "videos": 6}
    fields = {"methods": ["linear"], "tasks": ["dot/left"], "data": ["a", "b"], "samples": {"a": sample, "b": sample}}
    prepared = [job.words for job in plan_sweep(SweepConfig.model_validate(fields)) if job.kind == "prepare"]
    assert [words[-2:] for words in prepared] == [("--set", 'name="a"'), ("--set", 'name="b"')]
    # not where it has the data set's name anyway, or another's, which `prepare` refuses
    for name in ("robot-videos", "ego4d"):
        fields |= {"data": [name], "samples": {name: sample}, "shards": "elsewhere"}
        (words,) = [job.words for job in plan_sweep(SweepConfig.model_validate(fields)) if job.kind == "prepare"]
        assert "--set" not in words
    night = read_sweep("protocol:v1/cpu-night")
    assert not [job for job in plan_sweep(night) if job.kind == "prepare" and "--set" in job.words]


def test_a_set_that_is_called_otherwise_than_its_folder_is_told(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(lab / SHARDS, tmp_path / "elsewhere" / "kitchen")
    fields = {"methods": ["linear"], "tasks": ["dot/left"], "data": ["kitchen"], "shards": "elsewhere"}
    plan_sweep(SweepConfig.model_validate(fields))
    assert "the set in elsewhere/kitchen is called robot-videos" in capsys.readouterr().err
    plan_sweep(SweepConfig.model_validate({**fields, "data": ["robot-videos"], "shards": "data/shards"}))
    assert "is called" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "choice",
    [
        {"method": "contextwm", "set": {"init_parts": "encoder_decoder"}},
        {"method": "contextwm", "set": {"init_parts": "encoder_decoder", "rssm.deter": 32}},
        {"method": "contextwm", "set": {"init_allow": ["image.gain"]}, "pretrain_set": {"image.gain": 2.0}},
        {"method": "prelar", "set": {"latent_action.posterior": "deterministic"},
         "pretrain_set": {"latent_action.posterior": "deterministic"}},
    ],
    ids=lambda choice: "+".join(choice["set"]),
)  # fmt: skip
def test_what_says_how_a_model_is_taken_over_can_be_planned_before_it_is_made(lab: Path, choice: dict) -> None:
    jobs = plan_sweep(SweepConfig.model_validate({**PLANNED, "methods": [choice]}))
    assert [job.kind for job in jobs][-2:] == ["pretrain", "finetune"]


def test_a_label_that_the_pretrained_model_belies_is_refused(lab: Path) -> None:
    choice = {"method": "prelar", "set": {"latent_action.posterior": "deterministic"}}
    with pytest.raises(IpvBenchError, match="latent_action.posterior: 'stochastic' there, 'deterministic' here"):
        plan_sweep(SweepConfig.model_validate({**PLANNED, "methods": [choice]}))
