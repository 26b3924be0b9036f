"""What an environment's frames, episode starts and processes cost.

    python benchmarks/env_throughput.py [--quick] [--only PART ...]

- `metaworld_faithful`, `metaworld_fast`: CPU time of a step with its 64×64 frame, as a share of the same step with
  gymnasium's own viewer (which both Meta-world and the published code use);
- `metaworld_remastered`: CPU time of a step with its frame with all visual factors, as a share of the same step of
  plain Meta-world; the mean over episodes, since the camera sees more of the arm in some than in others;
- `dmcr_reset`: CPU time of a DMC Remastered episode start with new looks, as a share of one that builds the model and
  the GL context anew, as the original does (`dmcr_reset_with_first_frame`: both with their first frame);
- `eval_workers`: steps per second of two evaluation environments in two processes, as a multiple of both in one (wall
  time: median over the rounds, smallest and largest in `eval_workers_range`);
- `training_envs`: steps per second of four training environments in this process (0) and in 1, 2 and 4 others (wall
  time, medians), and as multiples of 0;
- `meanwhile`: agent steps per second of training with updates of `tiny`'s DreamerV2 made while the environment takes
  its step, as a multiple of the same updates after it (wall time, one thread and one environment process).

Without `--quick` also the cost of frames per task and profile, and how much they differ from the simulator's own.
CPU times are medians of rounds in which the competitors take turns, so that a noisy machine is noisy for all. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer: a second thread costs more than it gives
os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
from numpy.typing import NDArray
from paired_timing import machine

from models.envs import EnvConfig, make_env
from models.envs.dmc_remastered import DmcRemasteredEnv
from models.envs.dmcr_textures import open_textures
from models.envs.workers import WorkerEnvs
from models.finetune import build_agent
from models.finetuning.config import EnvsConfig
from models.finetuning.env_groups import open_envs
from models.finetuning.rollout import play_round

TASK = "drawer_open"
FRAME_TASKS = (
    "metaworld/drawer_open", "dmc/cartpole_balance", "dmc/cheetah_run", "dmc/walker_walk", "dmcr/cheetah_run",
    "dmcr/hopper_stand", "dmcr/walker_run",
)  # fmt: skip


def main() -> None:
    """Measure, print a table, and end with one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under 50 s")
    parts: dict[str, Callable[[bool], dict[str, Any]]] = {
        "frames": lambda quick: metaworld_frames(rounds=3 if quick else 10, steps=6 if quick else 10),
        "remastered": lambda quick: remastered_frames(episodes=8 if quick else 40, steps=3),
        "resets": lambda quick: remastered_resets(rounds=4 if quick else 20),
        "evaluation": lambda quick: evaluation_workers(rounds=2 if quick else 10, steps=40 if quick else 60),
        "training": lambda quick: training_workers(rounds=1 if quick else 10, steps=15 if quick else 30),
        "learner": lambda quick: updates_meanwhile(rounds=2 if quick else 10, steps=18 if quick else 60),
        "costs": lambda quick: {} if quick else frame_costs(frames=12),
    }
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts), help="parts of it")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "env_throughput", "quick": arguments.quick, "machine": machine()}
    for name in arguments.only:
        found = parts[name](arguments.quick)
        result |= found
        for key, value in found.items():
            print(f"{key:40} {value}", flush=True)
    print(json.dumps(result))


def metaworld_frames(rounds: int, steps: int) -> dict[str, Any]:
    """CPU time of a step with its frame: our profiles against gymnasium's viewer."""
    viewer = _metaworld_with_viewer()
    envs = {name: make_env(f"metaworld/{TASK}", EnvConfig(render_profile=name)) for name in ("faithful", "fast")}
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 4)).astype(np.float32)

    def watch_viewer() -> None:
        for action in actions:
            viewer.step(action)
            viewer.render()

    def watch(env: Any) -> None:
        for action in actions:
            env.step(action)

    competitors: dict[str, Callable[[], None]] = {"viewer": watch_viewer}
    competitors |= {name: lambda env=env: watch(env) for name, env in envs.items()}
    viewer.reset()
    viewer.render()
    for env in envs.values():
        env.reset(0)
    turns = _take_turns(competitors, rounds)
    viewer.close()
    for env in envs.values():
        env.close()
    shares: dict[str, Any] = {}
    for name in envs:
        shares |= _ratio(f"metaworld_{name}", turns[name], turns["viewer"])
    times = {f"metaworld_{name}_ms": round(statistics.median(turns[name]) / steps * 1e3, 2) for name in turns}
    return shares | times | {"metaworld_rounds": rounds}


def _ratio(key: str, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """`key`: median over the rounds of ours / theirs; with the smallest and the largest."""
    found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {key: round(statistics.median(found), 4), f"{key}_range": [round(min(found), 4), round(max(found), 4)]}


def remastered_frames(episodes: int, steps: int) -> dict[str, float]:
    """CPU time of a step with its frame: all visual factors of Meta-world remastered against none."""
    envs = {suite: make_env(f"{suite}/{TASK}") for suite in ("metaworld", "metaworld-remastered")}
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 4))
    spent: dict[str, list[float]] = {suite: [] for suite in envs}
    for seed in range(episodes):
        for suite, env in envs.items():
            env.reset(seed)
            times: list[float] = []
            for action in actions:
                with _timed(times):
                    env.step(action)
            spent[suite].append(statistics.median(times))
    for env in envs.values():
        env.close()
    plain, ours = (statistics.mean(spent[suite]) for suite in envs)
    return {"metaworld_remastered": round(ours / plain, 4), "metaworld_remastered_ms": round(ours * 1e3, 2)}


def _metaworld_with_viewer() -> Any:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    kind = ALL_V3_ENVIRONMENTS[TASK.replace("_", "-") + "-v3"]
    env: Any = kind(render_mode="rgb_array", camera_name="corner", width=64, height=64)
    env._freeze_rand_vec, env._set_task_called = False, True
    return env


def remastered_resets(rounds: int) -> dict[str, Any]:
    """CPU time of an episode's start with new looks: written into one model, or with everything built anew."""
    env = make_env("dmcr/cheetah_run")
    assert isinstance(env, DmcRemasteredEnv)
    env.reset(0)
    pictures = [_picture_files(number) for number in range(4)]  # encoded before the clock runs
    spent: dict[str, list[float]] = {"ours": [], "our_frame": [], "rebuilt": [], "rebuilt_frame": []}
    for seed in range(1, rounds + 1):
        with _timed(spent["ours"]):
            env.begin(seed)
            env.show_textures()
        with _timed(spent["our_frame"]):
            env.look()
        with _timed(spent["rebuilt"]):
            simulator = _rebuilt_start(seed, pictures)
        with _timed(spent["rebuilt_frame"]):
            simulator.physics.render(64, 64, camera_id=0)
        simulator.physics.free()
        simulator.close()
    env.close()
    medians = {name: statistics.median(times) for name, times in spent.items()}
    ours, rebuilt = (
        [a + b for a, b in zip(spent[name], spent[frame], strict=True)]
        for name, frame in (("ours", "our_frame"), ("rebuilt", "rebuilt_frame"))
    )
    shares = _ratio("dmcr_reset", spent["ours"], spent["rebuilt"])
    shares |= _ratio("dmcr_reset_with_first_frame", ours, rebuilt)
    return (
        shares
        | {f"dmcr_{name}_ms": round(seconds * 1e3, 2) for name, seconds in medians.items()}
        | {"dmcr_rounds": rounds}
    )


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    start = time.process_time()
    yield
    times.append(time.process_time() - start)


def _picture_files(number: int) -> dict[str, bytes]:
    """A floor and a sky as PNG files of the original's sizes, 300 and 800 pixels a side."""
    from PIL import Image

    files = {}
    bank = open_textures(None)
    for name, picture, size in (("floor.png", bank.floor(number), 300), ("sky.png", bank.sky(number), 800)):
        stream = io.BytesIO()
        Image.fromarray(picture).resize((size, size)).save(stream, "PNG")
        files[name] = stream.getvalue()
    return files


def _rebuilt_start(seed: int, pictures: list[dict[str, bytes]]) -> Any:
    """The original's way: put the pictures into the XML, compile, reset, make a GL context."""
    from dm_control.rl import control
    from dm_control.suite import cheetah

    xml, assets = cheetah.get_model_and_assets()
    assets = {name: text if isinstance(text, bytes) else text.encode() for name, text in assets.items()}
    sky, materials = "./common/skybox.xml", "./common/materials.xml"
    assets[sky] = b'<mujoco><asset><texture name="skybox" type="skybox" file="sky.png"/></asset></mujoco>'
    floor = rb'<texture name="grid" type="2d" file="floor.png"/>'
    assets[materials] = re.sub(rb'<texture name="grid"[^>]*/>', floor, assets[materials])
    physics = cheetah.Physics.from_xml_string(xml, assets | pictures[seed % len(pictures)])
    simulator = control.Environment(physics, cheetah.Cheetah(random=seed), time_limit=10)
    simulator.reset()
    if physics.contexts.gl is None:  # making them is the expensive part; they are made on first use
        raise RuntimeError("dm-control made no GL context")
    return simulator


def evaluation_workers(rounds: int, steps: int) -> dict[str, Any]:
    """Lockstep steps per second of two environments, in one process and in two (wall time: they share the machine)."""
    config = EnvConfig(render_profile="fast")
    groups = {workers: WorkerEnvs(f"metaworld/{TASK}", config, 2, workers) for workers in (1, 2)}
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 2, 4)).astype(np.float32)
    seconds: dict[int, list[float]] = {workers: [] for workers in groups}
    for group in groups.values():
        group.reset({0: 0, 1: 1})
        group.step({0: actions[0, 0], 1: actions[0, 1]})
        _pin(group)
    for number in range(rounds):
        for workers, group in groups.items():
            group.reset({0: number, 1: number + 1})
            start = time.perf_counter()
            for pair in actions:
                group.step({0: pair[0], 1: pair[1]})
            seconds[workers].append(time.perf_counter() - start)
    for group in groups.values():
        group.close()
    gains = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    return {
        "eval_workers": round(statistics.median(gains), 3),
        "eval_workers_range": [round(min(gains), 3), round(max(gains), 3)],
        "eval_workers_rounds": rounds,
        **{
            f"steps_per_s_{n}_worker{'s' * (n > 1)}": round(2 * steps / statistics.median(seconds[n]), 1)
            for n in (1, 2)
        },
    }


def training_workers(rounds: int, steps: int) -> dict[str, Any]:
    """Lockstep steps per second of four environments, in this process and in others, in turn."""
    task, config = f"metaworld/{TASK}", EnvConfig(render_profile="fast")
    groups = {n: open_envs(task, config, EnvsConfig(count=4, workers=n), 4) for n in (1, 2, 4, 0)}
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 4, 4)).astype(np.float32)
    seconds: dict[int, list[float]] = {workers: [] for workers in groups}
    for number in range(rounds + 1):  # the first round warms up
        for workers, group in groups.items():
            group.reset({index: 4 * number + index for index in range(4)})
            start = time.perf_counter()
            for each in actions:
                group.step(dict(enumerate(each)))
            if number:
                seconds[workers].append(time.perf_counter() - start)
    for group in groups.values():
        group.close()
    rates = {workers: round(4 * steps / statistics.median(seconds[workers]), 1) for workers in sorted(seconds)}
    gains = {
        workers: round(statistics.median(a / b for a, b in zip(seconds[0], seconds[workers], strict=True)), 2)
        for workers in rates
    }
    return {"training_envs": {"steps_per_s": rates, "times_in_process": gains, "rounds": rounds}}


def updates_meanwhile(rounds: int, steps: int) -> dict[str, Any]:
    """Rounds of training with an update each third step, as `tiny` has them: while the step is taken, or after it."""
    agent: Any = build_agent("tiny", {"method": "dreamerv2", "training.threads": 1}, (64, 64, 3), 4)
    batch, taken = window_batch(agent.config.replay.batch_size, agent.config.replay.length), count(1)

    def learn(_agent_steps: int, _env_steps: int = 0) -> None:
        if next(taken) % 3 == 0:
            agent.update(batch)

    found: dict[str, Any] = {}
    for profile in ("faithful", "fast"):
        config = EnvConfig(render_profile=profile, time_limit=steps)
        group = WorkerEnvs(f"metaworld/{TASK}", config, 1, 1)
        policy = agent.policy(1, 0, "train policy", explore=True)
        orders = {
            "meanwhile": partial(play_round, group, policy, meanwhile=learn),
            "after": partial(play_round, group, policy, on_step=learn),
        }
        spent: dict[str, list[float]] = {name: [] for name in orders}
        for number in range(rounds + 1):  # the first round warms up
            for name, times in spent.items():
                start = time.perf_counter()
                orders[name]([number], 0, 4, record=True)
                if number:
                    times.append(time.perf_counter() - start)
        group.close()
        found |= _ratio(f"meanwhile_{profile}", spent["after"], spent["meanwhile"])
        found[f"meanwhile_{profile}_steps_per_s"] = {
            name: round(steps / statistics.median(times), 1) for name, times in spent.items()
        }
    return found | {"meanwhile_rounds": rounds}


def window_batch(windows: int, length: int) -> dict[str, NDArray[Any]]:
    """A replay batch of noise, one window per episode."""
    generator = np.random.default_rng(0)
    is_first = np.zeros((windows, length), np.float32)
    is_first[:, 0] = 1
    return {
        "image": generator.integers(0, 256, (windows, length, 64, 64, 3), np.uint8),
        "action": generator.uniform(-1, 1, (windows, length, 4)).astype(np.float32),
        "reward": generator.random((windows, length), np.float32),
        "is_first": is_first,
        "is_terminal": np.zeros((windows, length), np.float32),
    }


def _pin(group: WorkerEnvs) -> None:
    """Give each process its own core: on a busy machine the scheduler may leave both on one."""
    cores = sorted(os.sched_getaffinity(0))
    for number, process in enumerate(group.process_ids()):
        for thread in os.listdir(f"/proc/{process}/task"):  # Mesa rasterises in a thread of its own
            os.sched_setaffinity(int(thread), {cores[number % len(cores)]})


def frame_costs(frames: int) -> dict[str, float]:
    """Per task and profile: CPU ms of a frame (without physics), and its mean difference to `default`, of 255."""
    found: dict[str, float] = {}
    for task in FRAME_TASKS:
        shown: dict[str, Any] = {}
        for profile in ("default", "faithful", "fast"):
            env = make_env(task, EnvConfig(render_profile=profile))
            shown[profile] = np.stack([env.reset(seed)["image"] for seed in range(4)]).astype(int)
            times: list[float] = []
            for _ in range(frames):
                with _timed(times):
                    env.look()
            env.close()
            found[f"{task} {profile} frame_ms"] = round(statistics.median(times) * 1e3, 2)
        for profile in ("faithful", "fast"):
            difference = np.abs(shown[profile] - shown["default"])
            found[f"{task} {profile} difference"] = round(float(difference.mean()), 2)
    return found


def _take_turns(competitors: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each competitor in rounds in which each runs once."""
    spent: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, compete in competitors.items():
            start = time.process_time()
            compete()
            spent[name].append(time.process_time() - start)
    return spent


if __name__ == "__main__":
    main()
