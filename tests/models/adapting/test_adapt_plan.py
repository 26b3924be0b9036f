"""What `adapt` resolves and refuses before it looks at a video."""

from __future__ import annotations

from typing import Any

import pytest

from ipv_bench.errors import ConfigError, UsageError
from models.adapting.config import resolve_adapting
from models.adapting.plan import plan_adapting


def test_uwm_of_the_papers_size_is_adapted_as_long_as_its_documents_say():
    found = {"method": "uwm", "image": {"size": 224}, "features": {"kind": "mae", "name": "x"},
             "data": {"length": 2, "batch_size": 256}, "validation": {"warmup": 1}}  # fmt: skip

    def resolved(preset: str, **changes: Any) -> tuple[int, int]:
        config = resolve_adapting("uwm", found, preset, {"data.sets": ["x"], **changes}).config
        return config.training.updates, config.data.batch_size

    assert resolved("paper") == resolved("paper", parts="adapter") == (20_000, 128)
    assert resolved("paper", parts="dynamics") == (5_000, 256)
    assert resolved("paper", **{"training.updates": 7, "data.batch_size": 9}) == (7, 9)
    assert resolved("tiny") == (1000, 256)


def test_what_uwms_parts_do_not_look_at_is_refused(tmp_path):
    def plan(*changes: str) -> Any:
        return plan_adapting("none", data=[tmp_path], overrides=["method=uwm", *changes])

    for words, changes in (
        ("adapter.finetune_decoder is set, and parts=dynamics trains no adapter",
         ["parts=dynamics", "adapter.finetune_decoder=true"]),
        ("training.encoder_frozen_updates is set, and nothing of uwm waits", ["training.encoder_frozen_updates=5"]),
        ("encoder_frozen_updates is set", ["parts=dynamics", "training.encoder_frozen_updates=5"]),
        ("optimizer.lr is set, and parts=adapter trains by adapter.optimizer", ["optimizer.lr=0.1"]),
        ("quantizer.commitment is set, and", ["parts=adapter", "quantizer.commitment=1"]),
        ("adapter.layers is set, and adapter.kind=mlp", ["adapter.kind=mlp", "adapter.layers=3"]),
        ("features.layer is set, and features.kind=own does not", ["features.layer=2"]),
        ("features.pixels.width is set, and features.kind=own does not", ["features.pixels.width=32"]),
        ("features.own.updates is set, and features.kind=alex does", ["features.kind=alex", "features.own.updates=9"]),
        ("preset is tiny/dmc, and uwm has no agent", ["preset=tiny/dmc"]),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            plan(*changes)
    assert plan("parts=dynamics", "optimizer.lr=0.1").config.optimizer.lr == 0.1


def test_parts_that_are_spelled_out_are_the_run_of_the_default(tmp_path):
    def described(*changes: str) -> str:
        return plan_adapting("none", data=[tmp_path], overrides=["method=apv", *changes]).describe()

    assert described("parts=world_model") == described()


def test_parts_that_would_leave_random_weights_are_refused(tmp_path):
    for method, parts, held in (("uwm", "adapter", "action extractor"), ("prelar", "dynamics", "the image networks")):
        with pytest.raises(UsageError, match=f"parts={parts} leaves {held}.* starts from random weights"):
            plan_adapting("none", data=[tmp_path], overrides=[f"method={method}", f"parts={parts}"])


def test_a_run_in_which_what_waits_never_learns_says_so(tmp_path, capsys):
    waits = ["method=prelar", "training.encoder_frozen_updates=100"]
    plan_adapting("none", data=[tmp_path], overrides=[*waits, "training.updates=100"])
    assert "all 100 updates lie before training.encoder_frozen_updates=100" in capsys.readouterr().err
    plan_adapting("none", data=[tmp_path], overrides=[*waits, "training.updates=101"])
    assert not capsys.readouterr().err


def test_what_learns_from_a_pretrained_model_is_refused_beside_random_weights_before_anything_starts(tmp_path):
    for change in "latent_action.align=warmstart", "latent_action.align=nll":
        with pytest.raises(
            UsageError, match=f"{change} learns from a pre-trained model, .* starts from random weights"
        ):
            plan_adapting("none", data=[tmp_path], overrides=["method=prelar", change])


def test_what_training_on_labelled_videos_alone_does_not_look_at_is_refused(tmp_path):
    def plan(*changes: str) -> Any:
        return plan_adapting("none", data=[tmp_path], overrides=["method=prelar", *changes])

    for words, change in (
        ("behavior.horizon is set, and adapt trains no behaviour", "behavior.horizon=5"),
        ("intrinsic.beta is set, and adapt trains no behaviour", "intrinsic.beta=3"),
        ("reward.gain is set, and adapt has no rewards", "reward.gain=2"),
        ("reward.units is set, and adapt has no rewards", "reward.units=32"),
        ("loss.discount_scale is set, and adapt has no rewards", "loss.discount_scale=2"),
        ("align_updates is set, and a warm start is for agents", "latent_action.align_updates=7"),
        ("latent_action.inputs is set, and nothing looks at latent actions", "latent_action.inputs=diff"),
        ("latent_action.align_scale is set, and nothing looks", "latent_action.align_scale=7"),
    ):
        with pytest.raises(ConfigError, match=words):
            plan(change)
