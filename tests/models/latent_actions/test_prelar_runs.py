"""PreLAR through the command line: labelled validation, exact resume, two ranks, and what fine-tuning takes over."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.run_record import read_record
from models.finetuning.plan import plan_finetuning
from models.metrics.latent_actions import Verdict
from models.pretraining.plan import plan_pretraining
from models.training.checkpoint import load_checkpoint
from tests.episode_maker import write_episodes
from tests.models.finetuning.finetune_runs import TASK, command_line, log_without_wall, run_until
from tests.models.pretraining.half_batches import train_on_halves
from tests.models.pretraining.small_pretraining import (
    SMALL,
    arguments,
    exit_code,
    learned,
    rank_environments,
    small_shard_set,
    start,
    weights,
)

CHANGES = {
    "method": "prelar", "rssm__action_dim": 4, "image__offset": "half", "training__updates": 6,
    "latent_action__consistency_scale": 0.1, "validation__every": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return small_shard_set(tmp_path_factory.mktemp("shards") / "set")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert run(arguments(data, folder, **CHANGES)) == 0
    return folder


def test_what_a_run_leaves(finished: Path) -> None:
    record = read_record(finished)
    assert (record.method, record.display_name, record.status) == ("prelar", "PreLAR", "finished")
    assert record.pretraining["kind"] == "latent_actions"
    lines = learned(finished)
    assert {"action_kl", "consistency_loss"} <= {key for line in lines for key in line}
    validations = [line for line in lines if "open_loop_mse" in line]
    assert [line["updates"] for line in validations] == [0, 3, 6]
    for line in validations:
        assert line["latent_action_verdict"] in get_args(Verdict)
        assert len(line["latent_action_shuffle_ratio_by_step"]) == 4
        assert "latent_action_r2_action" not in line  # the set has no actions


def test_killed_and_continued_equals_uninterrupted(data: Path, finished: Path, tmp_path: Path) -> None:
    command = arguments(data, tmp_path / "run", **CHANGES)
    assert exit_code(start(command, kill_at=5)) == -signal.SIGKILL
    assert exit_code(start(command)) == 0
    assert learned(tmp_path / "run") == learned(finished)
    assert weights(tmp_path / "run") == weights(finished)


@pytest.mark.slow
def test_two_ranks_train_one_model(data: Path, tmp_path: Path) -> None:
    """Each looks at half of a batch, and both hold what one process makes of the two halves."""
    changes = CHANGES | {"validation__every": 0, "training__updates": 3}
    command = arguments(data, tmp_path / "run", **changes)
    places = [tmp_path / f"rank{rank}.safetensors" for rank in (0, 1)]
    children = [start(command, env=env, keep=keep) for env, keep in zip(rank_environments(2), places, strict=True)]
    assert [exit_code(child) for child in children] == [0, 0]
    assert read_record(tmp_path / "run").world_size == 2
    assert all("skipped_segments" not in line for line in learned(tmp_path / "run"))
    overrides = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    training = train_on_halves(plan_pretraining("tiny", overrides=overrides, data=[data]).config, seed=0)
    ranks = [load_file(place) for place in places]
    for name, parameter in training.model.named_parameters():
        assert torch.equal(ranks[0][name], parameter), name
        assert torch.equal(ranks[1][name], parameter), name
    checkpoint = load_checkpoint(latest_checkpoint(tmp_path / "run") or tmp_path)
    assert all(torch.equal(checkpoint.model[name], value) for name, value in training.model.state_dict().items())
    for name, moment in training.optimizer.state_tensors().items():
        assert torch.equal(checkpoint.optimizer[name], moment), name


def test_a_labelled_set_is_probed_for_its_actions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_episodes(tmp_path / "raw", (12,) * 16)
    shards = tmp_path / "shards"
    words = ["prepare", "episodes", "--source", str(source), "--out", str(shards), "--workers", "1"]
    assert run([*words, "--set", "size=32x32"]) == 0
    capsys.readouterr()
    changes = CHANGES | {"training__updates": 1, "validation__segments": 8, "data__batch_size": 2, "data__holdout": 0.5}
    assert run(arguments(shards, tmp_path / "run", **changes)) == 0
    line = next(line for line in learned(tmp_path / "run") if "open_loop_mse" in line)
    assert {"latent_action_r2_action", "latent_action_r2_action_given_state"} <= line.keys()
    told = capsys.readouterr()
    assert "latent actions: " in told.out + told.err
    assert "R²(a|z)" in told.out + told.err
    assert "update 0: latent actions: " in told.out
    assert re.search(r"update 1: warning: latent actions: (collapsed|ignored) \(.* [<≥] ", told.out)


def test_alignment_needs_a_pretrained_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--set", "latent_action.align=nll", "--dry-run"]
    assert run(command_line(tmp_path / "run", *words, method="prelar")) == 2
    assert "latent_action.align=nll learns from a pre-trained model" in capsys.readouterr().err


def test_the_action_encoders_shape_matters_where_it_is_taken(finished: Path, tmp_path: Path) -> None:
    def plan(**changes: object) -> None:
        own = {key.replace("__", "."): value for key, value in changes.items()}
        record = read_record(finished).config
        same = {
            f"{part}.{key}": value
            for part in ("image", "encoder", "decoder", "rssm")
            for key, value in record[part].items()
        }
        plan_finetuning(
            "tiny", TASK, overrides={"method": "prelar", **same, "env.image_size": 32, **own},
            init=finished, root=tmp_path,
        )  # fmt: skip

    plan()
    for align in ({}, {"latent_action__align": "warmstart"}):
        with pytest.raises(Exception, match=r"latent_action.posterior is 'stochastic' there and 'deterministic' here"):
            plan(latent_action__posterior="deterministic", **align)


@pytest.mark.slow
def test_an_agent_killed_in_the_middle_equals_one_that_was_not(tmp_path: Path) -> None:
    short = ["--set", "training.env_steps=640"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(command_line(whole, *short, method="prelar")) == 0
    command = command_line(killed, *short, method="prelar")
    run_until(command, "finetuning.loop", "module.FinetuneLoop", "_learn", 8)
    assert run(command) == 0
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert log_without_wall(killed / name) == log_without_wall(whole / name)
    one, other = (load_checkpoint(latest_checkpoint(folder) or folder) for folder in (whole, killed))
    assert all(torch.equal(value, other.model[name]) for name, value in one.model.items())
    assert all(torch.equal(value, other.optimizer[name]) for name, value in one.optimizer.items())
