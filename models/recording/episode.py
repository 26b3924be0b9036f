"""One recorded episode: played, and written as a file that `prepare episodes` reads.

    <number>-<steps>.npz    image (T, H, W, 3), action (T, A), reward, is_first, is_last, is_terminal, [success] (T,)
    <number>-<steps>.json   seed, return, success, env_steps, and what the environment drew (visual factors)

`action[t]` is the action that led into frame t, zero at t = 0, as it was carried out (clipped to [-1, 1]); `steps` is
T - 1, in the name as DreamerV2's replay has it. The `.npz` comes last and counts: it is complete or absent.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.atomic_file import write_bytes, write_json
from ipv_bench.bounded_arrays import npz_headers
from ipv_bench.errors import InputError
from ipv_bench.npz_file import npz_bytes
from ipv_bench.seeding import derive_seed
from models.finetuning.env_groups import EnvGroup
from models.finetuning.rollout import Policy
from models.recording.expert_env import EXPERT_ACTION
from models.recording.policies import PURPOSE

_FILE = re.compile(r"(?P<number>[0-9]{6,12})-(?P<steps>[0-9]{1,9})\.npz")


def is_episode_file(name: str) -> bool:
    """Whether a file is named as one of the two of an episode."""
    stem, dot, ending = name.rpartition(".")
    return ending in ("npz", "json") and _FILE.fullmatch(f"{stem}{dot}npz") is not None


@dataclass
class RecordedEpisode:
    """What happened, frame by frame; lists of equal length."""

    seed: int
    metadata: dict[str, Any]
    image: list[NDArray[np.uint8]] = field(default_factory=list)
    action: list[NDArray[np.float32]] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    success: list[bool | None] = field(default_factory=list)
    terminal: bool = False
    env_steps: int = 0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of its file."""
        frames = np.arange(len(self.image))
        last = frames == len(frames) - 1
        found: dict[str, NDArray[Any]] = {
            "image": np.stack(self.image),
            "action": np.stack(self.action),
            "reward": np.array(self.reward, np.float32),
            "is_first": frames == 0,
            "is_last": last,
            "is_terminal": last & self.terminal,
        }
        if self.success[-1] is not None:
            found["success"] = np.array([bool(value) for value in self.success])
        return found

    def facts(self) -> dict[str, Any]:
        """The values of its JSON file."""
        return {
            "seed": self.seed,
            "env_steps": self.env_steps,
            "return": float(np.sum(self.reward)),
            "success": self.success[-1],
            "metadata": self.metadata,
        }


def play_episode(envs: EnvGroup, policy: Policy, number: int, seed: int) -> RecordedEpisode | None:
    """Play episode `number` of recording `seed` in the first environment of `envs`; None when that was lost.

    Raises:
        SimulationError: the environment was lost several times in a row.
    """
    episode_seed = derive_seed(seed, number, f"{PURPOSE} episode")
    observation = envs.reset({0: episode_seed})[0]
    if observation is None:
        return None
    nothing = np.zeros(envs.action_dim, np.float32)
    episode = RecordedEpisode(episode_seed, envs.episode_metadata(0), [observation["image"]], [nothing], [0.0], [None])
    while not observation["is_last"]:
        first = np.array([observation["is_first"]])
        action = np.clip(policy.act(observation["image"][None], first, len(episode.image) - 1)[0], -1, 1)
        result = envs.step({0: action})[0]
        if result is None:
            return None
        observation, reward, terminated, _, info = result
        episode.image.append(observation["image"])
        episode.action.append(np.asarray(info.get(EXPERT_ACTION, action), np.float32))
        episode.reward.append(float(reward))
        episode.success.append(info["success"])
        episode.terminal = bool(terminated)
        episode.env_steps += int(info["env_steps"])
    episode.success[0] = None if episode.success[-1] is None else False
    return episode


def write_episode(folder: Path, number: int, episode: RecordedEpisode) -> None:
    """Write both files; equal episodes give equal bytes.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    arrays = episode.arrays()
    name = f"{number:06d}-{len(episode.image) - 1}"
    write_json(folder / f"{name}.json", json.loads(json.dumps(episode.facts())))
    write_bytes(folder / f"{name}.npz", npz_bytes(arrays, compressed=True))


def find_episodes(folder: Path) -> tuple[set[int], dict[Path, int]]:
    """Numbers of the episodes that are whole, and files of those that are not, with theirs; nothing is changed.

    An episode is damaged where its `.npz` is cut off, or its `.json` is not there.
    """
    whole: set[int] = set()
    damaged: dict[Path, int] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _FILE.fullmatch(path.name)
        if match is None:
            continue
        try:
            header = npz_headers(path, ("image",)).get("image")
        except InputError:
            header = None
        complete = isinstance(header, tuple) and header[0][:1] == (int(match["steps"]) + 1,)
        if complete and path.with_suffix(".json").is_file():
            whole.add(int(match["number"]))
        else:
            damaged[path] = int(match["number"])
    return whole, damaged
