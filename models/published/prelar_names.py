"""Names in the files of PreLAR's release, which laid out anew what ContextWM's code has under other names.

Source: github.com/zhanglixuan0720/PreLAR, commit fb9c4d2, read for its names alone; no published file was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from models.published.published_names import our_name

_ACTION_ENCODER = "wm.va_encoder."
_OURS = "world_model.action_encoder."
_DENSE = {"action_in.0.": "hidden.", "action_in.2.": "out."}
_REWRITTEN = (
    (r"^(wm\.encoder|wm\.heads\.decoder)\.(_cnn_net|_cnn_nn)\.", r"\1."),
    (r"^(wm\.heads\.decoder)\.convin\.0\.", r"\1.convin."),
    (r"^(wm\.(?:af_)?rssm)\._(img_in|obs_out)\.0\.", r"\1.\2."),
    (r"^(wm\.(?:af_)?rssm)\._obs_out\.obs_out_head\.", r"\1.obs_dist."),
    (r"^(wm\.(?:af_)?rssm)\._ensemble_out_layers\.0\.img_out_0\.", r"\1.img_out_0."),
    (r"^(wm\.(?:af_)?rssm)\._ensemble_out_layers\.0\.img_out_head_0\.", r"\1.img_dist_0."),
)
"""Patterns of this release's names, and ContextWM's for the same tensors."""


def has_latent_actions(keys: Iterable[str]) -> bool:
    """Whether names are of a pre-trained model with latent actions."""
    return any(key.startswith(_ACTION_ENCODER) for key in keys)


def as_contextwm(key: str) -> str:
    """ContextWM's name of the same tensor; the name itself where it is one of those already, or of something else."""
    for pattern, other in _REWRITTEN:
        key = re.sub(pattern, other, key)
    return key


def latent_model_name(key: str) -> str | None:
    """Our name, `world_model.…`, of a tensor of a pre-trained model with latent actions; None: not known."""
    if not key.startswith(_ACTION_ENCODER):
        # Its one RSSM stands where ContextWM's agents have their action-conditional one.
        return our_name(as_contextwm(key), stacked=True)
    name = key.removeprefix(_ACTION_ENCODER)
    network = "va_encoder._cnn_net."
    if name.startswith(network):
        found = our_name(f"wm.encoder.{name.removeprefix(network)}", stacked=True)
        return None if found is None else found.replace("world_model.vision.encoder.", f"{_OURS}encoder.")
    for theirs, ours in _DENSE.items():
        if name.startswith(theirs):
            return _OURS + ours + name.removeprefix(theirs)
    return None
