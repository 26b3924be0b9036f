"""What of a run is not as a frozen protocol wants it, each by name: settings, data, starts, and every evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipv_bench.run_record import read_record, write_record
from reports.frozen.check import check_runs
from reports.readers.registry import read_sources
from tests.reports.frozen.test_frozen_protocol import NAME, write


@pytest.mark.parametrize(
    ("changes", "field", "found", "wanted"),
    [
        ({"config": {"training.env_steps": 56_000}}, "training.env_steps", "56000", "28000"),
        ({"config": {"env.action_repeat": 2}}, "env.action_repeat", "2", "4"),
        ({"overrides": {"evaluation": {"episodes": 50}}}, "evaluation.episodes", None, None),
        ({"overrides": {"env.camera": "back"}}, "env.camera", "back", "as in preset tiny"),
        ({"overrides": {"rssm.deter": 32, "training.device": "cpu"}}, None, None, None),  # its own affair
        ({"preset": "small"}, "preset", "small", "tiny"),
        ({"status": "interrupted"}, "status", "interrupted", "finished"),
        ({"seed": 5}, "seed", "5", "0 to 4"),
        ({"points": 4}, "evaluations", "3", "at least 5"),
        ({"pretrain": {"training.updates": 3000}}, "pretrain.training.updates", "3000", "300"),
        ({"pretraining": {"kind": "video", "data": ["ego4d"], "updates": 300}}, "pretraining.data", "ego4d", "ssv2"),
        (
            {"pretraining": {"kind": "video", "data": ["ssv2"], "updates": 100}},
            "pretraining.updates",
            "100",
            "300, its last ones",
        ),
        ({"shard_sets": [{"name": "ssv2", "num_samples": 168_913}]}, "shard_sets.num_samples", "168913", "58"),
        (
            {"parent": {"run": "elsewhere/seed0"}},
            "pretrain",
            "elsewhere/seed0 was not given",
            "the run that it starts from",
        ),
    ],
)
def test_each_deviation_is_named(
    changes: dict[str, Any], field: str | None, found: str | None, wanted: str | None, tmp_path: Path
) -> None:
    if changes.get("overrides") == {"evaluation": {"episodes": 50}}:
        changes, found, wanted = {"config": {"evaluation.episodes": 50}, **changes}, "50", "5"
    seed = changes.get("seed", 0)
    others = {key: value for key, value in changes.items() if key != "seed"}
    write(tmp_path / "runs", "contextwm", "dmc/cheetah_run", seed, 0.4, **others)
    checked = check_runs(NAME, read_sources([tmp_path / "runs"]))
    named = [(one.field, one.found, one.wanted) for run in checked.deviating for one in run.deviations]
    assert named == ([(field, found, wanted)] if field else [])
    assert len(checked.following) == (field is None)


@pytest.mark.parametrize(
    ("cut", "found", "wanted"),
    [
        (lambda lines: lines[:6], "until 12,000 environment steps", "until 28,000"),
        (lambda lines: lines[:9] + lines[10:], "none between 18,000 and 22,000 environment steps", "one every 2,000"),
        (
            lambda lines: [line | {key: line[key][:1] for key in ("returns", "successes")} for line in lines],
            "1 episodes in 14 of 14",
            "5 in each",
        ),
        (lambda lines: [line | {"env_steps": line["env_steps"] + 40 * place} for place, line in enumerate(lines)],
         None, None),  # an evaluation waits for the end of an episode
    ],
)  # fmt: skip
def test_evaluations_that_were_cut_off_deviate(
    cut: Callable[[list[dict]], list[dict]], found: str | None, wanted: str | None, tmp_path: Path
) -> None:
    folder = write(tmp_path / "runs", "contextwm", "dmc/cheetah_run", 0, 0.4)
    path = folder / "evaluations.jsonl"
    lines = cut([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    checked = check_runs(NAME, read_sources([tmp_path / "runs"]))
    named = [(one.field, one.found, one.wanted) for run in checked.deviating for one in run.deviations]
    assert named == ([("evaluations", found, wanted)] if found else [])


def test_several_environments_evaluate_once_a_round(tmp_path: Path) -> None:
    """Which the protocol leaves free: four episodes of 1,000 steps end together."""
    folder = write(tmp_path / "runs", "contextwm", "dmc/cheetah_run", 0, 0.4, config={"envs.count": 4})
    path = folder / "evaluations.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for kept, deviating in ((lines[1::2], 0), (lines[1:3] + lines[9:], 1)):
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        assert len(check_runs(NAME, read_sources([tmp_path / "runs"])).deviating) == deviating


def test_an_adapted_model_is_no_start_of_a_protocols_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "runs", "contextwm", "dmc/cheetah_run", 0, 0.4)
    start = next((tmp_path / "runs/pretrain").glob("**/run.json")).parent
    write_record(start, read_record(start).model_copy(update={"kind": "adapt"}))
    record = read_record(folder)
    for made in (record.pretraining, {"kind": "none"}):  # `adapt` from random weights
        write_record(folder, record.model_copy(update={"pretraining": made}))
        (odd,) = check_runs(NAME, read_sources([tmp_path / "runs"])).deviating
        assert ("pretrain.kind", "adapt", "pretrain") in [(one.field, one.found, one.wanted) for one in odd.deviations]
