"""Names of the published checkpoints' tensors (ContextWM, APV), and of ours for the same tensors."""

from __future__ import annotations

import re

_RSSM = {
    "_cell._layer": "gru.linear",
    "_cell._norm": "gru.norm",
    "img_in": "img_in",
    "img_out_0": "img_out",
    "img_dist_0": "img_logit",
    "obs_out": "obs_out",
    "obs_dist": "obs_logit",
}
_RESIDUAL = {
    "res_block.0": "conv1",
    "res_block.1": "norm1",
    "res_block.3": "conv2",
    "res_block.4": "norm2",
    "identity.0": "skip_conv",
    "identity.1": "skip_norm",
    "norm_cross_att": "fusion.norm",
    "kv_pos_emb": "fusion.attention.context_position",
    "q_pos_emb": "fusion.attention.query_position",
    "cross_attention.att.in_proj_weight": "fusion.attention.in_proj.weight",
    "cross_attention.att.in_proj_bias": "fusion.attention.in_proj.bias",
    "cross_attention.att.out_proj": "fusion.attention.out_proj",
}
_PARTS = {
    "wm.heads.reward": "world_model.reward_head",
    "wm.heads.aux_reward": "world_model.aux_reward_head",
    "_task_behavior.actor": "behavior.actor",
    "_task_behavior.critic": "behavior.critic",
    "_task_behavior._target_critic": "behavior.slow_critic",
}
_SINGLE = {
    "wm.intr_bonus.random_projection_matrix": "world_model.intrinsic_bonus.projection",
    "wm.intr_bonus.queue": "world_model.intrinsic_bonus.queue",
    "wm.intr_bonus.intr_rewnorm.mag": "world_model.intrinsic_bonus.norm.magnitude",
}


def our_name(published: str, *, stacked: bool) -> str | None:
    """Our name of a published tensor.

    Args:
        published: key of a published state dict, such as `wm.encoder.convin.weight`.
        stacked: the file is of a fine-tuned agent (`wm.rssm` is the action-conditional model), not of pre-training
            (`wm.rssm` is the action-free one).

    Returns:
        `world_model.…` for a world model, `behavior.…` for actor and critic; None for a name that is not known, or for
        a second copy of the same tensor (`_expl_behavior.*`) and the reward norm that is never used.
    """
    if published in _SINGLE:
        return _SINGLE[published]
    if published.startswith("wm.af_rssm."):
        return _with_prefix("world_model.action_free_rssm.", _mapped(published[len("wm.af_rssm.") :], _RSSM))
    if published.startswith("wm.rssm."):
        part = "rssm" if stacked else "action_free_rssm"
        return _with_prefix(f"world_model.{part}.", _mapped(published[len("wm.rssm.") :], _RSSM))
    if published.startswith("wm.encoder."):
        return _with_prefix("world_model.vision.", _encoder_name(published[len("wm.encoder.") :]))
    if published.startswith("wm.heads.decoder."):
        return _with_prefix("world_model.vision.decoder.", _decoder_name(published[len("wm.heads.decoder.") :]))
    for prefix, ours in _PARTS.items():
        if published.startswith(prefix + "."):
            return _with_prefix(ours + ".", _dense_name(published[len(prefix) + 1 :]))
    return None


def _with_prefix(prefix: str, name: str | None) -> str | None:
    return None if name is None else prefix + name


def _mapped(name: str, table: dict[str, str]) -> str | None:
    for theirs, ours in table.items():
        if name == theirs or name.startswith(theirs + "."):
            return ours + name[len(theirs) :]
    return None


def _encoder_name(name: str) -> str | None:
    part = "encoder"
    if name.startswith("cond_"):
        part, name = "context_encoder", name[len("cond_") :]
    return _with_prefix(f"{part}.", _mapped(name, {"convin": "conv_in"}) or _layer_name(name))


def _decoder_name(name: str) -> str | None:
    return _mapped(name, {"convin": "dense", "convout": "conv_out"}) or _layer_name(name)


def _layer_name(name: str) -> str | None:
    match = re.fullmatch(r"res(\d)\.stack\.(\d)\.(.+)", name)
    if match is None:
        return None
    return _with_prefix(f"stages.{match[1]}.layers.{match[2]}.", _mapped(match[3], _RESIDUAL))


def _dense_name(name: str) -> str | None:
    match = re.fullmatch(r"dense(\d)\.(weight|bias)", name)
    if match is not None:
        return f"mlp.layers.{match[1]}.{match[2]}"
    return _mapped(name, {"out.out": "out", "out.std": "std"})
