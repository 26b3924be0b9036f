"""The miniature of the paper's claim: its lines, its protocol, its gate, its order of work, its quick form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import miniature_protocol as miniature
import miniature_runs
import miniature_summary
import planned_config
import pytest
import yaml
from cpu_seconds import CountingWorkspace
from kept_model import OtherModelError
from one_command import OutOfTimeError

from ipv_bench.checkpoint_index import checkpoint_sha256
from ipv_bench.run_record import read_record, write_record
from reports.config import ReportConfig
from tests.experiments.runs_of_scripts import ROOT, quick, record, whole_config

TARGETS = tuple(miniature.TARGETS)


def test_the_miniature_makes_its_lines_and_two_equal_reports() -> None:
    found = quick("miniature.py")
    rows = found["tasks"]["dmcr/cheetah_run"]
    assert set(rows) == {"dreamerv2", "contextwm", "contextwm@random", "random"}
    assert all(row["n"] == 1 for name, row in rows.items() if name != "random")
    assert rows["random"]["n"] == 2
    assert found["missing"] == []
    assert found["two_reports_equal"] is True


def keep_run(folder: Path, returns: Sequence[float] = (), random: Sequence[float] = (), **config: Any) -> None:
    """A kept run with one evaluation, and what the random policy played."""
    record(folder, **config)
    played = {"seeds": [f"{folder} {number}" for number in range(len(random))], "returns": list(random)}
    write_record(folder, read_record(folder).model_copy(update={"random_policy": played}))
    line = {"env_steps": 4, "returns": list(returns), "wall_seconds": 60}
    (folder / "evaluations.jsonl").write_text(json.dumps(line) + "\n")


def keep_model(folder: Path, **config: Any) -> None:
    (folder / "checkpoints" / "7").mkdir(parents=True)
    (folder / "checkpoints" / "7" / "model").write_text("weights")
    (folder / "checkpoints" / "7" / "checkpoint.json").write_text("{}")  # the hash of a checkpoint is this file's
    record(folder, **config)


def test_the_miniature_has_the_runs_of_its_protocol(tmp_path: Path) -> None:
    whole = replace(miniature.WHOLE, kept=tmp_path, pilots=None)
    runs = miniature.remaining(whole)
    assert len([line for _, line, _ in runs if not line.extra]) == 112
    assert len([line for _, line, _ in runs if line.extra]) == 30
    paths = {miniature.pretrained_path(whole, *model) for model in miniature.remaining_models(whole)}
    assert len(paths) == 12
    assert not {seed for _, _, seed in runs} & {*miniature.PILOT.seeds, *miniature.GATE.seeds}
    assert all(target not in miniature.videos_of(target, line) for target, line, _ in runs if line.videos == "others")
    quarter = next(line for line in whole.lines if line.budget == "quarter")
    assert miniature.updates_of(whole, quarter) == round(13_333 / 4)
    kept = miniature.kept(whole, miniature.run_path(whole, *runs[0]))
    record(kept)
    assert miniature.remaining(whole) == runs  # the evaluations are not there
    (kept / "evaluations.jsonl").write_text("")
    assert miniature.remaining(whole) == runs[1:]
    models = miniature.remaining_models(whole)
    model = miniature.kept(whole, miniature.pretrained_path(whole, *models[0]))
    (model / "checkpoints" / ".7.tmp").mkdir(parents=True)  # the copying was ended here
    assert miniature.remaining_models(whole) == models
    (model / "checkpoints" / "7").mkdir()
    record(model)
    assert miniature.remaining_models(whole) == models[1:]


def test_kept_runs_and_models_of_other_settings_are_refused_before_anything_is_begun(tmp_path: Path) -> None:
    whole = replace(miniature.WHOLE, kept=tmp_path / "kept", pilots=None)
    space = CountingWorkspace(tmp_path / "work", 0)
    target, line, seed = miniature.wanted(whole)[0]
    task, changes = f"dmcr/{target}", miniature.run_changes(whole, line)
    folder = miniature.kept(whole, miniature.run_path(whole, target, line, seed))
    keep_run(folder, **whole_config(planned_config.finetuning_config("tiny", task, changes)))
    with pytest.raises(OutOfTimeError):  # nothing is wrong: the work is begun
        miniature_runs.experiment(whole, space, 0)
    other = replace(whole, finetuning=("training.env_steps=30000",))
    with pytest.raises(SystemExit, match=r"dreamerv2/seed1 .*training\.env_steps is 56000, not 30000; .*move it away"):
        miniature_runs.experiment(other, space, 0)
    with pytest.raises(SystemExit, match="clips: 1500 → 20"):
        miniature_runs.experiment(replace(whole, clips=20), space, 0)
    target, line = miniature.models(whole)[0]
    folder = miniature.kept(whole, miniature.pretrained_path(whole, target, line))
    changes = miniature.model_changes(whole, line)
    keep_model(folder, **whole_config(planned_config.pretraining_config("tiny", changes)))
    miniature.check_kept(whole)
    with pytest.raises(SystemExit, match=r"apv/seed0 .*training\.updates is 17143, not 5"):
        miniature.check_kept(replace(whole, updates=miniature.UPDATES | {"apv": 5}))


def test_changed_settings_make_new_pilots_of_the_lines_that_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    pilot, gate, (dreamer, apv, *_) = miniature.PILOT, miniature.GATE, miniature.LINES

    def paths(scale: miniature.Scale) -> list[Path]:
        found = [miniature.run_path(scale, "cheetah_run", line, 101) for line in (dreamer, apv)]
        return [*found, miniature.pretrained_path(scale, "cheetah_run", apv)]

    before = paths(pilot)
    assert paths(gate) == before == paths(pilot)
    agents = paths(replace(pilot, finetuning=("behavior.entropy=0.5",)))
    assert [old == new for old, new in zip(before, agents, strict=True)] == [False, False, True]
    models = paths(replace(pilot, updates=miniature.UPDATES | {"apv": 5}))
    assert [old == new for old, new in zip(before, models, strict=True)] == [True, False, False]
    videos = paths(replace(pilot, clips=20))
    assert [old == new for old, new in zip(before, videos, strict=True)] == [True, False, False]
    # what has no influence, and a field that came later with its value of before, make none
    assert paths(replace(pilot, finetuning=(*pilot.finetuning, "training.threads=7"))) == before
    name = planned_config.short_name({"a": 1})
    assert planned_config.short_name({"a": 1, "training.cuda_graph": False}) == name
    assert planned_config.short_name({"a": 1, "training.cuda_graph": True}) != name


def test_the_main_table_takes_the_pilots_models_that_were_made_as_its_own(tmp_path: Path) -> None:
    whole = replace(miniature.WHOLE, kept=tmp_path / "runs", pilots=tmp_path / "pilot")
    pilot = replace(miniature.PILOT, kept=tmp_path / "pilot")
    target, line = miniature.models(pilot)[0]
    keep_model(miniature.kept(pilot, miniature.pretrained_path(pilot, target, line)))
    assert (target, line) not in miniature.remaining_models(whole)
    assert (target, line) in miniature.remaining_models(replace(whole, updates=miniature.UPDATES | {"apv": 5}))
    assert len(miniature.remaining_models(whole)) == 11
    space = CountingWorkspace(tmp_path / "work")
    miniature_runs.place_models(whole, space)
    path = miniature.pretrained_path(whole, target, line)
    assert path.parts[-2] == "apv"
    for folder in (space.folder / path, miniature.kept(whole, path)):
        assert (folder / "checkpoints" / "7" / "model").read_text() == "weights"


def test_what_starts_from_random_weights_waits_for_no_model(tmp_path: Path) -> None:
    whole = replace(miniature.WHOLE, kept=tmp_path / "kept", pilots=None)
    steps = miniature_runs.steps_of(whole, CountingWorkspace(tmp_path / "work"))
    assert len(steps) == 142 + 12 + 3
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        needs = {one.name.split("/")[-2] for one in step.after if "pretrain" in one.name}
        line = step.name.split("/")[-2] if "/dmcr/" in step.name else ""
        free = line == "dreamerv2" or line.endswith("@random")
        assert needs == (set() if free or not line else {line}), step.name
    model = next(step for step in steps if step.name == "runs/pretrain/for_walker_run/apv/seed0")
    assert [one.name for one in model.after] == ["videos of cheetah_run", "videos of hopper_stand"]
    assert all(steps.index(one) < steps.index(step) for step in steps for one in step.after)


def test_a_kept_run_has_its_seconds_and_its_replay_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, space = replace(miniature.WHOLE, kept=tmp_path / "kept"), CountingWorkspace(tmp_path / "work")
    target, line, seed = miniature.wanted(whole)[0]
    path = miniature.run_path(whole, target, line, seed)

    def made(*words: str) -> float:
        keep_run(space.folder / words[-1])
        (space.folder / words[-1] / "replay").mkdir()
        (space.folder / words[-1] / "replay" / "episode").write_bytes(b"")
        return 130.0

    monkeypatch.setattr(space, "command", made)
    assert miniature.run_minutes(whole)["dreamerv2"] == miniature.RUN_MINUTES["dreamerv2"]
    miniature_runs.finetune(whole, space, target, line, seed)
    assert miniature.is_kept(miniature.kept(whole, path), miniature.RUN_FILES)
    assert not (space.folder / path / "replay").exists()
    assert miniature.run_minutes(whole)["dreamerv2"] == pytest.approx(130 / 60)


def test_the_gate_needs_all_its_runs_on_both_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = replace(miniature.GATE, kept=tmp_path)
    monkeypatch.setattr(miniature_summary, "GATE", gate)
    assert gate.targets == TARGETS == ("cheetah_run", "walker_run")

    def keep(target: str, seed: int, score: float) -> None:
        keep_run(miniature.kept(gate, miniature.run_path(gate, target, gate.lines[0], seed)), [score], [1.0, 2.0, 3.0])

    def verdicts() -> dict[str, bool | None]:
        return miniature_summary.gate(miniature_summary.scores(gate))

    for seed in (101, 102):
        keep("cheetah_run", seed, 40.0)
    assert verdicts() == {"cheetah_run": None, "walker_run": None}
    keep("cheetah_run", 103, 50.0)
    assert verdicts() == {"cheetah_run": True, "walker_run": None}
    with pytest.raises(SystemExit, match=r"the gate lacks runs on walker_run: first .*miniature.py --gate"):
        miniature_summary.require_gate()
    for seed in gate.seeds:
        keep("walker_run", seed, 2.0)
    assert verdicts() == {"cheetah_run": True, "walker_run": False}
    with pytest.raises(SystemExit, match=r"the gate failed on walker_run: .*fewer factors"):
        miniature_summary.require_gate()
    for seed in gate.seeds:
        keep("walker_run", seed, 20.0)
    miniature_summary.require_gate()


def test_a_model_beats_copying_from_two_validations_in_a_row_on(tmp_path: Path) -> None:
    scale = replace(miniature.WHOLE, kept=tmp_path)
    ratios = {500: 1.1, 1000: 0.9, 1500: 1.05, 2000: 0.95, 2500: 0.8}  # 1000 alone is luck
    verdict = {"latent_action_verdict": "usable", "latent_action_decided_by": "nats"}
    lines = [
        {"updates": updates, "open_loop_mse": [ratio], "copy_last_mse": [1.0], "wall_seconds": updates / 10, **verdict}
        for updates, ratio in ratios.items()
    ]
    folder = tmp_path / "pretrain" / "for_x" / "prelar" / "seed0"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "cpu.json").write_text('{"cpu_seconds": 1234.5}')
    ((name, told),) = miniature_summary.pretraining(scale)
    assert name == "pretrain/for_x/prelar/seed0"
    assert told["beats_copying_after"] == {"updates": 2000, "minutes": 3.3}
    said = miniature_summary.sentence(told)
    assert said == ("beats copying after 2,000 updates; copy ratio 0.8 at the end; 1,234 CPU-seconds; "
                    "latent actions: usable (nats)")  # fmt: skip


def test_the_figures_of_the_miniature_ask_for_its_runs_and_for_no_others() -> None:
    config = ReportConfig.model_validate(yaml.safe_load((ROOT / "benchmarks/miniature.yaml").read_text()))
    lines = {line.name: miniature.WHOLE.extra_seeds if line.extra else miniature.WHOLE.seeds
             for line in miniature.WHOLE.lines}  # fmt: skip
    drawn: dict[str, list[int]] = {}
    for figure in config.figures.values():
        assert tuple(figure.tasks) == TARGETS
        for line in figure.methods:
            models = {Path(place).parts[-2] for place in line.where.get("parent.run", {"any": []})["any"]}
            method = line.where["method"]
            name = models.pop() if models else method if method == "dreamerv2" else f"{method}@random"
            assert not models
            assert isinstance(figure.seeds, list)
            assert {*figure.seeds} <= {*lines[name]}, name  # none is said to lack runs that the protocol does not have
            drawn[name] = max(drawn.get(name, []), figure.seeds, key=len)
    assert drawn == {name: list(seeds) for name, seeds in lines.items()}
    # The file is what anybody gives to `report`, and draws the runs of the protocol's settings alone.
    plain = yaml.safe_load((ROOT / "benchmarks/miniature.yaml").read_text())
    assert miniature_summary.figures_of(miniature.WHOLE) == plain
    with pytest.raises(SystemExit, match="pilots of several settings"):
        miniature_summary.write_report(miniature.GATE, Path("unused"))


def test_a_run_from_other_weights_than_the_kept_model_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    whole = replace(miniature.WHOLE, kept=tmp_path / "kept", pilots=None)
    target, line = miniature.models(whole)[0]
    model = miniature.kept(whole, miniature.pretrained_path(whole, target, line))
    changes = miniature.model_changes(whole, line)
    keep_model(model, **whole_config(planned_config.pretraining_config("tiny", changes)))
    settings = planned_config.finetuning_config("tiny", f"dmcr/{target}", miniature.run_changes(whole, line))
    sha256 = checkpoint_sha256(model / "checkpoints" / "7")
    for seed, start in ((1, sha256), (2, "of another machine's model")):
        folder = miniature.kept(whole, miniature.run_path(whole, target, line, seed))
        keep_run(folder, [1.0], **whole_config(settings))
        write_record(folder, read_record(folder).model_copy(update={"parent": {"checkpoint_sha256": start}}))
        if seed == 1:
            miniature.check_kept(whole)
    with pytest.raises(SystemExit, match="apv/seed2 started from other weights than .*apv/seed0 has"):
        miniature.check_kept(whole)


def test_a_run_that_went_on_from_a_model_that_gave_way_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, space = replace(miniature.WHOLE, kept=tmp_path / "kept", pilots=None), CountingWorkspace(tmp_path / "work")
    target, line = miniature.models(whole)[0]
    keep_model(space.folder / miniature.pretrained_path(whole, target, line))

    def made(*words: str) -> float:
        folder = space.folder / words[-1]
        keep_run(folder)
        write_record(folder, read_record(folder).model_copy(update={"parent": {"checkpoint_sha256": "before"}}))
        return 1.0

    monkeypatch.setattr(space, "command", made)
    with pytest.raises(OtherModelError):
        miniature_runs.finetune(whole, space, target, line, 1)
    assert not miniature.kept(whole, miniature.run_path(whole, target, line, 1)).exists()


def test_the_lines_that_the_protocol_compares_are_compared() -> None:
    names = {line.name for line in miniature.LINES}
    assert len(miniature.PAIRS) == len({*miniature.PAIRS}) == 8
    assert all({*pair} <= names for pair in miniature.PAIRS)
    few = {"dreamerv2": [1.0, 2.0], "contextwm": [3.0, 4.0, 0.5], "contextwm@random": [2.0, 3.0], "apv": [9.0]}
    tasks = {target: {name: miniature_summary.with_interval(scores) for name, scores in few.items()}
             for target in ("one", "other")}  # fmt: skip
    found = dict(miniature_summary.improvements(tasks))
    assert set(found) == {"contextwm > contextwm@random", "contextwm > dreamerv2"}  # one run of APV has no interval
    assert found["contextwm > contextwm@random"]["probability"] == pytest.approx(3.5 / 6)  # 2 + 1/2 + 1 of six pairs
    assert found["contextwm > dreamerv2"]["probability"] == pytest.approx(4 / 6)
    assert found["contextwm > dreamerv2"]["low"] <= 4 / 6 <= found["contextwm > dreamerv2"]["high"]
    del tasks["other"]["dreamerv2"]
    assert set(dict(miniature_summary.improvements(tasks))) == {"contextwm > contextwm@random"}
