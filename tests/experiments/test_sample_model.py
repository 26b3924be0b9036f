"""The experiment on the preset `sample`: its protocol, its tables, its quick form."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import analysed_models
import pytest
import sample_model
import sample_model_page
from cpu_seconds import CountingWorkspace
from marked_section import read_section, write_section
from one_command import OutOfTimeError
from ordered_work import FailedError
from planned_config import analysis_config, pretraining_config

from tests.experiments.runs_of_scripts import ROOT, quick, record, shard_set, whole_config


def keep(models: analysed_models.Models, method: str, seed: int, ratio: float) -> Path:
    """A model as the experiment leaves it."""
    folder = models.folder(method, seed)
    record(folder, **whole_config(pretraining_config(models.preset, models.overrides(method))))
    (folder / "metrics.jsonl").write_text(json.dumps({"updates": 6600, "open_loop_mse": [1], "copy_last_mse": [2]}))
    (folder / "cpu.json").write_text('{"cpu_seconds": 600.0}')
    (folder / "sets.json").write_text(json.dumps(dict.fromkeys((Path(place).name for place in models.sets()), "a")))
    band = {"point": ratio, "low": ratio - 0.1, "high": ratio + 0.1}
    steps = {key: [value] * 10 for key, value in band.items()}
    overall = {"overall": band, "per_step": steps}
    one = {"tracked": {"of_a": band, "reconstruction": band}, "appearance": {"of_a": band, "of_b": band}}
    result = {
        "predict": {"lines": {"m": dict.fromkeys(("copy_ratio", "blurred_copy_ratio", "psnr", "ssim"), overall)},
                    "copy": dict.fromkeys(("psnr", "ssim", "blurred_ratio"), overall)},
        "compose": {"models": {"m": one}},
        "embed": {"models": {"m": {key: {"accuracy": band} for key in ("label", "background")}}},
        "attention": {"models": {"m": {"centre": band}}, "identity": band, "uniform": band},
    }  # fmt: skip
    asked = {name: (one.kind, dict(analysis_config(one.kind, one.data, one.settings)))
             for name, one in models.questions.items()}  # fmt: skip
    told = {
        name: {
            "kind": asked[name][0],
            "config": asked[name][1],
            "numbers": result[models.questions[name].kind],
            "verdicts": [f"{name}: {ratio}"],
        }
        for name in models.asked[method]
    }
    (folder / "result.json").write_text(json.dumps(told))
    return folder


def groups(folder: Path) -> tuple[analysed_models.Models, ...]:
    """Both of the experiment's, with one seed, kept nowhere yet."""
    return tuple(replace(models, kept=folder / models.kept.name, seeds=(3,)) for models in sample_model.BOTH)


def test_a_step_is_better_than_a_copy_where_its_interval_says_so(tmp_path: Path) -> None:
    models, many = groups(tmp_path)
    keep(models, "contextwm", 3, 0.8)
    keep(models, "apv", 3, 0.95)
    keep(many, "apv", 3, 0.7)
    rows = sample_model_page.tables(models, many).splitlines()
    each = " · ".join(["**0.80**"] * 6)
    assert f"| ContextWM, seed 3 | {each} | 0.80 [0.70, 0.90] | 0.80 [0.70, 0.90] | 0.8 | 0.800 | 10 |" in rows
    assert any(row.startswith("| vanilla (APV), seed 3 | 0.95 · 0.95 ·") for row in rows)
    assert any(row.startswith("| vanilla (APV), seed 3 | no context path |") for row in rows)
    assert "0.70 [0.60, 0.80]" in next(
        row for row in rows[rows.index(f"*{sample_model_page.MANY_LOOKS}*:") :] if "APV" in row
    )


def test_the_page_is_written_once_all_models_are_there(tmp_path: Path) -> None:
    (models, many), page = groups(tmp_path), tmp_path / "page.md"
    begin, end = sample_model_page.MARKS
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    before = page.read_text()
    for group, method in ((models, "apv"), (models, "contextwm"), (many, "apv")):
        keep(group, method, 3, 0.9)
    with pytest.raises(SystemExit, match="1 models are missing"):
        sample_model_page.write_page(models, many, page)
    assert page.read_text() == before
    keep(many, "contextwm", 3, 0.8)
    sample_model_page.write_page(models, many, page)
    assert read_section(page, sample_model_page.MARKS) == sample_model_page.tables(models, many)
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nafter\n")


def test_a_kept_model_that_was_not_asked_all_of_todays_questions_is_to_be_asked(tmp_path: Path) -> None:
    models = replace(sample_model.WHOLE, kept=tmp_path, seeds=(3,))
    before = {"contextwm": sample_model.KINDS, "apv": sample_model.KINDS[:3]}
    keep(replace(models, asked=before), "contextwm", 3, 0.8)
    keep(models, "apv", 3, 0.8)
    assert models.remaining() == [("contextwm", 3)]
    assert "ContextWM" not in sample_model_page.tables(models, groups(tmp_path)[1])


def test_kept_models_of_other_sets_than_the_script_names_are_refused(tmp_path: Path) -> None:
    models = groups(tmp_path)[1]
    keep(models, "apv", 3, 0.8)
    for other in (models.data[:20], (*models.data, "data/shards/more")):
        with pytest.raises(SystemExit, match=r"other sets than the script names today: .*(looks-24|more)"):
            analysed_models.check_kept(replace(models, data=other), {})


def test_a_workspace_with_some_of_the_sets_compares_those(tmp_path: Path) -> None:
    models = groups(tmp_path)[0]
    keep(models, "apv", 3, 0.8)
    shard_set(tmp_path / "work" / sample_model.JUDGES, "other videos")
    with pytest.raises(SystemExit, match=r"other videos than the workspace's shards are \(ssv2-judges\)"):
        analysed_models.check_kept(models, models.sets_in(tmp_path / "work"))


def test_both_groups_are_judged_by_the_same_videos(tmp_path: Path) -> None:
    few, many = groups(tmp_path)
    for models in (few, many):
        keep(models, "apv", 3, 0.8)
    sample_model_page.tables(few, many)
    file = many.folder("apv", 3) / "sets.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"ssv2-judges": "others"}))
    with pytest.raises(SystemExit, match="other videos of ssv2-judges"):
        sample_model_page.tables(few, many)


def test_answers_to_other_questions_than_todays_are_refused(tmp_path: Path) -> None:
    models = replace(sample_model.WHOLE, kept=tmp_path, seeds=(3,))
    keep(models, "apv", 3, 0.8)
    analysed_models.check_kept(models, {})
    for change, told in (
        ({"data": sample_model.SHARDS}, "predict was asked otherwise than today: sets"),
        ({"settings": ("split=all", "observed=5")}, "observed"),
        ({"kind": "attention"}, "kind"),
    ):
        other = models.questions | {"predict": replace(models.questions["predict"], **change)}
        with pytest.raises(SystemExit, match=told):
            analysed_models.check_kept(replace(models, questions=other), {})


@pytest.mark.parametrize("text", ["nothing", "<b>\n<b>\n<e>", "<e>\n<b>", "<b>"])
def test_a_page_without_a_place_is_as_it_was(tmp_path: Path, text: str) -> None:
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(SystemExit, match="has no place for the tables"):
        write_section(tmp_path / "page.md", ("<b>", "<e>"), "new")
    assert (tmp_path / "page.md").read_text() == text
    with pytest.raises(SystemExit, match=r"nowhere\.md is no file"):
        write_section(tmp_path / "nowhere.md", ("<b>", "<e>"), "new")


def test_kept_models_of_other_videos_or_settings_are_refused(tmp_path: Path) -> None:
    models = replace(sample_model.WHOLE, kept=tmp_path, seeds=(3, 4))
    keep(models, "contextwm", 3, 0.8)
    analysed_models.check_kept(models, {"ssv2-1500": "a"})
    with pytest.raises(SystemExit, match=r"contextwm/seed3 is of other videos than the workspace's shards are"):
        analysed_models.check_kept(models, {"ssv2-1500": "b"})
    with pytest.raises(SystemExit, match=r"training\.updates is 6600, not 7"):
        analysed_models.check_kept(replace(models, updates=7), {})
    (keep(models, "apv", 4, 0.8) / "sets.json").write_text('{"ssv2-1500": "b", "ssv2-judges": "a"}')
    with pytest.raises(SystemExit, match=r"apv/seed4 was trained on other videos than .*contextwm/seed3"):
        analysed_models.check_kept(models, {})


def test_a_model_is_kept_when_all_of_its_analyses_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = replace(sample_model.QUICK[0], kept=tmp_path / "kept")
    made: list[tuple[str, ...]] = []

    def command(self: CountingWorkspace, *words: str) -> float:
        made.append(words)
        if words[:2] == ("analyze", "predict"):
            raise RuntimeError("no disk")
        return 1.0

    monkeypatch.setattr(CountingWorkspace, "command", command)
    with pytest.raises(FailedError, match="apv/seed3: RuntimeError: no disk"):
        sample_model.experiment([models], CountingWorkspace(tmp_path / "work"), 0, most=8)
    assert [words[0] for words in made] == [
        "sample",
        "prepare",
        "sample",
        "prepare",
        "pretrain",
        "analyze",
        "pretrain",
        "analyze",
    ]
    assert models.remaining() == models.wanted()
    assert not models.kept.exists()


def test_a_second_start_draws_no_videos_again_and_refuses_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, made = replace(sample_model.QUICK[0], kept=tmp_path / "kept"), []
    real = CountingWorkspace.command

    def command(self: CountingWorkspace, *words: str) -> float:
        made.append(words[0])
        if words[0] in ("sample", "prepare"):
            return real(self, *words)
        raise OutOfTimeError

    monkeypatch.setattr(CountingWorkspace, "command", command)
    space = CountingWorkspace(tmp_path / "work")
    for sampled in (2, 0):
        made.clear()
        with pytest.raises(OutOfTimeError):
            sample_model.experiment([models], space, 0, most=4)
        assert (made.count("sample"), made.count("prepare"), made.count("pretrain")) == (sampled, 2, 1)
    assert len(models.sets_in(space.folder)) == 2
    with pytest.raises(FailedError, match=r"ssv2-1500 is a sample of .*'videos': 4"):
        sample_model.experiment([models], space, 0, most=5)
    for method in models.asked:
        keep(models, method, 3, 0.8)
        (models.folder(method, 3) / "sets.json").write_text(json.dumps(models.sets_in(space.folder)))
    made.clear()
    sample_model.experiment([models], space, 0, most=5)
    assert made == []


def test_the_page_says_what_the_kept_models_say() -> None:
    found = read_section(ROOT / "docs" / "analysis.md", sample_model_page.MARKS)
    if any(models.remaining() for models in sample_model.BOTH):
        assert re.fullmatch(r"No table stands here before all twelve models are made.*", found)
        return
    assert found == sample_model_page.tables(*sample_model.BOTH), "write it again: --summary --page"


@pytest.mark.slow
def test_the_experiment_runs() -> None:
    found = quick("sample_model.py")
    models = found["models"]
    assert set(models) == set(found["many_looks"]["models"]) == {"contextwm/seed3", "apv/seed3"}
    assert set(models["contextwm/seed3"]["verdicts"]) == set(sample_model.ASKED)
