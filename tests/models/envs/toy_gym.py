"""A package with a Gymnasium environment, as somebody else would have it, which can be told to break each rule.

`install` writes it, with metadata, into a folder that goes on the import path; here it is as text, since
nothing of this repository may import Gymnasium where it is not installed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

MODULE = "toy_gym_package"

_CODE = '''
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

IMPORTED = True


class Slide(gymnasium.Env):
    """A dot on a line of 12 places; the action moves it by up to two; the goal is the right end.

    An episode ends where the dot comes to a place below `falls`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, breaks="", says="always", picture="", render_mode=None, tag=None, falls=0):
        self.breaks, self.says, self.picture, self.render_mode = breaks, says, picture, render_mode
        self.falls = falls
        bound = np.inf if breaks == "unbounded" else 2.0
        self.action_space = Box(-bound, bound, (1, 2), np.float32) if breaks != "discrete" else Discrete(3)
        if breaks == "no_pictures":
            self.metadata = {"render_modes": []}
        place = Box(0, 11, (1,), np.float32)
        image = Box(0, 255, {"chw": (3, 20, 60), "grey": (20, 60)}.get(picture, (20, 60, 3)), np.uint8)
        self.observation_space = Dict({"place": place, "front": image}) if picture == "dict" else (
            image if picture else place
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=None if self.breaks == "unseeded" else seed)
        self.place, self.moves = float(self.np_random.integers(2, 6)), []
        return self._observed(), {}

    def step(self, action):
        self.moves.append(np.array(action))
        self.place = float(np.clip(self.place + action[0, 0], 0, 11))
        there = self.place > 10
        said = self.says == "always" or (self.says == "at_goal" and there)
        info = {"there": there} if said else {"place": self.place}
        return self._observed(), self.place, self.place < self.falls, False, info

    def render(self):
        return None if self.breaks == "blind" else self._drawn()

    def _observed(self):
        place = np.array([self.place + (100 if self.breaks == "outside" else 0)], np.float32)
        if self.picture == "dict":
            return {"place": place, "front": self._drawn()}
        if not self.picture:
            return place
        drawn = self._drawn()
        return {"chw": drawn.transpose(2, 0, 1), "grey": drawn[..., 0]}.get(self.picture, drawn)

    def _drawn(self):
        picture = np.zeros((20, 60, 3), np.uint8)
        column = 5 * round(self.place)
        picture[:, column : column + 5] = 200
        return picture


class Unsteady(Slide):
    pass


gymnasium.register("toys/Slide-v0", entry_point=Slide, max_episode_steps=8)
gymnasium.register("Endless-v0", entry_point=Slide)
gymnasium.register("Unsteady-v0", entry_point=Unsteady, nondeterministic=True, max_episode_steps=8)
'''


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, requires: str = "gymnasium>=1.2") -> None:
    """Install the package into `folder`, for this process and those that it starts."""
    (folder / f"{MODULE}.py").write_text(_CODE)
    info = folder / "toy_gym-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toy-gym\nVersion: 1.5\nRequires-Dist: {requires}\n")
    (info / "top_level.txt").write_text(f"{MODULE}\n")
    monkeypatch.syspath_prepend(str(folder))
