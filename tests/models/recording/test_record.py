"""Recorded episodes are what the environment did, whoever plays and however often the recording was interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import SimulationError
from ipv_bench.run_record import read_record, write_record
from ipv_bench.segments import open_segments
from models.envs.registry import make_env
from models.recording.config import resolve_recording
from models.recording.policies import SmoothPolicy
from tests.models.finetuning.finetune_runs import SMALL, command_line

pytest.importorskip("dm_control")

TASK = "dmc/cartpole_balance"
SETTINGS = ["env.render_profile=fast", "env.image_size=32", "env.time_limit=24", "env.action_repeat=4"]


def command(out: Path, *options: str, task: str = TASK, settings: list[str] = SETTINGS) -> list[str]:
    sets = [part for value in settings for part in ("--set", value)]
    return ["record", task, "--out", str(out), "--seed", "5", *sets, *options]


def record(out: Path, *options: str, **more) -> int:
    return run([*command(out, *options, **more), "--quiet"])


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the record, whose config says how many workers there were."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "record.json"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("raw") / "cartpole"
    assert record(out, "--episodes", "4") == 0
    return out


def test_the_environment_given_the_recorded_actions_shows_the_recorded_frames(recorded):
    paths = sorted(recorded.glob("*.npz"))
    assert [path.name for path in paths] == [f"{number:06d}-6.npz" for number in range(4)]
    env = make_env(TASK, resolve_recording(TASK, "uniform", SETTINGS).env)
    for path in paths[:2]:
        episode = np.load(path, allow_pickle=False)
        facts = json.loads(path.with_suffix(".json").read_text())
        assert episode["image"].shape == (7, 32, 32, 3)
        assert (episode["action"].dtype, episode["action"].shape) == (np.float32, (7, 1))
        assert not episode["action"][0].any()
        assert np.array_equal(env.reset(facts["seed"])["image"], episode["image"][0])
        for t in range(1, 7):
            observation, reward, _, _, _ = env.step(episode["action"][t])
            assert np.array_equal(observation["image"], episode["image"][t])
            assert np.float32(reward) == episode["reward"][t]
        assert episode["is_first"].tolist() == [True] + [False] * 6
        assert episode["is_last"].tolist() == [False] * 6 + [True]
        assert facts["env_steps"] == 24
        assert facts["return"] == pytest.approx(float(episode["reward"].sum()))
    env.close()
    assert len({np.load(path)["action"].tobytes() for path in paths}) == 4


def test_they_become_a_labelled_set(recorded, tmp_path):
    out = tmp_path / "set"
    prepare = ["prepare", "episodes", "--source", str(recorded), "--out", str(out), "--workers", "1", "--quiet"]
    assert run([*prepare, "--set", "size=native", "--set", "encoding=raw"]) == 0
    frames, tracks = open_segments(out, 7, 0, tracks=("action", "reward", "is_first", "is_terminal"))[0]
    origin = open_segments(out, 7, 0).describe(0)
    episode = np.load(recorded / f"{origin.source_id}.npz")
    assert np.array_equal(frames, episode["image"])
    assert np.array_equal(tracks["action"], episode["action"])


def test_workers_and_a_killed_recording_give_the_same_bytes_and_more_episodes_are_added(recorded, tmp_path):
    out = tmp_path / "out"
    started = subprocess.Popen([sys.executable, "-m", "ipv_bench", *command(out, "--episodes", "3"), "--quiet"])
    while started.poll() is None and not list(out.glob("*.npz")):
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert record(out, "--episodes", "4", "--set", "workers=2") == 0
    assert contents(out) == contents(recorded)


def test_a_damaged_or_missing_episode_is_played_again(recorded, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    for name, data in contents(recorded).items():
        (out / name).write_bytes(data)
    (out / "record.json").write_bytes((recorded / "record.json").read_bytes())
    (out / "000001-6.npz").write_bytes((out / "000001-6.npz").read_bytes()[:3000])
    (out / "000002-6.npz").unlink()
    (out / "000003-6.json").unlink()
    assert run(command(out, "--episodes", "2")) == 0
    told = capsys.readouterr()
    assert "uniform: 2 episodes" in told.out
    assert "1 further episodes are damaged and stay so (number 3): record with --episodes 4" in told.err
    assert record(out, "--episodes", "4") == 0
    assert contents(out) == contents(recorded)
    (out / "000000-6.npz").write_bytes(b"cut off")
    assert run(command(out, "--episodes", "1")) == 0
    assert "uniform: 4 episodes" in capsys.readouterr().out


def test_damaged_episodes_of_another_recording_are_not_touched(recorded, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    for path in recorded.iterdir():
        if path.suffix == ".npz" or path.name == "record.json":  # somebody copied no .json beside the episodes
            (out / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert run(["record", TASK, "--out", str(out), "--seed", "6", "--episodes", "1"]) == 2
    assert "holds another recording" in capsys.readouterr().err
    assert {name: (out / name).read_bytes() for name in before} == before


def test_another_recording_and_other_files_are_refused(recorded, tmp_path, capsys):
    assert run(["record", TASK, "--out", str(recorded), "--seed", "6"]) == 2
    assert "seed: 5 → 6" in capsys.readouterr().err
    assert record(recorded, "--policy", "smooth") == 2
    assert "policy.kind: 'uniform' → 'smooth'" in capsys.readouterr().err
    (tmp_path / "000000-6.npz").write_bytes(b"of somebody else")
    assert record(tmp_path) == 2
    message = capsys.readouterr().err
    assert all(words in message for words in ("holds episode files", "a new folder", "another folder with --out"))
    assert (tmp_path / "000000-6.npz").read_bytes() == b"of somebody else"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("run.json", "{}", "is a run's folder: it holds run.json"),
        ("manifest.json", "{}", "is a shard set: it holds manifest.json"),
        ("notes.txt", "mine", "of no recording: notes.txt"),
        ("videos/clip.mp4", "mine", "of no recording: videos"),
        ("000000-6.json", "{}", "holds episode files and no record.json"),
        ("record.json", '{"format": 1, "artist": "somebody"}', "record.json has no task"),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_folders_of_other_things_are_left_alone(recorded, tmp_path, capsys, name, data, words, begun):
    out = tmp_path / "out"
    if begun and "/" not in name and "000000" not in name:  # a recording among whose files others were put
        shutil.copytree(recorded, out)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text(data)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert record(out, "--episodes", "5") == 2
    message = capsys.readouterr().err
    assert words in message
    assert "choose another folder with --out" in message
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_hidden_files_are_nobodys_business(recorded, tmp_path):
    out = Path(shutil.copytree(recorded, tmp_path / "out"))
    for name in (".DS_Store", ".000004-6.npz.0123456789abcdef.tmp"):
        (out / name).write_bytes(b"")
    assert record(out, "--episodes", "5") == 0
    assert len(list(out.glob("0*.npz"))) == 5


def test_packages_that_changed_meanwhile_are_told_and_those_of_before_stay(tmp_path, monkeypatch, capsys):
    import models.record

    out, versions = tmp_path / "out", [{"numpy": "2.0"}, {"numpy": "2.0"}, {"numpy": "2.1"}, {"numpy": "2.1"}]
    monkeypatch.setattr(models.record, "package_versions", lambda _: versions.pop(0))
    for episodes in "1", "2", "3", "4":
        assert run(command(out, "--episodes", episodes)) == 0
    assert capsys.readouterr().err.count("recorded with other packages: numpy: '2.0' → '2.1'") == 1
    written = json.loads((out / "record.json").read_text())
    assert written["packages"] == {"numpy": "2.0"}
    assert written["later_packages"] == [{"numpy": "2.1"}]


def test_a_recording_without_an_episode_binds_nobody(tmp_path, monkeypatch):
    """The first one ended by an error in its first episode."""
    import models.record

    out = tmp_path / "out"

    def broken(*_):
        raise SimulationError("the reward is nan")

    with monkeypatch.context() as patch:
        patch.setattr(models.record, "play_episode", broken)
        assert record(out, "--policy", "smooth", "--episodes", "1") == SimulationError.exit_status
    assert record(out, "--episodes", "1") == 0
    assert json.loads((out / "record.json").read_text())["policy"] == {"kind": "uniform"}


def test_policies_that_do_not_exist_are_named_and_leave_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    for options, words in (
        (["--policy", "expert"], "dmc has no expert"),
        (
            ["--policy", "unifrom"],
            "neither a name nor a folder\n  expected: uniform, smooth, expert, or the folder of a "
            "fine-tuning run\n  to do:    did you mean 'uniform'?",
        ),
        (["--policy", "runs/none"], "correct the path (it was looked for from"),
        (["--policy", str(tmp_path)], "run.json"),
        (["--set", "smoothness=0.5"], "smoothness is set, and only the policy smooth reads it"),
        (["--policy", "smooth", "--set", "explore=true"], "explore is set, and only the policy of a run reads it"),
        (["--set", "smoothnes=0.5"], "did you mean 'smoothness'"),
        (["--set", "env.vary=[camera]"], "belongs to the suites dmcr and metaworld-remastered"),
    ):
        assert record(out, *options) == 2
        assert words in capsys.readouterr().err
        assert not out.exists()


def test_smooth_actions_are_uniform_at_each_step_and_correlated_in_time():
    policy = SmoothPolicy(200, 0.9, np.random.default_rng(0))
    image, first = np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, bool)
    actions = np.concatenate([policy.act(image, first, t) for t in range(400)])  # (T, A)
    assert actions.dtype == np.float32
    assert np.abs(np.quantile(actions, [0.1, 0.5, 0.9]) - [-0.8, 0, 0.8]).max() < 0.03
    following = np.corrcoef(actions[:-1].ravel(), actions[1:].ravel())[0, 1]
    assert 0.85 < following < 0.92  # 6/π·asin(ρ/2) = 0.89: a rank correlation


def test_a_run_plays_with_its_own_settings(tmp_path, capsys):
    trained = tmp_path / "run"
    assert run([*command_line(trained, "--set", "training.env_steps=320", method="apv"), "--quiet"]) == 0
    out = tmp_path / "out"
    assert record(out, "--policy", str(trained), "--episodes", "2", "--set", "workers=2", settings=[]) == 0
    again = {name: data for name, data in contents(out).items() if name.startswith("000001")}
    for name in again:
        (out / name).unlink()
    assert record(out, "--policy", str(trained), "--episodes", "2", settings=[]) == 0
    assert again.items() <= contents(out).items()
    episode = np.load(out / f"000000-{SMALL['env.time_limit'] // SMALL['env.action_repeat']}.npz")
    assert episode["image"].shape[1:] == (64, 64, 3)
    assert np.abs(episode["action"][1:]).max() > 0
    before = read_record(trained)
    other = before.env_fingerprint | {"mujoco": "2.0.0"}
    write_record(trained, before.model_copy(update={"env_fingerprint": other}))
    assert run(command(out, "--policy", str(trained), "--episodes", "2", settings=[])) == 0
    assert "trained in another environment (mujoco: '2.0.0' →" in capsys.readouterr().err
    assert record(tmp_path / "other", "--policy", str(trained), task="dmc/cheetah_run", settings=[]) == 2
    message = capsys.readouterr().err
    assert "have 1 components, those of dmc/cheetah_run 6" in message
    assert "name a run that was fine-tuned on dmc/cheetah_run" in message
    elsewhere = ["--policy", str(trained), "--episodes", "1", "--set", "env.time_limit=20"]
    assert run(command(tmp_path / "swing", *elsewhere, task="dmc/cartpole_swingup", settings=[])) == 0
    message = capsys.readouterr().err
    assert "was trained on dmc/cartpole_balance; here env.render_profile, env.image_size" in message
    assert "env.action_repeat are its own, all else is dmc/cartpole_swingup's or as set" in message
    assert "env.time_limit" not in message
    larger = tmp_path / "larger"
    assert record(larger, "--policy", str(trained), "--set", "env.image_size=96", settings=[]) == 2
    assert "sees pictures of 64x64, and env.image_size is 96" in capsys.readouterr().err
    assert not (larger / "record.json").exists()


def test_factors_of_dmc_remastered_are_recorded(tmp_path):
    settings = ["env.image_size=32", "env.time_limit=4", "env.vary=[camera,light]", "env.render_profile=fast"]
    assert record(tmp_path / "out", "--episodes", "1", task="dmcr/cheetah_run", settings=settings) == 0
    facts = json.loads((tmp_path / "out" / "000000-4.json").read_text())
    assert {"camera", "light"} <= set(json.dumps(facts["metadata"]).replace('"', " ").replace(":", " ").split())
    assert json.loads((tmp_path / "out" / "record.json").read_text())["env_fingerprint"]["vary"] == ["camera", "light"]


def test_meta_world_experts_reach_their_goals(tmp_path):
    pytest.importorskip("metaworld")
    settings = ["env.image_size=16", "env.time_limit=120", "env.render_profile=fast"]
    assert (
        record(tmp_path / "out", "--policy", "expert", "--episodes", "1", task="metaworld/reach", settings=settings)
        == 0
    )
    episode = np.load(tmp_path / "out" / "000000-120.npz")
    assert episode["success"][-1] == 1
    assert episode["success"][0] == 0
    assert np.abs(episode["action"]).max() <= 1
    assert not episode["action"][0].any()
    assert episode["action"].shape == (121, 4)
