"""Robosuite's tasks: upright, seeded, one model for all episodes; pairs for UWM. Run by `make test-robosuite`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ipv_bench.cli import run
from ipv_bench.errors import ConfigError, SimulationError
from ipv_bench.segments import open_segments
from models.envs import EnvConfig, make_env
from models.envs.robosuite import CONTROL_HZ, ROBOT, SPARSE, TASKS, TIME_LIMIT, TWO_ARMS, RobosuiteEnv
from tests.models.envs.episodes import check_seeding, first_frames

pytest.importorskip("robosuite", reason="robosuite has an environment of its own: make test-robosuite")


def _env(name: str = "lift", **fields) -> RobosuiteEnv:
    env = make_env(f"robosuite/{name}", EnvConfig(**({"render_profile": "fast"} | fields)))
    assert isinstance(env, RobosuiteEnv)
    return env


def _rows_of_the_hand(env: RobosuiteEnv) -> float:
    """Mean row of the pixels that show the gripper."""
    model = env._simulator.sim.model._model
    hand = [i for i in range(model.ngeom) if model.geom(i).name.startswith("gripper0") and model.geom_group[i] == 1]
    shown = env.look().astype(int)
    kept = model.geom_rgba[hand].copy()
    materials = model.geom_matid[hand].copy()
    model.geom_matid[hand], model.geom_rgba[hand] = -1, (0.0, 1.0, 0.0, 1.0)
    green = env.look().astype(int)
    model.geom_matid[hand], model.geom_rgba[hand] = materials, kept
    np.testing.assert_array_equal(env.look(), shown)
    rows, _ = np.nonzero(np.abs(green - shown).max(axis=2) > 20)
    assert rows.size > 5
    return float(rows.mean())


def test_all_tasks_of_the_package_are_there() -> None:
    from robosuite.environments.base import REGISTERED_ENVS

    assert set(TASKS.values()) == set(REGISTERED_ENVS) - {"MujocoEnv", "RobotEnv", "ManipulationEnv", "TwoArmEnv"}


@pytest.mark.parametrize("name", TASKS)
def test_equal_seeds_give_equal_episodes(name: str) -> None:
    with closing(_env(name)) as env:
        check_seeding(env)
        frames = first_frames(env, 7, 3)
        arms = 2 if name in TWO_ARMS else 1
        assert env.action_dim in (7 * arms, 6 * arms)  # wiping and the peg's task have no fingers
        assert frames[0].std() > 10
        assert (frames[0] != frames[2]).any()
    with closing(_env(name)) as other:  # built anew: the same model, sizes of objects among it
        np.testing.assert_array_equal(first_frames(other, 7, 3), frames)


@pytest.mark.parametrize("camera", ["agentview", "frontview"])
def test_pictures_are_upright_whatever_robosuite_is_told(camera: str) -> None:
    """The hand goes down, and in the picture as well."""
    import robosuite

    for convention in ("opengl", "opencv"):
        robosuite.macros.IMAGE_CONVENTION = convention
        with closing(_env(image_size=64, camera=camera)) as env:
            env.begin(0)
            before = _rows_of_the_hand(env)
            height = env._simulator.sim.data.get_body_xpos("gripper0_right_eef")[2]
            for _ in range(10):
                env.simulate(np.array([0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0]))
            assert env._simulator.sim.data.get_body_xpos("gripper0_right_eef")[2] < height - 0.05
            assert _rows_of_the_hand(env) > before + 2
    robosuite.macros.IMAGE_CONVENTION = "opengl"


@pytest.mark.parametrize("profile", ["default", "faithful", "fast"])
@pytest.mark.parametrize("size", [64, 224])
def test_images_of_both_sizes(size: int, profile: str) -> None:
    with closing(_env("door", image_size=size, render_profile=profile)) as env:
        image = env.reset(1)["image"]
        fingerprint = env.fingerprint()
    assert (image.shape, image.dtype) == ((size, size, 3), np.uint8)
    assert image.std() > 10
    wanted = {"robosuite": "1.5.2", "mujoco": "3.3.0", "robot": ROBOT, "camera": "agentview", "image_size": size,
              "control_hz": CONTROL_HZ, "render_profile": profile}  # fmt: skip
    assert wanted.items() <= fingerprint.items()


def test_shapes_for_collisions_are_not_drawn() -> None:
    with closing(_env()) as env:
        before = env.reset(0)["image"]
        model = env._simulator.sim.model._model
        model.geom_rgba[model.geom_group == 0] = (1.0, 0.0, 0.0, 1.0)
        np.testing.assert_array_equal(env.look(), before)


def test_episodes_share_one_model_and_draw_new_positions() -> None:
    with closing(_env()) as env:
        model, places = env._simulator.sim.model, set()
        for seed in (0, 1, 2):
            env.begin(seed)
            assert env._simulator.sim.model is model
            places.add(tuple(env._simulator.sim.data.get_joint_qpos("cube_joint0")[:2]))
    assert len(places) == 3


def test_a_lifted_cube_is_a_success_and_rewards_stay_below_one() -> None:
    with closing(_env()) as env:
        env.begin(0)
        reward, _, _, info = env.simulate(np.zeros(7))
        assert 0 <= reward < 0.3
        assert info["success"] is False
        sim = env._simulator.sim
        place = sim.data.get_joint_qpos("cube_joint0").copy()
        place[2] += 0.2
        sim.data.set_joint_qpos("cube_joint0", place)
        sim.forward()
        reward, terminated, truncated, info = env.simulate(np.zeros(7))
        assert info["success"] is True
        assert 0.9 < reward <= 1
        assert (terminated, truncated) == (False, False)


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_tasks_reward_success_alone_from_the_first_step(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(_env(name)) as env:
        env.begin(0)
        first, *_, info = env.simulate(np.zeros(env.action_dim))
        assert (first, info["success"]) == (0, False)
        assert "Warning" not in capsys.readouterr().out
        env.begin(0)
        monkeypatch.setattr(env._simulator, "_check_success", lambda: True)
        assert env.simulate(np.zeros(env.action_dim))[0] == 1


def test_all_other_tasks_have_a_shaped_reward() -> None:
    """What our page says, read from robosuite's own sources."""
    import inspect

    from robosuite.environments.base import REGISTERED_ENVS

    for name, kind in TASKS.items():
        source = inspect.getsource(REGISTERED_ENVS[kind].reward)
        assert ("self.reward_shaping" in source and "No dense reward" not in source) == (name not in SPARSE), name


def test_the_time_limit_truncates() -> None:
    with closing(_env(time_limit=12, action_repeat=4)) as env:
        env.begin(0)
        ends = [env.simulate(np.zeros(7))[1:3] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    with pytest.raises(ConfigError, match=f"ends after {TIME_LIMIT} control steps"):
        _env(time_limit=TIME_LIMIT + 1)


def test_actions_beyond_the_bounds_are_clipped() -> None:
    def played(size: float) -> NDArray[np.float64]:
        env.begin(0)
        for _ in range(3):
            env.simulate(np.full(7, size))
        return env._simulator.sim.data.qpos.copy()

    with closing(_env()) as env:
        np.testing.assert_array_equal(played(5.0), played(1.0))


def test_a_simulation_that_blows_up_costs_the_episode() -> None:
    with closing(_env()) as env:
        env.begin(0)
        env._simulator.sim.data.qvel[:] = 1e12
        with pytest.raises(SimulationError):
            env.simulate(np.zeros(7))
        env.begin(0)
        assert env.simulate(np.zeros(7))[0] >= 0


def test_a_wrong_camera_names_the_nearest() -> None:
    with closing(_env(camera="agentveiw")) as env, pytest.raises(ConfigError, match="agentveiw") as caught:
        env.reset(0)
    assert "'agentview'" in caught.value.fix


def test_pairs_a_fifth_of_a_second_apart(tmp_path: Path) -> None:
    """UWM's in-domain data: four control steps of one action between the frames of a pair."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    raw, shards = str(tmp_path / "raw"), str(tmp_path / "shards")
    settings = {
        "env.action_repeat": 4, "env.image_size": 64, "env.time_limit": 40, "env.render_profile": "fast",
        "env.camera": "frontview",  # agentview has the hand at its upper edge, and at times nothing moves in it
    }  # fmt: skip
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    assert run(["record", "robosuite/lift", "--policy", "smooth", "--episodes", "2", "--out", raw, *words]) == 0
    assert run(["prepare", "episodes", "--source", raw, "--out", shards]) == 0
    pairs = open_segments(shards, length=2, seed=0, tracks=("action",))
    for number in range(8):
        frames, tracks = pairs[number]
        assert frames.shape == (2, 64, 64, 3)
        assert (frames[0] != frames[1]).any()
        assert tracks["action"].shape == (2, 7)
        assert np.abs(tracks["action"][1]).max() > 0
