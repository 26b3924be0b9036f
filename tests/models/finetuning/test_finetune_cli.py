"""`finetune` and `evaluate` through the command line: what they print, and what bad input gets."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ipv_bench.atomic_file import disk_errors
from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.errors import SimulationError
from ipv_bench.run_record import RunRecord, read_record, write_record
from models.finetune import build_agent
from models.training.checkpoint import save_checkpoint
from models.world_models.video import VideoWorldModel
from tests.models.finetuning.finetune_runs import SMALL, command_line

SHORT = ("--set", "training.env_steps=480", "--set", "evaluation.every=0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert run(command_line(folder, *SHORT)) == 0
    return folder


def video_model_run(folder: Path, method: str = "contextwm", **changes) -> Path:
    """A pre-training run with a checkpoint of random weights."""
    config = build_agent("tiny", {**SMALL, "method": method, **changes}, None, 1).config
    model = VideoWorldModel(config)
    save_checkpoint(folder, 5, model.state_dict(), {}, {})
    record = RunRecord(
        kind="pretrain", method=method, seed=0, preset="tiny", config={}, shard_sets=[{"name": "ssv2"}],
        pretraining={"kind": "video", "data": ["ssv2"], "num_videos": 3, "updates": 5},
    )  # fmt: skip
    write_record(folder, record)
    return folder


def refused(arguments: list[str], capsys, *words: str, status: int = 2) -> None:
    """The command ends with `status`, and its message has all `words` and says what was expected and what to do."""
    assert run(arguments) == status
    message = capsys.readouterr().err
    assert "internal error" not in message
    assert "expected:" in message, message
    assert "to do:" in message, message
    for word in words:
        assert word in message, message


def test_evaluate_prints_scores_and_writes_a_video(finished, tmp_path, capsys):
    video = tmp_path / "policy.mp4"
    scores = []
    for _ in range(2):
        assert run(["evaluate", str(finished), "--episodes", "2", "--seed", "4", "--video", str(video)]) == 0
        scores.append(json.loads(capsys.readouterr().out))
    assert scores[0] == scores[1]
    assert scores[0]["env_steps"] == 480
    assert scores[0]["env_changes"] == {}
    assert scores[0]["lengths"] == [20, 20]
    assert scores[0]["mean_return"] == pytest.approx(np.mean(scores[0]["returns"]))
    import av

    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 21
    assert frames[0].shape == (192, 192, 3)


def test_evaluate_refuses_what_has_no_agent(finished, tmp_path, capsys):
    refused(["evaluate", str(tmp_path)], capsys, "has no run.json")
    refused(["evaluate", str(video_model_run(tmp_path / "pre"))], capsys, "no agent")
    shutil.copytree(finished, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoints"))
    refused(["evaluate", str(tmp_path / "bare")], capsys, "no checkpoint yet")
    refused(["evaluate", str(finished), "--video", "x.avi"], capsys, ".gif or .mp4\n  to do:    call it x.mp4")
    refused(["evaluate", str(tmp_path / "pre")], capsys, f"`ipv-bench analyze predict {tmp_path / 'pre'}`")
    unknown = ["evaluate", str(finished), "--set", "env.camera=1"]
    refused(unknown, capsys, "evaluated as it was trained", "of this run no key", "ipv-bench record SUITE/TASK")


def test_a_video_that_cannot_be_written_takes_no_scores_along(finished, tmp_path, monkeypatch, capsys):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("")
    played = []
    with monkeypatch.context() as patch:
        patch.setattr("models.evaluate.play_evaluation", lambda *given, **more: played.append(given))
        for path, words in (("folder.mp4", "is a folder"), ("file/a.gif", "Not a directory")):
            refused(["evaluate", str(finished), "--video", str(tmp_path / path)], capsys, path, words)
    assert not played

    def full(path: Path, data: bytes) -> None:
        with disk_errors(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("models.finetuning.policy_video.write_bytes", full)
    video = str(tmp_path / "new" / "policy.gif")
    assert run(["evaluate", str(finished), "--episodes", "1", "--video", video]) == 2
    told = capsys.readouterr()
    assert len(json.loads(told.out)["returns"]) == 1
    assert "the disk is full" in told.err
    assert not (tmp_path / "new").exists()


def test_a_dry_run_prints_the_config_and_writes_nothing(tmp_path, capsys):
    assert run(command_line(tmp_path / "run", "--dry-run")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["config"]["rssm"]["deter"] == 8
    assert plan["init"] == "none"
    assert not (tmp_path / "run").exists()


def test_the_paper_preset_follows_suite_and_task(tmp_path, capsys):
    found = {}
    for task in ("metaworld/drawer_open", "metaworld/reach", "dmc/cheetah_run", "dmcr/walker_run"):
        assert run(["finetune", "--preset", "paper", "--task", task, "--init", "none", "--dry-run"]) == 0
        config = json.loads(capsys.readouterr().out)["config"]
        found[task] = (config["context"]["augmentation"], config["replay"]["batch_size"], config["concat_embed"])
    assert found["metaworld/drawer_open"] == ("none", 50, False)
    assert found["metaworld/reach"] == ("erasing", 50, False)
    assert found["dmc/cheetah_run"] == found["dmcr/walker_run"] == ("none", 16, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "dmc/cartpole_balanc"], ["did you mean 'dmc/cartpole_balance'?"]),
        (["--task", "metawrld/reach"], ["did you mean 'metaworld/reach'?"]),
        (["--task", "dmc/cheetah_run", "--preset", "tny"], ["did you mean 'tiny'?"]),
        (["--task", "dmc/cheetah_run", "--set", "replay.batchsize=3"], ["did you mean 'replay.batch_size'?"]),
        (["--task", "dmc/cheetah_run", "--set", "training.env_steps=many"], ["training.env_steps"]),
        (["--task", "dmc/cheetah_run", "--set", "env.image_size=32"], ["env.image_size is 32"]),
        (["--task", "dmc/cheetah_run", "--set", "method=dreamer"], ["method"]),
        (["--task", "dmc/cheetah_run"], ["--init none", "ipv-bench pretrain --set method=contextwm"]),
        (["--task", "dmc/cheetah_run", "--init", "nowhere"], ["nowhere does not exist"]),
        (["--task", "dmc/cheetah_run", "--init", ".", "--set", "method=dreamerv2"], ["without pre-training"]),
    ],
)
def test_bad_input_is_refused_with_what_to_do(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(["finetune", *arguments], capsys, *words)
    assert not list(tmp_path.iterdir())


def test_a_pretrained_run_is_found_recorded_and_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    video_model_run(tmp_path / "runs/pretrain/ssv2/contextwm/seed0")
    arguments = command_line(tmp_path / "run", *SHORT, "--seed", "3")
    position = arguments.index("--init")
    assert run(arguments[:position] + arguments[position + 2 :]) == 0
    record = read_record(tmp_path / "run")
    assert record.parent["run"] == "runs/pretrain/ssv2/contextwm/seed0"
    assert record.pretraining == {
        "kind": "video", "data": ["ssv2"], "num_videos": 3, "updates": 5, "variant": "",
    }  # fmt: skip
    assert record.shard_sets == [{"name": "ssv2"}]
    # Without its parent the run can still go on, but not from another start.
    shutil.rmtree(tmp_path / "runs")
    assert run(arguments[:position] + arguments[position + 2 :]) == 0
    refused(arguments, capsys, "started from runs/pretrain/ssv2/contextwm/seed0")


def test_a_checkpoint_of_another_size_is_refused(tmp_path, capsys):
    wide = video_model_run(tmp_path / "wide", **{"rssm.hidden": 9})
    refused(command_line(tmp_path / "run", init=str(wide)), capsys, "of another model", "instead of")
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_refused(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    write_record(folder, read_record(folder).model_copy(update={"status": "interrupted"}))
    path = latest_checkpoint(folder) / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)
    refused(command_line(folder, *SHORT), capsys, "model.safetensors is truncated")


def test_a_run_of_another_task_or_action_size_is_refused(finished, tmp_path, capsys):
    refused(command_line(finished, *SHORT, task="dmc/cheetah_run"), capsys, "task: 'cartpole_balance' → 'cheetah_run'")
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    record = read_record(folder).model_copy(
        update={"status": "interrupted", "task": "cheetah_run", "env_fingerprint": {}}
    )
    write_record(folder, record)
    # The record was changed by hand: the weights and the replay still tell.
    refused(command_line(folder, *SHORT, task="dmc/cheetah_run"), capsys, "of another model")


def test_another_environment_version_is_refused(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    record = read_record(folder)
    other = {**record.env_fingerprint, "mujoco": "2.0.0"}
    write_record(folder, record.model_copy(update={"status": "interrupted", "env_fingerprint": other}))
    refused(command_line(folder, *SHORT), capsys, "mujoco: '2.0.0' →")
    # Scores of the agent are still to be had, and say what they are not.
    assert run(["evaluate", str(folder), "--episodes", "1"]) == 0
    told = capsys.readouterr()
    assert "trained in another environment (mujoco: '2.0.0' →" in told.err
    assert json.loads(told.out)["env_changes"] == {"mujoco": ["2.0.0", record.env_fingerprint["mujoco"]]}


def test_a_full_disk_stops_the_run_and_the_last_checkpoint_stays(tmp_path, monkeypatch, capsys):
    import models.training.checkpoint

    folder, calls, write = tmp_path / "run", [0], models.training.checkpoint._write

    def full(path, data):
        calls[0] += 1
        if calls[0] > 5:  # the second checkpoint's second file
            path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(models.training.checkpoint, "_write", full)
    refused(command_line(folder), capsys, "disk is full")
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["40"]
    assert read_record(folder).status == "failed"
    assert "disk is full" in read_record(folder).failure


def test_an_environment_that_fails_ends_the_run_with_its_message(tmp_path, monkeypatch, capsys):
    from models.envs.dmc import DmcEnv

    def broken(self, action):
        raise SimulationError(
            "dmc/cartpole_balance, control step 7: the reward is nan", expected="a finite number", fix="mend it"
        )

    monkeypatch.setattr(DmcEnv, "step", broken)
    refused(command_line(tmp_path / "run"), capsys, "the reward is nan", status=SimulationError.exit_status)
