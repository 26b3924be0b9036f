"""Settings that others leave without effect are refused with the reason; the same settings are taken where they act."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from ipv_bench.errors import ConfigError
from models.finetune import build_agent
from models.finetuning.plan import plan_finetuning
from models.pretraining.plan import plan_pretraining
from models.training.hardware import check_sync_batch_norm

WITHOUT_EFFECT = [
    ("method=apv", "context.heads=2", "context.fusion=none"),
    ("method=contextwm context.fusion=concat", "context.heads=2", "has no attention"),
    ("method=contextwm context.mask_ratio=0", "context.mask_at_eval=false", "drops no tokens"),
    ("method=apv encoder.kind=plain", "encoder.norm=batch", "no normalisation"),
    ("method=apv decoder.kind=plain", "decoder.blocks=1", "four convolutions"),
]
OF_PRETRAINING = [
    ("method=contextwm", "loss.action_free_kl_scale=0.5", "loss.kl_scale"),
    ("method=contextwm", "loss.discount_scale=0.5", "no discount head"),
    ("data.every_seconds=0.2", "data.every_frames=2", "data.every_seconds=0.2"),
    ("data.holdout=0", "data.fewest_held_out=3", "keeps none"),
    ("", "data.weights=[1.0]", "one set"),
    ("method=prelar latent_action.posterior=deterministic", "latent_action.beta_a=2", "no KL"),
    ("method=apv loss.kl_scale=0", "loss.free_nats=3", "no KL loss"),
    ("method=uwm loss=ficc", "quantizer.usage_decay=0.5", "no use of codes"),
]
OF_AGENTS = [
    ("method=contextwm", "loss.discount_scale=0.5", "behavior.discount_head=true"),
    ("method=isodream", "loss.discount_scale=0.5", "behavior.discount_head=true"),
    ("method=apv", "reward.dual_scale=0.5", "no second reward head"),
    ("method=contextwm intrinsic.beta=0", "intrinsic.window=3", "has no bonus"),
    ("method=dreamerv2", "intrinsic.beta=2", "dreamerv2 has no bonus"),
    ("method=dreamerv2", "reward.dual=true", "one reward head"),
    ("method=dreamerv2", "training.encoder_frozen_updates=7", "pre-trained"),
    ("method=dreamerv2", "concat_embed=false", "one RSSM"),
    ("method=apv finetuning=naive", "loss.action_free_kl_scale=0.5", "one RSSM"),
    ("method=prelar", "latent_action.align_scale=2", "it is for nll"),
    ("method=prelar", "latent_action.inputs=diff", "it says what the pre-trained model is"),
    ("method=prelar", "latent_action.posterior=deterministic", "it says what the pre-trained model is"),
    ("method=isodream loss.kl_scale=0", "loss.kl_balance=0.5", "no KL loss"),
]
WITH_EFFECT = [
    "method=contextwm context.heads=2", "method=contextwm intrinsic.window=3", "method=contextwm reward.dual_scale=0.5",
    "method=apv reward.dual=true reward.dual_scale=0.5", "method=apv loss.action_free_kl_scale=0.5 concat_embed=true",
    "method=dreamerv2 behavior.discount_head=true loss.discount_scale=0.5",
]  # fmt: skip


def finetuning(words: Iterable[str]) -> None:
    plan_finetuning("tiny", "dmc/cartpole_balance", overrides=words, init="none")


@pytest.mark.parametrize(("others", "setting", "why"), [*WITHOUT_EFFECT, *OF_PRETRAINING])
def test_pretraining_refuses_what_it_would_not_look_at(others: str, setting: str, why: str) -> None:
    plan_pretraining("tiny", overrides=others.split())
    with pytest.raises(ConfigError, match=why) as caught:
        plan_pretraining("tiny", overrides=[*others.split(), setting])
    assert caught.value.fix == f"leave {setting.partition('=')[0]} out"


@pytest.mark.parametrize(("others", "setting", "why"), [*WITHOUT_EFFECT, *OF_AGENTS])
def test_finetuning_refuses_what_it_would_not_look_at(others: str, setting: str, why: str) -> None:
    finetuning(others.split())
    with pytest.raises(ConfigError, match=why) as caught:
        finetuning([*others.split(), setting])
    assert caught.value.fix == f"leave {setting.partition('=')[0]} out"


@pytest.mark.parametrize("settings", WITH_EFFECT)
def test_settings_that_act_are_taken(settings: str) -> None:
    finetuning(settings.split())


def test_windows_may_be_short_where_there_is_no_bonus() -> None:
    with pytest.raises(ConfigError, match=r"replay\.length 3 is shorter than intrinsic\.window 5"):
        finetuning(["method=contextwm", "replay.length=3", "intrinsic.window=5"])
    finetuning(["method=contextwm", "replay.length=3", "intrinsic.beta=0"])
    finetuning(["method=dreamerv2", "replay.length=3"])


def test_batch_statistics_over_processes_need_cuda() -> None:
    check_sync_batch_norm(torch.device("cuda"))
    with pytest.raises(ConfigError, match=r"sync_batch_norm is true, and the run computes on cpu"):
        check_sync_batch_norm(torch.device("cpu"))


def test_the_decoder_that_ficc_trains_has_a_size() -> None:
    plan_pretraining("tiny", overrides=["method=uwm", "loss=ficc", "features.pixels.width=64"])
    with pytest.raises(ConfigError, match=r"features\.pixels\.width is set"):
        plan_pretraining("tiny", overrides=["method=uwm", "features.pixels.width=64"])


@pytest.mark.parametrize("task", ["highway/highway", "gym/Pendulum-v1"])
def test_suites_that_draw_in_one_way_have_no_profiles(task: str) -> None:
    plan_finetuning("tiny", task, overrides=["method=dreamerv2"])
    with pytest.raises(ConfigError, match=r"env\.render_profile is set, and .* in (one|its own) way"):
        plan_finetuning("tiny", task, overrides=["method=dreamerv2", "env.render_profile=faithful"])


def test_an_agent_of_somebody_elses_loop_has_the_same_rules() -> None:
    with pytest.raises(ConfigError, match=r"intrinsic\.beta is set, and dreamerv2 has no bonus"):
        build_agent("tiny", {"method": "dreamerv2", "intrinsic.beta": 3.0}, None, 2)
