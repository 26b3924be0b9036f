"""Runs and samples that lie where a sweep's belong: its own are done, those of another experiment are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ipv_bench.errors import UsageError
from ipv_bench.run_record import read_record, write_record
from ipv_bench.sweeps.config import SweepConfig
from ipv_bench.sweeps.made_before import refuse_other_runs
from ipv_bench.sweeps.plan import plan_sweep
from ipv_bench.sweeps.planned_job import is_done
from tests.ipv_bench.test_sweep import ipv_bench, lab, prepared

__all__ = ["lab", "prepared"]

FIELDS = {
    "methods": ["linear"], "tasks": ["dot/left"], "data": ["robot-videos"], "seeds": 1,
    "set": {"training.env_steps": 240, "evaluation.every": 120, "evaluation.random_episodes": 1},
}  # fmt: skip
MODEL = "runs/pretrain/robot-videos/linear/seed0"


def planned(**changes: Any) -> list[bool]:
    plan = plan_sweep(SweepConfig.model_validate(FIELDS | changes))
    refuse_other_runs(plan)
    return [is_done(job) for job in plan]


@pytest.fixture
def made(lab: Path) -> Path:
    """The model and the agent of the sweep, made by its own commands."""
    for job in plan_sweep(SweepConfig.model_validate(FIELDS)):
        done = ipv_bench(lab, *job.words)
        assert done.returncode == 0, done.stderr
    assert planned() == [True, True]
    return lab


def test_a_sweep_takes_its_own_runs_and_no_others(made: Path) -> None:
    agent = next(path.parent for path in (made / "runs" / "dot").rglob("run.json"))
    record, model = read_record(agent), read_record(made / MODEL)
    # what changes no result, and weights that are kept elsewhere
    assert planned(set=FIELDS["set"] | {"training.device": "cpu"}) == [True, True]
    checkpoints = made / MODEL / "checkpoints"
    checkpoints.rename(made / "kept")
    assert planned() == [True, True]
    with pytest.raises(UsageError, match=r"it starts from: .*linear/seed0 → .*linear/seed1"):
        planned(pretrain_seed=1)
    (made / "kept").rename(checkpoints)

    with pytest.raises(
        UsageError,
        match=r"lie where this sweep's belong \(1; `--dry-run` shows all\):\n  runs/.*preset",
    ) as caught:
        write_record(agent, record.model_copy(update={"preset": "small"}))
        planned()
    assert "give the sweep a `root` of its own" in caught.value.fix
    (made / "sweep.yaml").write_text(json.dumps(FIELDS))
    shown = ipv_bench(made, "sweep", "sweep.yaml", "--dry-run")
    assert "[of another experiment, so the sweep is refused: preset: 'small' → 'tiny'" in shown.stdout, shown.stderr
    done = ipv_bench(made, "sweep", "sweep.yaml")
    assert done.returncode == 2
    assert "`--dry-run` shows all" in done.stderr
    config = json.loads(json.dumps(record.config)) | {"replay": record.config["replay"] | {"length": 7}}
    write_record(agent, record.model_copy(update={"config": config}))
    with pytest.raises(UsageError, match=r"replay.length: 7 → "):
        planned()
    write_record(agent, record)

    write_record(made / MODEL, model.model_copy(update={"shard_sets": [{"name": "x", "manifest_sha256": "0"}]}))
    with pytest.raises(UsageError, match=r"trained on: x → data/shards/robot-videos, which has another manifest"):
        planned()
    write_record(made / MODEL, model)
    newest = max(checkpoints.iterdir(), key=lambda path: int(path.name))
    index = json.loads((newest / "checkpoint.json").read_text())
    (newest / "checkpoint.json").write_text(json.dumps(index | {"again": True}))  # as a model that was trained again
    with pytest.raises(UsageError, match=r"it starts from: weights [0-9a-f]{12}… of .* → [0-9a-f]{12}…"):
        planned()


def test_an_unfinished_run_is_held_against_its_command_when_it_goes_on(made: Path) -> None:
    agent = next(path.parent for path in (made / "runs" / "dot").rglob("run.json"))
    write_record(agent, read_record(agent).model_copy(update={"preset": "small", "status": "interrupted"}))
    assert planned() == [True, False]


def test_another_sample_than_the_sweep_s_is_refused(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lab / "data").unlink()
    assert ipv_bench(lab, "sample", "data/raw/mine", "--dataset", "robot-videos", "--videos", "6").returncode == 0
    shutil.copytree(lab / "data" / "raw" / "mine", lab / "copy")
    sample = {"dataset": "robot-videos", "videos": 6}
    asked = {"data": ["mine"], "samples": {"mine": sample}}
    assert planned(**asked)[0]
    for name, value in (("videos", 5), ("seed", 1), ("dataset", "ssv2")):
        with pytest.raises(UsageError, match=rf"another sample than the sweep's: .*{name}"):
            planned(**asked | {"samples": {"mine": sample | {name: value}}})
    done = ipv_bench(lab, "prepare", "robot-videos", "--source", "data/raw/mine", "--out", "data/shards/mine",
                     "--set", "name=mine")  # fmt: skip
    assert done.returncode == 0, done.stderr
    with pytest.raises(UsageError, match="another sample than the sweep's"):  # though the set is there
        planned(**asked | {"samples": {"mine": sample | {"videos": 5}}})
    (lab / "data" / "raw" / "mine" / ".ipv-bench-sample.json").unlink()
    capsys.readouterr()
    planned(**asked)
    assert "data/raw/mine does not say that it is the sample" in capsys.readouterr().err


def test_a_sample_says_what_it_is_and_its_record_is_no_part_of_the_release(lab: Path) -> None:
    (lab / "data").unlink()
    for name in ("one", "two"):
        assert ipv_bench(lab, "sample", name, "--dataset", "ssv2", "--videos", "3").returncode == 0
    (lab / "two" / ".ipv-bench-sample.json").unlink()
    for name in ("one", "two"):
        done = ipv_bench(lab, "prepare", "ssv2", "--source", name, "--out", f"shards/{name}")
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((lab / "shards" / name / "manifest.json").read_text()) for name in ("one", "two"))
    assert one["inventory_sha256"] == two["inventory_sha256"]
    assert one["shards"] == two["shards"]
