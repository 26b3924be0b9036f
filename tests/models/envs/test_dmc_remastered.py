"""DMC Remastered: each factor does what it says, alone, from one visual seed, in one model."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import ConfigError, MissingDependencyError, SourceError
from models.envs import EnvConfig, make_env
from models.envs.dmc_remastered import TASKS, DmcRemasteredConfig, DmcRemasteredEnv
from models.envs.dmcr_factors import (
    ALPHA,
    DOMAINS,
    HEADLIGHT,
    REFLECTANCE,
    Factor,
    draw_factors,
    dynamics_seed_of,
    visual_seed_of,
)
from models.envs.dmcr_textures import NUM_FLOORS, NUM_SKIES, PictureTextures, open_textures
from tests.models.envs.episodes import check_seeding

CHEETAH = "dmcr/cheetah_run"
FACTORS: tuple[Factor, ...] = get_args(Factor)


def _env(vary: tuple[Factor, ...] | None = None, task: str = CHEETAH, **fields) -> DmcRemasteredEnv:
    env = make_env(task, DmcRemasteredConfig(vary=vary, **({"render_profile": "fast"} | fields)))
    assert isinstance(env, DmcRemasteredEnv)
    return env


@pytest.mark.parametrize("name", TASKS)
def test_equal_seeds_give_equal_episodes(name: str) -> None:
    with closing(_env(task=f"dmcr/{name}")) as env:
        check_seeding(env)


def test_each_factor_changes_the_image_by_itself() -> None:
    """Two episodes with one start state differ by the factor alone; `target` is on no body of the three tasks."""
    differences = {}
    for factor in FACTORS:
        with closing(_env((factor,), render_profile="faithful")) as env:
            plain, factors = [], []
            for seed in (1, 2):
                factors.append(draw_factors(seed, "cheetah", NUM_FLOORS, NUM_SKIES))
                env.reset(0)
                env._factors = factors[-1]
                env._apply(factors[-1])
                env.physics.forward()
                plain.append(env._image().astype(int))
            differences[factor] = float(np.abs(plain[0] - plain[1]).mean())
    assert differences.pop("target") == 0
    assert min(differences.values()) > 0.2, differences


def test_when_nothing_varies_an_episode_looks_as_in_dm_control() -> None:
    with (
        closing(_env((), task="dmcr/walker_run")) as env,
        closing(make_env("dmc/walker_run", EnvConfig(render_profile="fast"))) as plain,
    ):
        np.testing.assert_array_equal(env.reset(5)["image"], plain.reset(dynamics_seed_of(5))["image"])
        assert env.episode_metadata() == {"visual_seed": visual_seed_of(5)}


def test_leaving_a_factor_out_leaves_the_others_as_they_were() -> None:
    rest = tuple(factor for factor in FACTORS if factor != "body")
    with closing(_env()) as everything, closing(_env(rest)) as without:
        everything.begin(9)
        without.begin(9)
        full, part = everything.episode_metadata(), without.episode_metadata()
    assert full.pop("body")
    assert part == full
    assert json.loads(json.dumps(full)) == full


def test_start_states_do_not_depend_on_what_varies() -> None:
    with closing(_env(("floor",))) as first, closing(_env(())) as second:
        first.begin(3)
        second.begin(3)
        np.testing.assert_array_equal(first.physics.data.qpos, second.physics.data.qpos)


@pytest.mark.parametrize("domain", DOMAINS)
def test_draws_fill_the_originals_ranges_and_stay_inside(domain: str) -> None:
    drawn = [draw_factors(seed, domain, NUM_FLOORS, NUM_SKIES) for seed in range(400)]
    ranges = DOMAINS[domain]

    def check(values, low: float, high: float) -> None:
        values = np.asarray(values)
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high

    check([factors.floor for factors in drawn], 0, NUM_FLOORS - 1)
    check([factors.background for factors in drawn], 0, NUM_SKIES - 1)
    check([factors.reflectance for factors in drawn], *REFLECTANCE)
    check([factors.shadow_map for factors in drawn], 1548, 2548)
    for colour in ("body", "effector", "target"):
        rgba = np.array([getattr(factors, colour) for factors in drawn])
        check(rgba[:, :3], 0, 1)
        check(rgba[:, 3], *ALPHA)
    for axis in range(3):
        check([factors.camera[axis] for factors in drawn], *ranges.camera[axis])
        if ranges.lamp is not None:
            check([factors.lamp[axis] for factors in drawn], *ranges.lamp[axis])
        if ranges.camera_euler is not None:
            check([factors.camera_euler[axis] for factors in drawn], *ranges.camera_euler[axis])
    for part, ((low, high), spread) in HEADLIGHT.items():
        channels = np.array([factors.headlight[part] for factors in drawn])
        assert low - spread <= channels.min()
        assert channels.max() <= high + spread
        assert np.ptp(channels, axis=1).max() <= 2 * spread


def test_body_and_effector_are_drawn_apart() -> None:
    factors = draw_factors(1, "cheetah", NUM_FLOORS, NUM_SKIES)
    assert not np.allclose(factors.body, factors.effector)


def test_the_standard_camera_is_met_exactly() -> None:
    """Moving a tracking camera to where the suite has it changes nothing: the offset is worked out right."""
    for task, euler in (("dmcr/cheetah_run", None), ("dmcr/hopper_stand", (90.0, 0.0, 0.0))):
        with closing(_env((), task=task)) as env:
            model = env._model
            offset, rotation = model.cam_poscom0[0].copy(), model.cam_mat0[0].copy()
            env._standard.move_camera(model.cam_pos[0].copy())
            np.testing.assert_allclose(model.cam_poscom0[0], offset, atol=1e-12)
            if euler is not None:
                env._standard.turn_camera(np.array(euler))
                np.testing.assert_allclose(model.cam_mat0[0], rotation, atol=1e-9)


def test_episodes_share_one_model_and_one_context() -> None:
    with closing(_env()) as env:
        env.reset(0)
        model, renderer = env.physics.model.ptr, env._renderer
        for seed in range(1, 4):
            env.reset(seed)
        assert env.physics.model.ptr is model
        assert env._renderer is renderer


def test_hopper_keeps_its_camera_as_in_the_paper() -> None:
    with closing(_env(task="dmcr/hopper_stand")) as env:
        env.begin(0)
        assert "camera" not in env.episode_metadata()
        assert env.fingerprint()["vary"] == "paper"
    with closing(_env(FACTORS, task="dmcr/hopper_stand")) as env:
        assert env.fingerprint()["vary"] == sorted(FACTORS)


def test_another_camera_cannot_vary() -> None:
    with pytest.raises(ConfigError, match="while the factor 'camera' varies"):
        _env(camera="back")


def test_an_unknown_factor_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--set", "method=dreamerv2", "--set", "env.vary=[floor, sky]", "--run", str(tmp_path / "run")]
    assert run(["finetune", "--preset", "tiny", "--task", CHEETAH, *words]) == 2
    message = capsys.readouterr().err
    assert "'sky'" in message
    assert "one of floor, background, body" in message
    assert not (tmp_path / "run").exists()


def test_procedural_pictures_tile_differ_and_repeat() -> None:
    bank = open_textures(None)
    assert (bank.num_floors, bank.num_skies) == (383, 119)
    floors = np.stack([bank.floor(number) for number in range(8)])
    assert floors.shape == (8, 300, 300, 3)
    assert bank.sky(118).shape == (128, 128, 3)
    assert len({floor.tobytes() for floor in floors}) == 8
    open_textures(None).floor.__globals__["_procedural_floor"].cache_clear()
    np.testing.assert_array_equal(bank.floor(3), floors[3])


def _picture_folder(folder: Path) -> Path:
    """One floor, pure green with transparency, and one sky, pure magenta."""
    from PIL import Image

    for kind, colour, mode in (("floors", (0, 255, 0, 255), "RGBA"), ("skies", (255, 0, 255), "RGB")):
        (folder / kind).mkdir(parents=True)
        Image.new(mode, (40, 30), colour).save(folder / kind / "one.png")
    return folder


def test_a_folder_of_pictures_is_shown(tmp_path: Path) -> None:
    assets = _picture_folder(tmp_path / "assets")
    with closing(_env(("floor", "background"), assets=str(assets))) as env:
        image = env.reset(0)["image"].astype(int)
        name = env.fingerprint()["textures"]
    top, bottom = image[:6].reshape(-1, 3).mean(axis=0), image[-6:, 20:].reshape(-1, 3).mean(axis=0)
    assert top[0] > 200
    assert top[1] < 40
    assert bottom[1] > bottom[0] + 40
    assert name.startswith("folder-")
    assert open_textures(str(assets)).name == name
    (assets / "skies" / "two.png").write_bytes((assets / "skies" / "one.png").read_bytes())
    assert open_textures(str(assets)).name != name


def test_labmazes_pictures_are_asked_for_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "labmaze", None)  # Python 3.13 has no builds of it
    with pytest.raises(MissingDependencyError, match="that package is not installed") as caught:
        open_textures("labmaze")
    assert "procedural" in caught.value.fix


def test_labmazes_pictures_can_be_taken() -> None:
    pytest.importorskip("labmaze", reason="labmaze has no builds for Python 3.13")
    bank = open_textures("labmaze")
    assert isinstance(bank, PictureTextures)
    assert bank.name.startswith("labmaze-1")
    assert bank.num_floors > 50
    assert bank.num_skies == 12
    assert bank.floor(0).shape == (300, 300, 3)


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    assets = _picture_folder(tmp_path / "assets")
    (assets / "floors" / "one.png").write_text("this is text")
    with closing(_env(("floor",), assets=str(assets))) as env, pytest.raises(SourceError, match=r"one\.png cannot"):
        env.reset(0)


def test_a_folder_without_pictures_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "floors").mkdir()
    status = run(
        ["finetune", "--preset", "tiny", "--task", CHEETAH, "--set", "method=dreamerv2", "--set", "envs.workers=0",
         "--set", f"env.assets={tmp_path}", "--run", str(tmp_path / "run")]
    )  # fmt: skip
    assert status == 2
    message = capsys.readouterr().err
    assert f"no pictures in {tmp_path}/floors" in message
    assert "procedural" in message
