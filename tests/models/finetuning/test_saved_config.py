"""Runs from before each suite had its own fields of `env`, and configs that do not fit."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from ipv_bench.cli import run
from ipv_bench.errors import ConfigError, RunError, SimulationError
from ipv_bench.run_record import read_record, write_record
from models.envs.dmc_remastered import DmcRemasteredConfig
from models.envs.metaworld import MetaworldConfig
from models.finetuning.config import resolve_finetuning, saved_config
from models.finetuning.plan import plan_finetuning
from models.finetuning.played_env import played_env, withheld_fields, withheld_is_told

OLD_FIELDS = {"reward_version": "v2", "vary": None, "assets": None}


def old_record(task: str, folder: Path, **changes: Any) -> Any:
    """The record of a run whose `env` still has every suite's fields."""
    record = plan_finetuning("tiny", task, overrides={"method": "dreamerv2"}, run=folder).record
    env = {**OLD_FIELDS, **record.config["env"], **changes}
    return record.model_copy(update={"config": {**record.config, "env": env}, "status": "finished"})


@pytest.mark.parametrize(
    ("task", "changes", "kind"),
    [
        ("dmc/cheetah_run", {}, None),
        ("dmcr/walker_run", {"vary": ["floor"]}, DmcRemasteredConfig),
        ("metaworld/reach", {"reward_version": "v1"}, MetaworldConfig),
    ],
)
def test_an_old_record_is_read_and_its_run_goes_on(
    task: str, changes: dict[str, Any], kind: type | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = old_record(task, tmp_path / "run", **changes)
    env = saved_config(record).env
    assert kind is None or isinstance(env, kind)
    for name, value in changes.items():
        assert env.model_dump(mode="json")[name] == value
    write_record(tmp_path / "run", record)
    sets = [word for name, value in changes.items() for word in ("--set", f"env.{name}={value}")]
    command = ["finetune", "--task", task, "--set", "method=dreamerv2", *sets, "--run", str(tmp_path / "run")]
    assert run(command) == 0
    printed = capsys.readouterr()
    assert "is finished; nothing to do" in printed.out + printed.err
    assert read_record(tmp_path / "run").config["env"]["assets"] is None  # left as it was


def test_a_record_starts_no_program(tmp_path: Path) -> None:
    """Runs are passed around: `evaluate` of somebody else's must not run what its record names."""
    command = f"touch {tmp_path / 'was_here'} {{port}}"
    overrides = {
        "method": "dreamerv2", "env.port": 2500, "env.host": "elsewhere", "env.server_command": command,
    }  # fmt: skip
    plan = plan_finetuning("tiny", "carla/clear_noon", overrides=overrides, run=tmp_path / "run")
    assert plan.config.env.model_dump()["server_command"] == command  # the command line may
    env = saved_config(plan.record).env.model_dump()
    assert (env["server_command"], env["host"], env["port"]) == (None, "127.0.0.1", 2500)
    withheld, saved = withheld_fields(plan.record, type(plan.config.env)), saved_config(plan.record).env
    assert withheld == {"host": "elsewhere", "server_command": command}
    played = played_env(plan.record, saved, ["env.host=here", "env.port=2600"]).model_dump()
    assert played == env | {"host": "here", "port": 2600}
    with pytest.raises(ConfigError, match="env.camera is set, and a run is evaluated as it was trained"):
        played_env(plan.record, saved, ["env.camera=front_left"])
    with pytest.raises(SimulationError) as caught, withheld_is_told(plan.record, saved):
        raise SimulationError("no server answers", expected="one", fix="start it")
    assert caught.value.fix.endswith("; or start it")
    assert "env.host='elsewhere', env.server_command=" in str(caught.value)
    assert f"--set env.host=elsewhere --set {shlex.quote(f'env.server_command={command}')}" in str(caught.value)


def test_a_key_of_another_suite_names_that_suite(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"env\.reward_version belongs to the suites metaworld and .*, and dmc tasks"):
        resolve_finetuning("tiny", "dmc", overrides={"env.reward_version": "v1"})
    file = tmp_path / "mine.yaml"
    file.write_text("env: {assets: labmaze}\n")
    with pytest.raises(ConfigError, match=r"env\.assets belongs to the suite dmcr, and metaworld tasks"):
        resolve_finetuning("tiny", "metaworld", config_file=file)


def test_a_config_that_does_not_fit_its_method_is_named(tmp_path: Path) -> None:
    record = old_record("dmc/cheetah_run", tmp_path)
    damaged = record.model_copy(update={"config": {**record.config, "rssm": {"deter": "wide"}}})
    with pytest.raises(RunError, match=r"dreamerv2: rssm\.deter"):
        saved_config(damaged)
