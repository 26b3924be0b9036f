"""Settings that change nothing under the others are refused, by every command that trains."""

from __future__ import annotations

import pytest

from ipv_bench.errors import ConfigError
from models.finetuning.plan import plan_finetuning
from models.pretraining.plan import plan_pretraining


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("beta_a is set, and latent_action.posterior=deterministic has no KL",
         ["method=prelar", "latent_action.posterior=deterministic", "latent_action.beta_a=3"]),
        ("features.layer is set, and features.kind=own does not look", ["method=uwm", "features.layer=2"]),
        ("features.pixels.width is set, and features.kind=own", ["method=uwm", "features.pixels.width=32"]),
        ("features.own.updates is set, and loss=ficc", ["method=uwm", "loss=ficc", "features.own.updates=9"]),
        ("state_loss.normalised is set, and loss=ficc", ["method=uwm", "loss=ficc", "state_loss.normalised=false"]),
        ("state_loss.decay is set, and state_loss.normalised=false",
         ["method=uwm", "state_loss.normalised=false", "state_loss.decay=0.5"]),
    ],
)  # fmt: skip
def test_pretrain(words: str, changes: list[str]) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_pretraining("tiny", overrides=changes)
    assert plan_pretraining("tiny", overrides=changes[:-1]).config  # without the last one


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (
            "align_updates is set, and latent_action.align is none: it is for warmstart",
            ["latent_action.align_updates=7"],
        ),
        ("align_scale is set, and latent_action.align is none: it is for nll", ["latent_action.align_scale=2"]),
        ("intrinsic.features is set, and intrinsic.beta=0", ["intrinsic.beta=0", "intrinsic.features=feat"]),
    ],
)
def test_finetune(words: str, changes: list[str]) -> None:
    def plan(*own: str) -> object:
        return plan_finetuning("tiny", "dmc/cheetah_run", overrides=["method=prelar", *own], init="none")

    with pytest.raises(ConfigError, match=words):
        plan(*changes)
    assert plan(*changes[:-1])
