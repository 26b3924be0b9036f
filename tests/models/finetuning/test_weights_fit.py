"""Pre-trained weights that mean something else are refused before anything runs, also where their shapes fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ipv_bench.cli import run
from ipv_bench.errors import CheckpointError, ConfigError
from ipv_bench.run_record import RunRecord, read_record, write_record
from models.finetuning.config import resolve_finetuning
from models.finetuning.plan import plan_finetuning
from models.pretraining.config import resolve_pretraining
from models.training.checkpoint import save_checkpoint
from models.world_models.parent_weights import told_of_the_start
from models.world_models.weight_facts import FACTS, weight_facts
from tests.models.finetuning.finetune_runs import TASK, command_line


def pretrained(folder: Path, *, says: bool = True, method: str = "contextwm", **changes: Any) -> Path:
    """A pre-training run of `tiny`, `changes` apart; without `says`, its checkpoint is of an older version."""
    resolved = resolve_pretraining("tiny", overrides={"method": method, **changes})
    config = resolved.config.model_dump(mode="json")
    state = {FACTS: weight_facts(config)} if says else {}
    save_checkpoint(folder, 300, {"one": torch.ones(1)}, {}, state)
    record = RunRecord(
        kind="pretrain", method=method, seed=0, preset="tiny", config=config, pretraining={"data": ["ssv2"]}
    )
    write_record(folder, record)
    return folder


def plan(init: Path, **changes: Any) -> None:
    plan_finetuning("tiny", TASK, overrides={"method": "contextwm", **changes}, init=init, root=init.parent / "runs")


def test_a_model_of_the_same_config_is_taken(tmp_path: Path) -> None:
    plan(pretrained(tmp_path / "same"))


@pytest.mark.parametrize(
    ("key", "there", "here"),
    [
        ("rssm.stoch", 4, 8), ("context.heads", 2, 1), ("image.gain", 1.0, 4.0), ("image.offset", "half", "mean_image"),
        ("encoder.blocks", 1, 0), ("context.fusion", "concat", "cross_attention"), ("rssm.action_dim", 20, 50),
    ],
)  # fmt: skip
@pytest.mark.parametrize("says", [True, False], ids=["checkpoint", "run.json"])
def test_another_model_is_refused_with_both_values_unless_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, there: Any, here: Any, says: bool
) -> None:
    parent = pretrained(tmp_path / "other", says=says, **{key: there})
    with pytest.raises(CheckpointError, match="trained as something else") as caught:
        plan(parent)
    assert f"{key} is {there!r} there and {here!r} here" in caught.value.found
    assert "init_allow" in caught.value.fix
    plan(parent, init_allow=[key])
    with pytest.raises(CheckpointError):
        plan(parent, init_allow=["loss.kl_scale"])


def test_what_is_not_taken_over_may_differ_and_a_harmless_difference_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(pretrained(tmp_path / "rssm", **{"rssm.stoch": 4}), init_parts="encoder_decoder")
    capsys.readouterr()
    plan(pretrained(tmp_path / "mask", **{"context.mask_ratio": 0.5}))
    told = capsys.readouterr()
    assert "context.mask_ratio is 0.5 there and 0.75 here" in told.out + told.err


def test_what_neither_model_looks_at_may_differ(tmp_path: Path) -> None:
    record = pretrained(tmp_path / "apv", method="apv", says=False)
    text = (record / "run.json").read_text()
    assert '"heads": 1' in text
    (record / "run.json").write_text(text.replace('"heads": 1', '"heads": 4'))  # as of a preset with another value
    plan(record, method="apv")
    told = told_of_the_start(resolve_finetuning("tiny", "dmc", parts=("dmc",), overrides={"method": "apv"}).config)
    assert not {"context.heads", "encoder.norm", "reward.dual"} & told.keys()
    assert told["rssm.stoch"] == 8


def test_what_the_pretrained_action_encoder_was_is_asked_of_every_prelar_agent(tmp_path: Path) -> None:
    """Figures choose runs by it, also where no alignment takes the encoder over."""
    parent = pretrained(tmp_path / "al", method="prelar", **{"latent_action.posterior": "deterministic"})
    with pytest.raises(CheckpointError, match="latent_action.posterior is 'deterministic' there and 'stochastic' here"):
        plan(parent, method="prelar")
    plan(parent, method="prelar", **{"latent_action.posterior": "deterministic"})
    with pytest.raises(ConfigError, match="the run starts from random weights"):
        plan_finetuning("tiny", TASK, overrides=["method=prelar", "latent_action.posterior=deterministic"], init="none")


def test_a_plan_may_start_from_a_model_that_is_still_to_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--preset", "tiny", "--task", TASK, "--set", "init_parts=encoder_decoder", "--init", "later"]
    assert run([*words, "--run", str(tmp_path / "run"), "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["variant"] == "init_parts=encoder_decoder"
    assert shown["as_pretrained"]["image.gain"] == 4.0
    assert "rssm.stoch" not in shown["as_pretrained"]
    assert run([*words, "--run", str(tmp_path / "run")]) == 2
    assert "later is for --dry-run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_says_how_weights_are_taken_is_refused_where_none_are(tmp_path: Path) -> None:
    for key, value in (("init_parts", "encoder_decoder"), ("init_allow", ["rssm.stoch"])):
        with pytest.raises(ConfigError, match=f"{key} is set, and the run starts from random weights"):
            plan_finetuning("tiny", TASK, overrides={key: value}, init="none", root=tmp_path)
    plan_finetuning("tiny", TASK, overrides={"init_parts": "all"}, init="none", root=tmp_path)


def test_a_state_without_facts_is_damaged(tmp_path: Path) -> None:
    parent = pretrained(tmp_path / "parent")
    save_checkpoint(parent, 300, {"one": torch.ones(1)}, {}, {FACTS: ["rssm.stoch"]})
    with pytest.raises(CheckpointError, match="is list"):
        plan(parent)


def test_a_model_of_another_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="method is 'apv' there and 'contextwm' here"):
        plan(pretrained(tmp_path / "apv", method="apv"))


def test_a_bare_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    parent = pretrained(tmp_path / "moved", **{"image.gain": 1.0})
    (parent / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"image.gain is 1.0 there and 4.0 here"):
        plan(parent / "checkpoints" / "300")


def test_evaluate_and_resume_refuse_a_record_that_is_not_the_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    short = ["--set", "training.env_steps=320", "--set", "training.pretrain_updates=1"]
    arguments = command_line(folder, *short, method="apv")
    assert run(arguments) == 0
    record = read_record(folder)
    config = json.loads(json.dumps(record.config))
    config["rssm"] |= {"stoch": 2, "discrete": 8}
    write_record(folder, record.model_copy(update={"config": config}))
    capsys.readouterr()
    assert run(["evaluate", str(folder), "--episodes", "1"]) == 2
    assert "rssm.stoch is 4 there and 2 here" in capsys.readouterr().err
