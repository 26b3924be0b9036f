"""Frozen protocols: the files do not change, runs are held to them, results merge, the leaderboard is current."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import trim_mean

from benchmarks import leaderboard
from ipv_bench.cli import run
from ipv_bench.config import flatten, load_preset, merge, nested
from ipv_bench.errors import InputError, UnknownNameError
from ipv_bench.frozen_protocol import Protocol, load_protocol, protocol_hash, protocol_names
from ipv_bench.run_record import read_record, variant_name, write_record
from reports.figures.selection import select_panels
from reports.frozen.check import check_runs
from reports.frozen.figure import figure_of
from reports.frozen.result import entries, result_bytes, result_table
from reports.readers.registry import read_sources
from reports.scores.pooling import config_differences
from tests.reports.synthetic_runs import write_finetuning, write_pretraining

NAME = "v1/cpu-night"
HASHES = {
    "v1/cpu-night": "7f745ef538246dec5ff8e9836b52d719131a747f85d705e6dd3058fa3eb31517",
    "v1/one-gpu": "a3e765c7130ba8cedd5ea8c3fee67d6b5124ad8eb8201f47a7c46794fd7e227b",
    "v1/paper": "41d2ad38793e1218f5471e98db6619ef4c2bbfff98d1b9e89d7e431e5f263a0b",
}
"""A track that is out is never changed: a change is `v2/…`."""


def test_frozen_files_are_frozen() -> None:
    assert {name: protocol_hash(name) for name in protocol_names()} == HASHES


@pytest.mark.parametrize("name", HASHES)
def test_our_presets_have_what_a_protocol_fixes(name: str) -> None:
    """So that `sweep protocol:…` runs our methods by their presets as they are, without overrides in their names."""
    protocol = load_protocol(name)
    for suite, fixed in protocol.fixed.finetune.items():
        values = flatten(load_preset("finetune", protocol.preset, (suite,)))
        assert {key: values[key] for key in fixed if key in values} == {
            key: fixed[key] for key in fixed if key in values
        }
    values = flatten(load_preset("pretrain", protocol.pretrain_preset))
    fixed = protocol.fixed.pretrain
    assert {key: values[key] for key in fixed if key in values} == {key: fixed[key] for key in fixed if key in values}


def test_what_is_free() -> None:
    protocol = load_protocol(NAME)
    assert all(
        protocol.is_free(key, "prelar") for key in ("rssm.deter", "optimizer.lr", "prelar.heads", "training.device")
    )
    closed = (
        "training.env_steps",
        "evaluation.episodes",
        "evaluation",
        "env.camera",
        "training",
        "data.num_videos",
        "apv.x",
    )
    assert not any(protocol.is_free(key, "prelar") for key in closed)


def write(root: Path, method: str, task: str, seed: int, level: float, **changes: Any) -> Path:
    """A run that follows the protocol, or deviates in `changes`: record fields, or `config` and `pretrain` values."""
    protocol = load_protocol(NAME)
    wanted = protocol.fixed.finetune["dmc"] | changes.pop("config", {})
    model = protocol.fixed.pretrain | changes.pop("pretrain", {})
    data = ("ssv2",) if method != "dreamerv2" else ()
    folder = write_finetuning(
        root, task, method, seed, data=data, level=level, last_step=28_000, points=changes.pop("points", 15), episodes=5
    )
    record = read_record(folder)
    shards = [{"name": "ssv2", "num_samples": 58, "path": "/home/somebody/shards"}] if data else []
    update = {"preset": "tiny", "config": _nested(wanted), "shard_sets": shards, "hardware": {"cpu": "a processor"}}
    if data:
        update["pretraining"] = {**record.pretraining, "updates": model["training.updates"]}
    write_record(folder, record.model_copy(update=update | changes))
    if data:
        start = write_pretraining(root, method)
        made = read_record(start).model_copy(update={"preset": "tiny", "config": _nested(model)})
        write_record(start, made)
    return folder


def played(fixed: Mapping[str, Any]) -> dict[str, int]:
    """What `write_finetuning` needs to write all evaluations that a protocol fixes."""
    number = fixed["training.env_steps"] // fixed["evaluation.every"]
    every, episodes = fixed["evaluation.every"], fixed["evaluation.episodes"]
    return {"last_step": number * every, "points": number + 1, "episodes": episodes}


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found = merge(found, nested(key, value))
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods, complete."""
    root = tmp_path_factory.mktemp("frozen") / "runs"
    for task in load_protocol(NAME).tasks:
        for seed in range(5):
            write(root, "contextwm", task, seed, 0.4)
            write(root, "dreamerv2", task, seed, 0.3)
    return root


def test_results_are_those_of_the_runs(lab: Path) -> None:
    checked = check_runs(NAME, read_sources([lab]))
    assert not checked.deviating
    found = entries(checked, resamples=500)
    assert [(one.name, one.pretraining, one.is_complete) for one in found] == [
        ("contextwm", "ssv2, 300 updates", True),
        ("dreamerv2", "none", True),
    ]
    for one in found:
        scores = []
        for task in load_protocol(NAME).tasks:
            for seed in range(5):
                log = lab / task / one.name / f"seed{seed}" / "evaluations.jsonl"
                means = [np.mean(json.loads(line)["returns"]) for line in log.read_text().splitlines()]
                assert one.scores[task][seed] == pytest.approx(np.mean(means[-5:]))
                scores.append(one.scores[task][seed] / 1000)
        assert one.aggregate is not None
        assert one.aggregate.point == pytest.approx(trim_mean(scores, 0.25))
        assert one.aggregate.low < one.aggregate.point < one.aggregate.high


def test_files_of_two_labs_merge_into_the_result_of_all_runs(lab: Path, tmp_path: Path) -> None:
    tasks = load_protocol(NAME).tasks
    whole = result_bytes(check_runs(NAME, read_sources([lab])))
    first = [*(lab / task / "contextwm" for task in tasks), lab / "pretrain"]
    second = [*(lab / task / "dreamerv2" for task in tasks), lab / tasks[0] / "contextwm" / "seed0", lab / "pretrain"]
    files = []
    for number, sources in enumerate((first, second)):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_bytes(result_bytes(check_runs(NAME, read_sources(sources))))
    assert b"/home/somebody" not in files[0].read_bytes()  # folders of a machine are nobody's business
    assert result_bytes(check_runs(NAME, read_sources(files))) == whole  # seed 0 of contextwm stands in both


def test_runs_of_an_entry_have_one_config(tmp_path: Path) -> None:
    for seed, (device, discount) in enumerate((("cpu", 0.95), ("cuda", 0.95), ("cpu", 0.99))):
        config = {"behavior.discount": discount, "training.device": device}
        write(tmp_path / "runs", "dreamerv2", "dmc/cheetah_run", seed, 0.4, config=config)
    checked = check_runs(NAME, read_sources([tmp_path / "runs"]))
    assert [one.run.seed for one in checked.following] == ["0", "1"]
    (odd,) = checked.deviating
    (deviation,) = odd.deviations
    assert vars(deviation) == {"field": "behavior.discount", "found": "0.99", "wanted": "0.95, as seed 0 has it"}


def test_runs_of_an_entry_have_one_environment_and_the_same_fields(tmp_path: Path) -> None:
    versions = ("1.0.28", "1.0.28", "1.0.30", "1.0.28")
    for seed, version in enumerate(versions):
        changes = {"env_fingerprint": {"suite": "dmc", "dm_control": version}}
        more = {"behavior.later": 1} if seed == 3 else {}
        write(tmp_path / "runs", "dreamerv2", "dmc/cheetah_run", seed, 0.4, config=more, **changes)
    checked = check_runs(NAME, read_sources([tmp_path / "runs"]))
    assert [one.run.seed for one in checked.following] == ["0", "1"]
    found = {one.run.seed: [vars(deviation) for deviation in one.deviations] for one in checked.deviating}
    assert found == {
        "2": [{"field": "env_fingerprint.dm_control", "found": "1.0.30", "wanted": "1.0.28, as seed 0 has it"}],
        "3": [{"field": "behavior.later", "found": "1", "wanted": "absent, as seed 0 has it"}],
    }


def test_an_entry_has_one_version_of_a_simulator_on_all_tasks_of_its_suite(tmp_path: Path) -> None:
    for task, changed in (("dmc/cheetah_run", {}), ("dmc/walker_stand", {"dm_control": "1.0.30", "camera": 1})):
        fingerprint = {"suite": "dmc", "dm_control": "1.0.28", "camera": 0} | changed
        write(tmp_path / "runs", "dreamerv2", task, 0, 0.4, env_fingerprint=fingerprint)
    checked = check_runs(NAME, read_sources([tmp_path / "runs"]))
    (odd,) = checked.deviating
    assert [vars(deviation) for deviation in odd.deviations] == [
        {"field": "env_fingerprint.dm_control", "found": "1.0.30", "wanted": "1.0.28, as dmc/cheetah_run seed 0 has it"}
    ]


def test_what_was_set_on_one_task_alone_is_a_choice_of_the_whole_entry(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    gain = {"variant": "reward.gain=0.1", "overrides": {"reward.gain": 0.1}, "config": {"reward.gain": 0.1}}
    for seed in range(5):
        write(runs, "contextwm", "dmc/cheetah_run", seed, 0.4)
        write(runs, "contextwm", "dmc/walker_stand", seed, 0.4, **gain)
    (one,) = entries(check_runs(NAME, read_sources([runs])), resamples=100)
    assert (one.name, one.is_complete) == ("contextwm", True)
    assert one.by_task == ("dmc/walker_stand: reward.gain=0.1 (chosen)",)
    shutil.move(runs / "dmc/walker_stand/contextwm", runs / "dmc/walker_stand/with_gain")
    write(runs, "contextwm", "dmc/walker_stand", 0, 0.4)  # now nobody can say which of the two goes with cheetah
    found = entries(check_runs(NAME, read_sources([runs])), resamples=100)
    assert {(line.name, len(line.runs)) for line in found} == {("contextwm", 6), ("contextwm@reward.gain=0.1", 5)}
    assert not any(line.by_task for line in found)


def test_runs_of_before_a_preset_sampled_its_evaluations_are_another_entry(tmp_path: Path) -> None:
    write(tmp_path, "dreamerv2", "dmc/cheetah_run", 0, 0.4)  # recorded when there was no such field
    write(tmp_path, "dreamerv2", "dmc/cheetah_run", 1, 0.4, config={"evaluation.explore": True})
    write(tmp_path, "dreamerv2", "dmc/cheetah_run", 2, 0.4, config={"evaluation.explore": False})
    checked = check_runs(NAME, read_sources([tmp_path]))
    assert {one.run.seed for one in checked.following} == {"0", "2"}
    (deviation,) = checked.deviating[0].deviations
    assert vars(deviation) == {"field": "evaluation.explore", "found": "True", "wanted": "False, as seed 0 has it"}


def test_values_that_the_protocol_fixes_are_no_choice_of_an_entry_s(tmp_path: Path) -> None:
    """Isodream's preset has another prefill on DMC Remastered, DrQ-v2's other pictures on some suites only."""
    protocol, chosen = load_protocol("v1/paper"), {"behavior.entropy": 0.1}
    imposed: dict[str, dict[str, Any]] = {
        "metaworld/reach": {}, "dmcr/cheetah_run": {"training.prefill": 1000},
        "carla/clear_noon": {"env.image_size": 64, "image.size": 64, "training.device": "cuda"},
    }  # fmt: skip
    for task, fixed in imposed.items():
        values = protocol.fixed.finetune[task.partition("/")[0]]
        for more in ({}, chosen):
            overrides = {"method": "isodream", **fixed, **more}
            variant = variant_name(fixed | more, ("training.device",))
            folder = write_finetuning(
                tmp_path / "runs", task, "isodream", 0, variant=variant, overrides=overrides, **played(values)
            )
            record = read_record(folder)
            config = _nested(values | {"image.size": 64})
            write_record(folder, record.model_copy(update={"config": config}))
    sources = [tmp_path / "runs"]
    for _ in range(2):  # from the runs, then from the file that was made of them
        checked = check_runs("v1/paper", read_sources(sources))
        assert [run.deviations for run in checked.deviating] == []
        found = {one.name: one for one in entries(checked, resamples=20)}
        assert {name: len(one.runs) for name, one in found.items()} == {
            "isodream": 3, "isodream@behavior.entropy=0.1": 3,
        }  # fmt: skip
        assert found["isodream"].imposed == ("env.image_size", "image.size", "training.prefill")
        sources = [tmp_path / "result.json"]
        sources[0].write_bytes(result_bytes(checked))
    figure = figure_of(checked)
    assert figure is not None
    drawn = [
        (label, run.task) for one in select_panels("f", figure, [run.run for run in checked.following])
        if one.show == "tasks" for label, runs in one.groups.items() for run in runs
    ]  # fmt: skip
    tasks = ("reach", "cheetah_run", "clear_noon")
    assert sorted(drawn) == sorted((label, task) for label in found for task in tasks)


def test_an_entry_is_scored_in_one_way_on_all_tasks_and_the_table_says_which(tmp_path: Path) -> None:
    write(tmp_path / "runs", "dreamerv2", "dmc/cheetah_run", 0, 0.4, config={"evaluation.explore": True})
    write(tmp_path / "runs", "dreamerv2", "dmc/walker_stand", 0, 0.4)
    write(tmp_path / "runs", "apv", "dmc/walker_stand", 0, 0.4)
    checked = check_runs(NAME, read_sources([tmp_path / "runs"]))
    (odd,) = checked.deviating
    assert odd.run.name.startswith("dmc/walker_stand/dreamerv2")
    assert [vars(one) for one in odd.deviations] == [
        {"field": "evaluation.explore", "found": "False", "wanted": "True, as dmc/cheetah_run seed 0 has it"}
    ]
    lines = entries(checked, resamples=10)
    assert {one.name: one.actions for one in lines} == {"dreamerv2": "sampled", "apv": "most likely"}
    table = result_table(checked, lines, "results")
    assert {row[0]: row[table.columns.index("actions")] for row in table.rows} == {
        "dreamerv2": "sampled", "apv": "most likely",
    }  # fmt: skip
    assert {one["actions"] for one in json.loads(result_bytes(checked))["entries"]} == {"sampled", "most likely"}


def write_carla(root: Path, seed: int, **changes: Any) -> None:
    """A run of `v1/paper` on CARLA, as the preset has it but for overrides in `changes`."""
    protocol = load_protocol("v1/paper")
    fixed = protocol.fixed.finetune["carla"]
    folder = write_finetuning(root, "carla/clear_noon", "dreamerv2", seed, data=(), **played(fixed))
    made = merge(_nested(fixed), {"env": {"host": "127.0.0.1", "port": 2000}})
    config = merge(made, _nested(changes))
    update = {"preset": "paper", "config": config, "overrides": changes}
    write_record(folder, read_record(folder).model_copy(update=update))


def test_where_the_servers_of_a_run_listen_is_nobodys_business(tmp_path: Path) -> None:
    write_carla(tmp_path, 0)
    write_carla(tmp_path, 1, **{"env.host": "10.0.0.7", "env.port": 2100, "env.server_command": "CarlaUE4.sh {port}"})
    write_carla(tmp_path, 2, **{"env.port": 2200, "training.cuda_graph": False, "training.deterministic": True})
    write_carla(tmp_path, 3, **{"env.port": 2300, "env.camera": "rear_left"})
    collection = read_sources([tmp_path])
    checked = check_runs("v1/paper", collection)
    assert [one.run.seed for one in checked.following] == ["0", "1", "2"]
    assert [(one.field, one.found) for one in checked.deviating[0].deviations] == [("env.camera", "rear_left")]
    assert b"10.0.0.7" not in result_bytes(checked)
    assert b"CarlaUE4" not in result_bytes(checked)
    assert config_differences(collection.runs[:3]) == []
    assert [line.partition(":")[0] for line in config_differences(collection.runs)] == ["env.camera"]


def test_another_run_of_a_seed_and_a_result_of_another_protocol_are_refused(lab: Path, tmp_path: Path) -> None:
    write(tmp_path / "runs", "dreamerv2", "dmc/cheetah_run", 0, 0.9)
    checked = check_runs(NAME, read_sources([lab / "dmc/cheetah_run/dreamerv2", tmp_path / "runs"]))
    assert [[one.field for one in run.deviations] for run in checked.deviating] == [["seed"]]

    file = tmp_path / "other.json"
    text = result_bytes(check_runs(NAME, read_sources([lab / "dmc/cheetah_run/dreamerv2"]))).decode()
    file.write_text(text.replace(protocol_hash(NAME), "0" * 64))
    checked = check_runs(NAME, read_sources([file]))
    assert not checked.following
    assert {one.field for run in checked.deviating for one in run.deviations} == {"protocol"}

    file.write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(InputError, match="version 2"):
        read_sources([file])
    changed = json.loads(text)
    changed["runs"][0]["scores"][-1] += 100
    file.write_text(json.dumps(changed))
    with pytest.raises(InputError, match="not those that its sha256 is of"):
        read_sources([file])
    file.write_text(text.replace('"seed": 3', '"seed": "three"'))
    with pytest.raises(InputError, match="seed"):
        read_sources([file])
    with pytest.raises(UnknownNameError, match="cpu-nite"):
        check_runs("v1/cpu-nite", read_sources([lab]))


def test_the_report_draws_checks_and_writes(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "runs", "apv", "dmc/cheetah_run", 0, 0.4, preset="small")
    words = [str(lab), str(tmp_path / "runs"), "--figures", f"protocol:{NAME}", "--out", str(tmp_path / "report")]
    assert run(["report", *words, "--resamples", "100"]) == 0
    assert "1 runs deviate from protocol v1/cpu-night" in capsys.readouterr().out
    report = tmp_path / "report"
    # one that ends early among whole ones is left out of the report, and deviates from the protocol
    short = write(tmp_path / "early", "apv", "dmc/cheetah_run", 0, 0.4)
    write(tmp_path / "early", "apv", "dmc/cheetah_run", 1, 0.4)
    lines = (short / "evaluations.jsonl").read_text().splitlines(keepends=True)
    (short / "evaluations.jsonl").write_text("".join(lines[:9]))
    more = [*words[:2], str(tmp_path / "early"), *words[2:-1], str(tmp_path / "second")]
    assert run(["report", *more, "--resamples", "100"]) == 0
    table = (tmp_path / "second" / "tables" / "protocol_v1_cpu-night_deviations.md").read_text()
    assert "until 18,000 environment steps" in table
    result = json.loads((report / "protocol_v1_cpu-night.json").read_text())
    assert [(one["name"], one["complete"]) for one in result["entries"]] == [("contextwm", True), ("dreamerv2", True)]
    assert result["deviating"][0]["deviations"] == [{"field": "preset", "found": "small", "wanted": "tiny"}]
    assert (report / "figures" / "protocol_v1_cpu-night.svg").is_file()
    assert "small" in (report / "tables" / "protocol_v1_cpu-night_deviations.csv").read_text()
    assert "ipv-bench v1, cpu-night: results" in (report / "report.html").read_text()


def test_the_leaderboard_is_current() -> None:
    files = sorted(leaderboard.RESULTS.glob("*.json"))
    assert files
    assert leaderboard.PAGE.read_text() == leaderboard.page(files), "run: python benchmarks/leaderboard.py"


def test_a_protocol_is_whole() -> None:
    values = load_protocol(NAME).model_dump() | {"tasks": ["dmc/cheetah_run", "metaworld/reach"]}
    with pytest.raises(ValueError, match="metaworld/reach has no fixed values"):
        Protocol.model_validate(values)


def test_what_a_preset_has_otherwise_on_one_task_is_told_too(tmp_path: Path) -> None:
    runs, common = tmp_path / "runs", {"training.device": "cpu"}
    for seed in range(5):
        config = {"replay.batch_size": 8, "env.camera": "side"}
        write(runs, "isodream", "dmc/cheetah_run", seed, 0.4, config=config | common)
        config = {"replay.batch_size": 16, "env.camera": "front"}
        write(runs, "isodream", "dmc/walker_stand", seed, 0.4, config=config | {"training.device": "cuda"})
    (one,) = entries(check_runs(NAME, read_sources([runs])), resamples=100)
    assert one.by_task == ("dmc/cheetah_run: replay.batch_size=8", "dmc/walker_stand: replay.batch_size=16")
