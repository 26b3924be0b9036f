"""Reference tensors of the published code: files, models built to fit them, and what our code computes for each array.

A reference is `<name>.npz` beside `<name>.json`; the JSON says what each array is. Each `…_arrays` function returns our
values by the array's key.
"""

from __future__ import annotations

import ast
import functools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ipv_bench.config import build
from models.agents.behavior import ActorCritic
from models.finetuning.config import finetune_config_class
from models.nets.rssm import State
from models.published.published_names import our_name
from models.training.hardware import choose_device
from models.world_models.context import ContextDraws
from models.world_models.stacked import StackedWorldModel
from models.world_models.video import VideoWorldModel

ACTION_DIM_DEFAULT = 4
DEVICE = choose_device(os.environ.get("IPV_BENCH_DEVICE", "cpu"))


class Agent(nn.Module):
    """A world model, and behaviour where the file has one, under the names that `our_name` gives."""

    def __init__(self, config: Any, action_dim: int | None) -> None:
        super().__init__()
        if action_dim is None:
            self.world_model: VideoWorldModel | StackedWorldModel = VideoWorldModel(config)
        else:
            self.world_model = StackedWorldModel(config, action_dim)
            self.behavior = ActorCritic(config.behavior, config.rssm.feat_size, action_dim)


class Reference:
    """One pair of files.

    Args:
        path: the npz file.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        description = json.loads(path.with_suffix(".json").read_text())
        self.config, self.documented = description["config"], description["arrays"]
        with np.load(path) as arrays:
            self._arrays = {key: np.array(arrays[key]) for key in arrays.files}
        self.stacked = "finetuning" in self.config["base"]
        self.context = "contextualized" in self.config["base"]

    @property
    def keys(self) -> list[str]:
        """Keys of all arrays in the file."""
        return list(self._arrays)

    def has(self, key: str) -> bool:
        """Whether the file holds `key`; with a trailing `*` or number, whether it holds one that starts so."""
        return key in self._arrays or any(name.startswith(key.rstrip("*")) for name in self._arrays if key[-1] == "*")

    def tensor(self, key: str) -> Tensor:
        """The array; float ones as float32."""
        return torch.from_numpy(self._arrays[key].copy()).to(DEVICE)

    def group(self, prefix: str) -> dict[str, Tensor]:
        """All arrays under `prefix`, by our name of the tensor."""
        found = {key[len(prefix) :]: self.tensor(key) for key in self._arrays if key.startswith(prefix)}
        named = {our_name(key, stacked=self.stacked): value for key, value in found.items()}
        return {name: value for name, value in named.items() if name is not None}

    def meaning(self, key: str) -> str:
        """What the JSON says about an array."""
        return str(self.documented[key]["meaning"])

    @functools.cached_property
    def config_of_ours(self) -> Any:
        """Our config for the settings that the JSON names."""
        o = self.config["overrides"]
        values: dict[str, object] = {
            "method": "contextwm" if self.context else "apv",
            "rssm": {key: o[f"rssm.{key}"] for key in ("hidden", "deter", "stoch", "discrete")},
            "encoder": {"cnn_depth": o["encoder.cnn_depth"]},
            "decoder": {"cnn_depth": o["decoder.cnn_depth"]},
            "context": {"frame": "first", "dropout": 0.0, "mask_ratio": o.get("decoder_ctx.ctx_attmask", 0.0)},
        }
        if self.stacked:
            values["concat_embed"] = o["concat_embed"]
            values["reward"] = {"units": o["reward_head.units"], "dual": o["loss_scales.aux_reward"] > 0}
            values["behavior"] = {"units": o["actor.units"], "horizon": o["imag_horizon"]}
            values["intrinsic"] = {
                "beta": o["beta"], "queue_size": o["queue_size"], "queue_dim": o["queue_dim"], "neighbours": o["k"],
            }  # fmt: skip
        return build(finetune_config_class(str(values["method"])), values)

    def agent(self, dtype: torch.dtype = torch.float32) -> Agent:
        """A fresh agent with the file's parameters, an empty bonus queue, and the magnitude at 1."""
        agent = Agent(self.config_of_ours, self.config.get("action_dim", ACTION_DIM_DEFAULT) if self.stacked else None)
        missing, unexpected = agent.load_state_dict(self.group("param:"), strict=False)
        own = {"world_model.vision.scaling.offset", "world_model.intrinsic_bonus.count", "behavior.updates"}
        assert set(missing) <= own
        assert not unexpected
        return agent.to(DEVICE, dtype)

    def context_draws(self) -> ContextDraws | None:
        """The first frame, nothing erased, no masks."""
        if not self.context:
            return None
        first = torch.zeros(self.tensor("in:image").shape[0], dtype=torch.int64, device=DEVICE)
        return ContextDraws(first, None, {})

    def options(self, key: str) -> dict[str, float]:
        """The dictionary that an array's meaning is."""
        return dict(ast.literal_eval(self.meaning(key)))


def state_arrays(prefix: str, posterior: State, prior_logit: Tensor) -> dict[str, Tensor]:
    """Posterior and prior of one RSSM, the prior's latents by arg max."""
    stoch = nn.functional.one_hot(prior_logit.argmax(-1), prior_logit.shape[-1])
    return {
        f"{prefix}post_logit": posterior.logit,
        f"{prefix}post_stoch": posterior.stoch,
        f"{prefix}post_deter": posterior.deter,
        f"{prefix}prior_logit": prior_logit,
        f"{prefix}prior_stoch": stoch,
        f"{prefix}prior_deter": posterior.deter,
    }


def array_names(path: Path) -> list[str]:
    """Keys of the arrays of an npz file, without reading them."""
    with np.load(path) as arrays:
        return list(arrays.files)


def find_references(folders: list[Path]) -> list[Path]:
    """All npz files of the folders that have a JSON beside them."""
    return [path for folder in folders for path in sorted(folder.glob("*.npz")) if path.with_suffix(".json").is_file()]


def find_float64(path: Path) -> list[Path]:
    """The file of float64 losses and gradients that belongs to a reference, beside it or in `float64/`; or none."""
    name = f"{path.stem}_grad64.npz"
    return [found for found in (path.parent / name, path.parent / "float64" / name) if found.is_file()][:1]


def spread(tensor: Tensor, count: int) -> Tensor:
    """`count` numbers of a tensor, evenly spaced in row-major order."""
    flat = tensor.flatten()
    return flat[:: len(flat) // count][:count]
