"""What the released code of ContextWM, APV and DreamerV2 was run with, field by field, beside ours.

Source: thuml/ContextWM at commit 3a8bca8 (it holds all three): `F` is configs/apv_finetuning.yaml, `D`
configs/dreamerv2.yaml, `R` the commands in README.md, each with its line; `T` is Table 2 of arXiv:2305.18499. A test
holds every method × preset × suite against this table, so that a baseline cannot drift; `finetune --dry-run` shows what
a run does otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ipv_bench.config import flatten
from models.methods import released_drqv2, released_isodream, released_prelar
from models.world_models.config import MethodConfig


class Setting(NamedTuple):
    """One released value.

    Attributes:
        value: in the units of our key.
        source: file and line.
        why: why the preset `paper` has another value on purpose; empty where it has the same.
    """

    value: Any
    source: str
    why: str = ""


Settings = dict[str, Setting]

_FP32 = "fp16 overflows by the authors' own account; bf16, on a GPU, has fp32's range; fp32 on a CPU is exact to resume"
_EPISODES = "one episode is no score; Table 2 says 10"
_UNTIL_STOPPED = "the release trains until it is stopped; ours ends with the other methods"

# Fine-tuning of ContextWM and APV, and what DreamerV2's file says in the same words.
_SHARED: dict[str, tuple[Any, str, str]] = {
    "training.train_every": (5, "F:23", "D:22"),
    "training.updates_per_train": (1, "F:24", "D:23"),
    "training.precision": ("fp16", "F:32", "D:31"),
    "evaluation.explore": (False, "wmlib/agents/base.py:82", "wmlib/agents/base.py:82"),
    "replay.length": (50, "F:27", "D:26"),
    "rssm.stoch": (32, "F:75", "D:68"),
    "rssm.discrete": (32, "F:75", "D:68"),
    "encoder.cnn_depth": (48, "F:83", "D:75"),
    "decoder.cnn_depth": (48, "F:96", "D:88"),
    "reward.layers": (4, "F:103", "D:95"),
    "reward.units": (400, "F:103", "D:95"),
    "loss.kl_scale": (1.0, "F:107", "D:98"),
    "loss.kl_balance": (0.8, "F:114", "D:104"),
    "optimizer.eps": (1e-5, "F:115", "D:105"),
    "optimizer.weight_decay": (1e-6, "F:115", "D:105"),
    "optimizer.clip": (100.0, "F:115", "D:105"),
    "behavior.layers": (4, "F:119", "D:108"),
    "behavior.units": (400, "F:119", "D:108"),
    "behavior.min_std": (0.1, "F:119", "D:108"),
    "behavior.discount": (0.99, "F:123", "D:112"),
    "behavior.lam": (0.95, "F:124", "D:113"),
    "behavior.horizon": (15, "F:125", "D:114"),
    "behavior.slow_every": (100, "F:131", "D:120"),
    "behavior.slow_fraction": (1.0, "F:132", "D:121"),
}
_STACKED: Settings = {
    "training.pretrain_updates": Setting(100, "F:22"),
    "behavior.discount_head": Setting(False, "F:74"),
    "replay.capacity": Setting(1_000_000, "F:26; T"),
    "intrinsic.neighbours": Setting(16, "F:64"),
    "intrinsic.window": Setting(5, "F:67"),
    "intrinsic.queue_size": Setting(4096, "F:69"),
    "intrinsic.queue_dim": Setting(128, "F:70"),
    "rssm.action_dim": Setting(50, "F:75"),
    "rssm.deter": Setting(1024, "F:75"),
    "rssm.hidden": Setting(1024, "F:75"),
    "encoder.kind": Setting("residual", "F:77"),
    "encoder.blocks": Setting(2, "F:88"),
    "encoder.norm": Setting("batch", "F:86"),
    "decoder.kind": Setting("residual", "F:90"),
    "decoder.blocks": Setting(2, "F:101"),
    "decoder.norm": Setting("batch", "F:99"),
    "loss.action_free_kl_scale": Setting(0.0, "F:106"),
    "optimizer.lr": Setting(3e-4, "F:115"),
    "behavior.entropy": Setting(1e-4, "F:129"),
    "behavior.actor_optimizer.lr": Setting(8e-5, "F:121"),
    "behavior.critic_optimizer.lr": Setting(8e-5, "F:122"),
}
_STACKED_SUITES: dict[str, Settings] = {
    "metaworld": {
        "replay.batch_size": Setting(50, "F:167"),
        "replay.prioritize_ends": Setting(True, "F:26"),
        "env.time_limit": Setting(500, "F:168"),
        "env.action_repeat": Setting(1, "F:169"),
        "evaluation.every": Setting(10_000, "F:19"),
        "evaluation.episodes": Setting(10, "F:170"),
        "training.prefill": Setting(5000, "F:171"),
        "training.env_steps": Setting(255_000, "F:177"),
        "training.encoder_frozen_updates": Setting(100, "F:175, F:22"),
        "concat_embed": Setting(False, "F:174"),
        "intrinsic.beta": Setting(1.0, "F:176"),
        "loss.free_nats": Setting(0.0, "F:114"),
    },
    "dmc": {
        "replay.batch_size": Setting(16, "F:27"),
        "replay.prioritize_ends": Setting(False, "F:187"),
        "env.action_repeat": Setting(2, "F:185"),
        "evaluation.every": Setting(20_000, "F:19 (agent steps)"),
        "evaluation.episodes": Setting(1, "F:20", _EPISODES),
        "training.prefill": Setting(1000, "F:186 (agent steps; T: environment steps)"),
        "training.env_steps": Setting(1_004_000, "F:189 (502,000 agent steps)"),
        "training.encoder_frozen_updates": Setting(0, "F:191"),
        "concat_embed": Setting(True, "F:190"),
        "intrinsic.beta": Setting(0.1, "F:192"),
        "loss.free_nats": Setting(1.0, "F:188"),
    },
    "dmcr": {
        "replay.batch_size": Setting(16, "F:27"),
        "replay.prioritize_ends": Setting(False, "F:201"),
        "env.action_repeat": Setting(2, "F:199"),
        "evaluation.every": Setting(20_000, "F:19 (agent steps)"),
        "evaluation.episodes": Setting(10, "F:208"),
        "training.prefill": Setting(1000, "F:200 (agent steps; T: environment steps)"),
        "training.env_steps": Setting(1_004_000, "F:203 (502,000 agent steps)"),
        "training.encoder_frozen_updates": Setting(0, "F:205"),
        "concat_embed": Setting(True, "F:204"),
        "intrinsic.beta": Setting(0.1, "F:206"),
        "loss.free_nats": Setting(1.0, "F:202"),
    },
    "carla": {
        "replay.batch_size": Setting(16, "F:27"),
        "replay.prioritize_ends": Setting(False, "F:219"),
        "env.action_repeat": Setting(1, "F:225"),
        "evaluation.every": Setting(5000, "F:217"),
        "evaluation.episodes": Setting(5, "F:218; T"),
        "training.prefill": Setting(1000, "F:216; T"),
        "training.env_steps": Setting(152_000, "F:221 (T: 150,000)"),
        "training.encoder_frozen_updates": Setting(0, "F:223"),
        "concat_embed": Setting(True, "F:222"),
        "intrinsic.beta": Setting(0.1, "F:224; T"),
        "loss.free_nats": Setting(1.0, "F:220"),
    },
}
_CONTEXTWM: Settings = {
    "reward.dual": Setting(True, "R:150, R:159"),
    "reward.scale": Setting(1.0, "R:150, R:159"),
    "reward.dual_scale": Setting(1.0, "R:150, R:159"),
    "context.fusion": Setting("cross_attention", "F:243"),
    "context.frame": Setting("random", "F:153"),
    "context.mask_ratio": Setting(0.75, "F:157"),
    "context.augmentation": Setting("none", "F:154"),
}
_APV: Settings = {"reward.dual": Setting(False, "F:112; R:188"), "context.fusion": Setting("none", "F:238; R:188")}
_DREAMERV2: Settings = {
    "training.pretrain_updates": Setting(100, "D:155, D:209, D:249, D:287"),
    "behavior.discount_head": Setting(False, "D:158, D:211, D:251, D:289"),
    "replay.capacity": Setting(2_000_000, "D:25"),
    "rssm.action_dim": Setting(None, "D:68"),
    "rssm.deter": Setting(1024, "D:68"),
    "rssm.hidden": Setting(1024, "D:68"),
    "encoder.kind": Setting("plain", "D:69"),
    "decoder.kind": Setting("plain", "D:82"),
    "reward.dual": Setting(False, "D:97"),
    "context.fusion": Setting("none", "D:69"),
    "optimizer.lr": Setting(3e-4, "D:161, D:215, D:254, D:292"),
    "behavior.entropy": Setting(1e-4, "D:159, D:218, D:257, D:295"),
    "behavior.actor_optimizer.lr": Setting(8e-5, "D:110"),
    "behavior.critic_optimizer.lr": Setting(8e-5, "D:160, D:217, D:256, D:294"),
}
_DREAMERV2_SUITES: dict[str, Settings] = {
    "metaworld": {
        "replay.capacity": Setting(1_000_000, "D:153"),
        "replay.batch_size": Setting(50, "D:144"),
        "replay.prioritize_ends": Setting(True, "D:25"),
        "env.time_limit": Setting(500, "D:145"),
        "env.action_repeat": Setting(1, "D:146"),
        "evaluation.every": Setting(10_000, "D:154"),
        "evaluation.episodes": Setting(10, "D:147"),
        "training.prefill": Setting(5000, "D:148"),
        "training.env_steps": Setting(255_000, "D:151"),
        "loss.free_nats": Setting(0.0, "D:104"),
    },
    "dmc": {
        "rssm.deter": Setting(200, "D:214"),
        "rssm.hidden": Setting(200, "D:214"),
        "replay.batch_size": Setting(16, "D:26"),
        "replay.prioritize_ends": Setting(False, "D:212"),
        "env.action_repeat": Setting(2, "D:206"),
        "evaluation.every": Setting(20_000, "D:207 (agent steps)"),
        "evaluation.episodes": Setting(1, "D:19", _EPISODES),
        "training.prefill": Setting(1000, "D:208 (agent steps)"),
        "training.env_steps": Setting(200_000_000, "D:16 (1e8 agent steps)", _UNTIL_STOPPED),
        "loss.free_nats": Setting(1.0, "D:219"),
    },
    "dmcr": {
        "replay.batch_size": Setting(16, "D:26"),
        "replay.prioritize_ends": Setting(False, "D:252"),
        "env.action_repeat": Setting(2, "D:246"),
        "evaluation.every": Setting(20_000, "D:247 (agent steps)"),
        "evaluation.episodes": Setting(10, "D:260"),
        "training.prefill": Setting(1000, "D:248 (agent steps)"),
        "training.env_steps": Setting(200_000_000, "D:16 (1e8 agent steps)", _UNTIL_STOPPED),
        "loss.free_nats": Setting(1.0, "D:258"),
    },
    "carla": {
        "replay.batch_size": Setting(16, "D:26"),
        "replay.prioritize_ends": Setting(False, "D:290"),
        "env.action_repeat": Setting(1, "D:284"),
        "evaluation.every": Setting(5000, "D:285"),
        "evaluation.episodes": Setting(5, "D:297"),
        "training.prefill": Setting(1000, "D:286"),
        "training.env_steps": Setting(100_000_000, "D:16", _UNTIL_STOPPED),
        "loss.free_nats": Setting(1.0, "D:296"),
    },
}
_ERASING = Setting("erasing", "R:150")
NOT_ERASED = "drawer_open"
"""The Meta-world task whose context frame is not erased (R:153)."""

NOT_FOLLOWED = (
    ("pre-training on one data set", "1,200,000 updates (R:128, R:134, R:140)", "600,000, as Table 2 says"),
    ("the counters of Table 2's environment steps", "agent steps (F:17, F:21, F:23)", "agent steps, as the code"),
    ("first update", "before the pre-trained weights are loaded", "after"),
    ("construction", "runs a training pass on noise", "nothing is run"),
    ("saved state", "no moments, schedule, queue fill, target counter", "all"),
    ("critic's targets", "hold the actor's entropy bonus", "do not"),
    ("old state of the action-free RSSM", "the upper model's", "its own"),
    ("last episode of the prefill", "glued to the next one", "complete"),
    ("evaluation", "in the middle of an episode", "between episodes"),
    ("simulators", "Meta-world v2 on mujoco-py; DMC of 2023", "Meta-world v3 on mujoco 3.3; dm-control 1.0.28"),
    ("CARLA", "0.9.11 with 0.9.8's Town04", "0.9.16, with 0.9.8's Town04 where it is given"),
    ("a CARLA car off the road, stuck or at the time limit", "all terminal", "the time limit is not"),
    ("rendering", "the simulator's own settings", "`faithful`: 512 or 1024 pixels of shadow map"),
    ("held-out videos", "none", "0.2 % of the pre-training videos"),
)
"""What is not a value of a config field: subject, the release, ours. Reasons: docs/methods/world_models.md."""

OF_METHOD_AND_SUITE = (
    "concat_embed", "loss.free_nats", "context.fusion", "context.augmentation", "reward.dual", "encoder.kind",
    "decoder.kind", "rssm.action_dim", "training.encoder_frozen_updates", "latent_action.align",
    "latent_action.hold_rssm", "intrinsic.features", "isolation.free_branch", "isolation.use_free",
    "drqv2.frame_stack", "drqv2.n_step", "env.action_repeat",
)  # fmt: skip
"""Keys whose released value every preset has, however small: they say which method and suite it is, not its size."""

OTHER_ACTION_REPEATS = {
    ("tiny", "dmc"): (4, "half of the agent steps, and so of the minutes, for the same control steps"),
    ("tiny", "dmcr"): (4, "as dm-control's"),
    ("demo", "dmc"): (4, "as tiny's"),
    ("demo", "dmcr"): (4, "as tiny's"),
    ("tiny", "metaworld"): (4, "a quarter of the agent steps, and so of the minutes, for the same control steps"),
    ("demo", "metaworld"): (4, "as tiny's"),
}
"""Preset and suite → the action repeat of all methods there, and why it is not the released one."""


def released_settings(method: str, suite: str, task: str = "") -> Settings:
    """Released values by our config keys; empty for methods and suites that no release has."""
    if method == "prelar" and suite == released_prelar.SUITE:
        own_release = {key: Setting(value, source) for key, (value, source) in released_prelar.PRELAR.items()}
        own_release["training.precision"] = own_release["training.precision"]._replace(why=_FP32)
        return own_release
    if method == "drqv2" and suite == released_drqv2.SUITE:
        return {key: Setting(*value) for key, value in released_drqv2.drqv2_released(task).items()}
    if method == "isodream" and suite in released_isodream.SUITES:
        values = released_isodream.SHARED | released_isodream.SUITES[suite]
        return {key: Setting(*value) for key, value in values.items()}
    if suite not in _STACKED_SUITES or method not in ("contextwm", "apv", "dreamerv2"):
        return {}
    own = method == "dreamerv2"
    shared = {key: Setting(value, dreamer if own else stacked) for key, (value, stacked, dreamer) in _SHARED.items()}
    shared["training.precision"] = shared["training.precision"]._replace(why=_FP32)
    if own:
        return shared | _DREAMERV2 | _DREAMERV2_SUITES[suite]
    found = shared | _STACKED | _STACKED_SUITES[suite] | (_CONTEXTWM if method == "contextwm" else _APV)
    if method == "contextwm" and suite == "metaworld" and task != NOT_ERASED:
        found["context.augmentation"] = _ERASING
    return found


def departures(config: MethodConfig, suite: str, task: str = "") -> Iterator[tuple[str, Any, Setting]]:
    """Config key, our value and the released setting, where a resolved config differs from the release."""
    ours = flatten(config.model_dump(mode="json"))
    for key, setting in released_settings(config.method, suite, task).items():
        if ours.get(key) != setting.value:
            yield key, ours.get(key), setting
