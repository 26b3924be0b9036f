"""Somebody else's Gymnasium environments as tasks: pictures, actions, success, seeds, and all that they may lack."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.config import flatten_fields
from ipv_bench.errors import ConfigError, MissingDependencyError, UsageError
from ipv_bench.plugins import plugin_names
from ipv_bench.run_record import read_jsonl, read_record
from models.envs import make_env
from models.finetuning.config import finetune_config_class, saved_config
from models.methods.base import find_method
from tests.models.envs.toy_gym import MODULE, install
from tests.models.finetuning.finetune_runs import SMALL
from tests.models.read_settings import read_finetuning

pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from models.envs.gym import GymConfig, GymEnv
from models.envs.gym_pictures import as_picture, fitted


@pytest.fixture(autouse=True)
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import gymnasium

    folder = tmp_path / "site"
    folder.mkdir()
    install(folder, monkeypatch)
    known = set(gymnasium.registry)
    yield
    for name in set(gymnasium.registry) - known:
        del gymnasium.registry[name]
    sys.modules.pop(MODULE, None)


def _slide(name: str = "toys/Slide-v0", **fields: Any) -> GymEnv:
    env = make_env(f"gym/{name}", GymConfig(module=MODULE, **fields))
    assert isinstance(env, GymEnv)
    return env


def _column(image: np.ndarray) -> float:
    """Middle of the bright columns, as a share of the width."""
    return float(np.flatnonzero(image.mean((0, 2)) > 50).mean() + 0.5) / image.shape[1]


def test_actions_are_scaled_and_shaped_and_pictures_follow_them() -> None:
    with closing(_slide(image_size=36)) as env:
        assert (env.action_dim, env.time_limit) == (2, 8)
        first = env.reset(5)["image"]
        place = env._simulator.unwrapped.place
        assert _column(first) == pytest.approx((place + 0.5) / 12, abs=0.02)
        observation, reward, *_ = env.step(np.array([0.5, -1.0]))
        np.testing.assert_allclose(env._simulator.unwrapped.moves[-1], [[1.0, -2.0]])  # bounds are ±2, shape (1, 2)
        assert env._simulator.unwrapped.moves[-1].dtype == np.float32
        assert reward == place + 1
        assert _column(observation["image"]) == pytest.approx((place + 1.5) / 12, abs=0.02)


def test_equal_seeds_give_equal_episodes_and_the_limit_truncates() -> None:
    with closing(_slide()) as env:
        images = [env.reset(seed)["image"] for seed in (1, 2, 3, 4, 1)]
        assert env.renderer()  # by itself, or by OpenGL where another test of this process has a context
        np.testing.assert_array_equal(images[0], images[4])
        assert len({image.tobytes() for image in images}) > 1
        ends = [env.step(np.zeros(2))[2:4] for _ in range(8)]
        assert ends == [(False, False)] * 7 + [(False, True)]
    with closing(_slide(time_limit=3, action_repeat=2)) as env:
        env.reset(0)
        steps = [env.step(np.zeros(2)) for _ in range(2)]
        assert [(step[3], step[4]["env_steps"]) for step in steps] == [(False, 2), (True, 1)]
    with closing(_slide("Endless-v0")) as env, closing(_slide("Endless-v0", time_limit=5000)) as longer:
        assert (env.time_limit, longer.time_limit) == (1000, 5000)
    with pytest.raises(ConfigError, match="time_limit is 9, but gym/toys/Slide-v0 ends after 8"):
        _slide(time_limit=9)


@pytest.mark.parametrize("says", ["always", "at_goal"])
def test_success_is_what_info_says(says: str) -> None:
    kwargs = {"says": says}
    with closing(_slide(kwargs=kwargs, success_key="there", success_optional=says == "at_goal")) as env:
        env.reset(0)
        reached = [env.step(np.array([1.0, 0.0]))[4]["success"] for _ in range(6)]
        assert reached[0] is False
        assert reached[-1] is True
        env.reset(0)
        assert [env.step(np.array([-1.0, 0.0]))[4]["success"] for _ in range(8)] == [False] * 8
    with closing(_slide()) as env:
        env.reset(0)
        assert env.step(np.zeros(2))[4]["success"] is None


def test_a_success_key_that_a_whole_episode_lacks_is_an_error() -> None:
    with closing(_slide(kwargs={"says": "never"}, success_key="ther")) as env:
        env.reset(0)
        for _ in range(7):
            env.step(np.zeros(2))
        with pytest.raises(ConfigError, match=r"a whole episode's info had no 'ther'.*\n.*it had: place"):
            env.step(np.zeros(2))


@pytest.mark.parametrize("picture", ["hwc", "chw", "grey", "dict"])
def test_an_image_observation_is_the_picture(picture: str) -> None:
    fields = {"image_key": "front"} if picture == "dict" else {}
    with closing(_slide(kwargs={"picture": picture}, **fields)) as env:
        assert env.fingerprint()["picture"] == "observation"
        image = env.reset(3)["image"]
        assert image.shape == (64, 64, 3)
        assert _column(image) == pytest.approx((env._simulator.unwrapped.place + 0.5) / 12, abs=0.02)
    with closing(_slide(kwargs={"picture": "hwc"}, picture="render")) as env:
        assert env.fingerprint()["picture"] == "render"


def test_frames_and_actions_stay_as_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an environment that draws into one buffer, shows it as picture and observation, and writes into actions."""
    import gymnasium

    class OneBuffer(gymnasium.Env):
        metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
        observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float64)

        def __init__(self, render_mode: str | None = None) -> None:
            self.render_mode, self.canvas, self.taken = render_mode, np.zeros((64, 64, 3), np.uint8), 0

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
            super().reset(seed=seed)
            self.canvas[:] = self.taken = 0
            return self.canvas, {}

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
            told = float(action.sum())
            action[:] = 0
            self.taken += 1
            self.canvas[:] = self.taken
            return self.canvas, told, False, False, {}

        def render(self) -> np.ndarray:
            return self.canvas

    gymnasium.register("lab/OneBuffer-v0", entry_point=OneBuffer, max_episode_steps=12)
    for picture in ("render", "observation"):
        fields = {"picture": picture, "check": False, "action_repeat": 3}
        with closing(make_env("gym/lab/OneBuffer-v0", GymConfig(**fields))) as env:
            seen = [env.reset(1)]
            action = np.full(2, 0.5)
            for _ in range(3):
                observation, reward, *_ = env.step(action)
                seen.append(observation)
                assert (reward, *action) == (3.0, 0.5, 0.5)  # each of the repeats was told the whole action
            looks = [env.look(), env.simulate(action), env.look()]
        assert [int(one["image"][0, 0, 0]) for one in seen] == [0, 3, 6, 9]
        assert (int(looks[0][0, 0, 0]), int(looks[2][0, 0, 0])) == (9, 12)


def test_pictures_are_stretched_or_cropped_by_areas() -> None:
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 20:30] = 240
    assert fitted(picture, 6, "stretch")[0, :, 0].tolist() == [0, 0, 240, 0, 0, 0]
    assert fitted(picture, 4, "crop")[0, :, 0].tolist() == [240, 240, 0, 0]  # columns 20 to 40
    assert fitted(picture, 3, "stretch")[0, :, 0].tolist() == [0, 120, 0]
    assert as_picture(np.zeros((64, 64, 3), np.float32)) is None
    assert as_picture(np.zeros((128,), np.uint8)) is None  # the memory of a game is no picture
    assert as_picture(np.zeros((12, 84, 84), np.uint8)) is None  # nor is a stack of four


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kwargs": {"breaks": "discrete"}}, r"action of gym/toys/Slide-v0 is Discrete\(3\)"),
        ({"kwargs": {"breaks": "unbounded"}}, "has no bounds.*\n.*\n.*env.action_bound"),
        ({"kwargs": {"breaks": "no_pictures"}}, "has no pictures: its observation is none"),
        ({"kwargs": {"breaks": "blind"}}, r"has no pictures: render\(\) gives a NoneType.*\n.*\n.*mend its `render`"),
        ({"kwargs": {"breaks": "outside"}}, "breaks Gymnasium's rules: AssertionError"),
        ({"kwargs": {"breaks": "unseeded"}}, "breaks Gymnasium's rules: AssertionError"),
        ({"name": "Unsteady-v0"}, "registered as nondeterministic"),
        ({"kwargs": {"colour": "red"}}, "does not take env.kwargs colour.*\n.*\n.*correct env.kwargs"),
        ({"kwargs": {"render_mode": "human"}}, "render_mode is 'human'.*\n.*ours to set\n.*leave it out"),
        (
            {"kwargs": {"max_episode_steps": 5}},
            "max_episode_steps is 5\n.*of gymnasium.make itself\n.*set env.time_limit",
        ),
        ({"kwargs": {"disable_env_checker": True}}, "disable_env_checker is True\n.*\n.*env.check says"),
        ({"kwargs": {"id": "toys/Other-v0"}}, "env.kwargs.id is 'toys/Other-v0'"),
        ({"picture": "observation"}, "the observation of gym/toys/Slide-v0 is no picture"),
        ({"image_key": "front"}, "has no 'front'.*\n.*has no entries\n.*leave env.image_key out"),
        ({"kwargs": {"picture": "dict"}, "image_key": "back"}, "has no 'back'.*\n.*entries.* front.*\n.*name an entry"),
        ({"kwargs": {"picture": "dict"}, "image_key": "place"}, "is no picture"),
        ({"camera": "front"}, "no cameras that are known"),
    ],
)
def test_what_an_environment_lacks_is_said(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _slide(**fields)


def test_an_environment_that_breaks_rules_runs_unchecked_and_is_marked() -> None:
    with closing(_slide(kwargs={"breaks": "unseeded"}, check=False)) as env:
        env.reset(0)
        assert "env.check is off" in env.config.inexact
    with closing(_slide(kwargs={"breaks": "unbounded"}, action_bound=0.5)) as env:
        env.reset(0)
        env.step(np.array([1.0, -1.0]))
        np.testing.assert_allclose(env._simulator.unwrapped.moves[-1], [[0.5, -0.5]])


def test_unknown_ids_and_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"knows no environment 'toys/Slid-v0' after.*\n.*\n.*mean gym/toys/Slide-v0"):
        _slide("toys/Slid-v0")
    with pytest.raises(UsageError, match="--set env.module="):
        make_env("gym/Nowhere-v7")
    with pytest.raises(ConfigError, match="`import no_such_module` raised ModuleNotFoundError"):
        make_env("gym/A-v0", GymConfig(module="no_such_module"))
    with pytest.raises(ConfigError, match="a module's name.*\n.*package.module"):
        make_env("gym/A-v0", GymConfig(module="os; x"))
    with pytest.raises(UsageError, match="a task of ipv-bench, wrapped"):
        make_env("gym/ipv_bench/dmc-cheetah_run-v0")
    for name in ("", "../x", "a/b/c-v0", "a b"):
        with pytest.raises(UsageError, match="unknown task"):
            make_env(f"gym/{name}")
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(MissingDependencyError):
        make_env("gym/CarRacing-v3")


def _small(folder: Path, method: str, *more: str) -> list[str]:
    values = {
        "method": method, "env.action_repeat": 1, "env.time_limit": "null", "env.module": MODULE,
        "env.success_key": "there", "training.env_steps": 48, "training.prefill": 16, "evaluation.every": 0,
        "envs.workers": 1, "training.pretrain_updates": 1,
    }  # fmt: skip
    own = [*_words(values), *more]
    small = {
        key: value for key, value in SMALL.items() if key not in values and not key.startswith(("intrinsic", "context"))
    }
    sets = _words(read_finetuning(small, own, "gym"))
    return ["finetune", "--task", "gym/toys/Slide-v0", "--run", str(folder), *sets, *own]


def _words(values: Mapping[str, Any]) -> list[str]:
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def test_windows_longer_than_its_episodes_are_refused_as_soon_as_it_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but the environment says its limit here: a dry run cannot know, and nothing is played to find out."""
    changes = ("method=drqv2", "drqv2.n_step=9", f"env.module={MODULE}", "env.action_repeat=1")
    sets = [word for change in changes for word in ("--set", change)]
    command = ["finetune", "--preset", "tiny", "--task", "gym/toys/Slide-v0", "--run", str(tmp_path / "run"), *sets]
    assert run([*command, "--dry-run"]) == 0
    assert run(command) == 2
    said = capsys.readouterr().err
    assert "drqv2.n_step is 9, and an episode of gym/toys/Slide-v0 has at most 8 agent steps (its time limit)" in said
    assert "expected: drqv2.n_step of at most 8" in said
    assert not (tmp_path / "run").exists()


def test_a_prefill_of_too_short_episodes_names_the_key_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    falls = ("--set", "env.kwargs.falls=12")  # every episode ends with its first step
    assert run(_small(tmp_path / "run", "dreamerv2", *falls)) == 2
    said = capsys.readouterr().err
    assert "stored no episode: all 16 ended before the 5 agent steps that replay.length 6 asks for" in said
    assert "expected: an episode of that length" in said
    assert "use a smaller replay.length" in said


def test_a_toy_is_fine_tuned_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the commands, in a process of its own; the record brings the module only while its package is installed."""
    folder = tmp_path / "runs" / "toy"
    assert run(_small(folder, "dreamerv2")) == 0
    record = read_record(folder)
    assert (record.status, record.suite, record.task) == ("finished", "gym", "toys/Slide-v0")
    assert record.env_fingerprint["environment"] == "toy-gym 1.5"
    episodes = list(read_jsonl(folder / "replay" / "index.jsonl"))
    assert {line["train_length"] for line in episodes} == {8}
    assert run(["evaluate", str(folder), "--episodes", "2"]) == 0
    assert saved_config(record).env.model_dump()["module"] == MODULE
    metadata = tmp_path / "site" / "toy_gym-1.5.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Requires-Dist: gymnasium", "Requires-Dist: gymnasium-robotics"))
    assert saved_config(record).env.model_dump()["module"] == ""
    played = ["evaluate", str(folder), "--episodes", "1"]
    recorded = ["record", "gym/toys/Slide-v0", "--policy", str(folder), "--episodes", "1", "--out"]
    capsys.readouterr()
    for command in (played, [*recorded, str(tmp_path / "recorded")]):
        assert run(command) == 2
        said = capsys.readouterr().err
        assert f"made with env.module='{MODULE}', which is not taken from its record" in said
        assert f"--set env.module={MODULE} (a module's folder must be on PYTHONPATH)" in said
        assert run([*command, "--set", f"env.module={MODULE}"]) == 0
        told = capsys.readouterr()
        assert "another environment" not in told.err
        assert command is not played or len(json.loads(told.out)["returns"]) == 1
    assert run([*played, "--set", f"env.module={MODULE}", "--set", "env.success_key=mine"]) == 2
    assert "of this run env.module: what its record does not decide" in capsys.readouterr().err


def test_episodes_that_end_before_a_window_is_full_are_told_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dot that falls within some steps: in the log, in `run.json`, after the prefill and on the last line."""
    folder = tmp_path / "run"
    falls = ("--set", "env.kwargs.falls=2", "--set", "behavior.discount_head=true", "--set", "envs.workers=0")
    assert run(_small(folder, "dreamerv2", *falls)) == 0
    said = capsys.readouterr()
    episodes = [line for line in read_jsonl(folder / "metrics.jsonl") if "episode" in line]
    short = [line["train_length"] + 1 < SMALL["replay.length"] for line in episodes]
    assert 0.1 < np.mean(short) < 1
    assert [line.get("dropped_short", 0) for line in episodes] == np.cumsum(short).tolist()
    assert all(line["train_ended"] == 1 for line in episodes if line["train_length"] < 8)  # its time limit
    assert "ends_not_learned" not in (read_record(folder).model_extra or {})
    stored = [line["episode"] for line in read_jsonl(folder / "replay" / "index.jsonl")]
    assert stored == [line["episode"] for line, dropped in zip(episodes, short, strict=True) if not dropped]
    told = (read_record(folder).model_extra or {})["dropped_short"]
    assert (told["episodes"], told["played"]) == (sum(short), len(short))
    assert told["warning"].startswith(f"{sum(short)} of {len(short)} training episodes were shorter than a window")
    assert told["warning"].endswith("set a smaller replay.length")
    assert (said.out + said.err).count("training episodes were shorter than a window") == 2


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in plugin_names("methods") if find_method(name).agent_config])
def test_every_method_with_an_agent_fine_tunes_a_toy(method: str, tmp_path: Path) -> None:
    known = flatten_fields(finetune_config_class(method, "gym"))
    ours = {key: value for key, value in SMALL.items() if key in known}
    if method == "isodream":  # which starts from nothing, so nothing can wait
        del ours["training.encoder_frozen_updates"]
    if "drqv2.n_step" in known:  # which makes the length by itself
        del ours["replay.length"]
    values = {"env.action_repeat": 1, "env.time_limit": "null", "env.module": MODULE, "training.env_steps": 48}
    values |= {"training.prefill": 16, "evaluation.every": 0, "method": method}
    own = _words(values)
    sets = [*_words(read_finetuning(ours, own, "gym")), *own]
    command = ["finetune", "--task", "gym/toys/Slide-v0", "--init", "none", "--run", str(tmp_path / "run"), *sets]
    assert run(command) == 0
    assert read_record(tmp_path / "run").status == "finished"


def test_car_racing() -> None:
    pytest.importorskip("Box2D", reason="the extra `driving` is not installed")
    with closing(make_env("gym/CarRacing-v3")) as env:
        assert (env.action_dim, env.time_limit) == (3, 1000)
        first = env.reset(2)["image"]
        for _ in range(60):  # the view zooms out during the first second
            image, *_ = env.step(np.array([0.0, 0.2, -1.0]))
        assert image["image"].std() > 20
        again = env.reset(2)["image"]
        np.testing.assert_array_equal(first, again)
        assert np.isfinite(env.simulate(np.array([0.0, 0.2, -1.0]))[0])
    with pytest.raises(ConfigError, match=r"Discrete\(5\)"):
        make_env("gym/CarRacing-v3", GymConfig(kwargs={"continuous": False}))
