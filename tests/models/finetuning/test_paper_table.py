"""Table 2 beside ours: what differs has a reason, what is equal says so, and the docs have the same rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipv_bench.cli import run
from models.finetuning.config import resolve_finetuning
from models.finetuning.paper_table import SUITES, table_2
from models.nets.resnet import EncoderConfig, ImageEncoder
from models.pretraining.config import resolve_pretraining
from models.world_models.encoder_table import encoder_table
from models.world_models.video import VideoWorldModel

DOCS = Path(__file__).parents[3] / "docs" / "methods"


def rows(suite: str, method: str = "contextwm", **overrides: object) -> dict[str, dict[str, object]]:
    config = resolve_finetuning("paper", suite, parts=(suite,), overrides={"method": method, **overrides}).config
    return {str(row["key"]): row for row in table_2(config, suite)}


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("method", ["contextwm", "apv", "dreamerv2"])
def test_the_paper_preset_departs_only_with_a_reason(method: str, suite: str):
    found = rows(suite, method)
    assert [key for key, row in found.items() if row["differs"] and not row["why"]] == []
    assert {"training.env_steps", "training.precision"} <= {key for key, row in found.items() if row["differs"]}


def test_values_of_the_paper_and_of_its_code_where_they_part():
    prefill = rows("dmcr")["training.prefill"]
    assert (prefill["paper"], prefill["released"], prefill["here"]) == ("1,000 environment steps", 1000, 1000)
    assert prefill["differs"]
    assert "agent steps" in str(prefill["why"])
    assert not rows("metaworld")["training.prefill"]["differs"]
    assert rows("metaworld")["loss.free_nats"] | {"name": ""} == {
        "name": "", "key": "loss.free_nats", "paper": "", "source": "code", "released": 0.0, "here": 0.0,
        "differs": False, "why": "",
    }  # fmt: skip
    assert rows("dmcr", "dreamerv2")["replay.capacity"]["here"] == 2_000_000
    assert rows("dmcr", "dreamerv2")["replay.capacity"]["differs"]
    assert rows("carla")["evaluation.episodes"]["paper"] == "5"
    assert "intrinsic.beta" not in rows("metaworld", "dreamerv2")
    assert "reward.dual_scale" not in rows("metaworld", "apv")


def test_a_changed_value_is_marked():
    assert rows("metaworld", **{"behavior.horizon": 10})["behavior.horizon"]["differs"]
    assert rows("dmcr", **{"loss.free_nats": 0.0})["loss.free_nats"]["differs"]


def test_dry_run_prints_the_table_beside_the_json(capsys: pytest.CaptureFixture[str]):
    assert run(["finetune", "--preset", "paper", "--task", "metaworld/reach", "--init", "none", "--dry-run"]) == 0
    printed = capsys.readouterr()
    shown = json.loads(printed.out)
    assert {row["key"] for row in shown["table_2"]} >= {"replay.capacity", "behavior.lam"}
    assert printed.err.startswith("ContextWM, fine-tuning on metaworld (arXiv:2305.18499)\n")
    capacity = next(line for line in printed.err.splitlines() if line.startswith("replay buffer capacity"))
    assert capacity.split() == ["replay", "buffer", "capacity", "1e6", "Table", "2", "1000000", "=", "1000000"]
    assert run(["finetune", "--preset", "tiny", "--task", "dmc/walker_run", "--init", "none", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["table_2"] == []


def test_prelar_stands_beside_its_own_release(capsys: pytest.CaptureFixture[str]):
    command = ["finetune", "--preset", "paper", "--set", "method=prelar", "--init", "none", "--dry-run"]
    assert run([*command, "--task", "metaworld/reach"]) == 0
    printed = capsys.readouterr()
    found = {row["key"]: row for row in json.loads(printed.out)["table_2"]}
    assert found["latent_action.align"] | {"name": ""} == {
        "name": "", "key": "latent_action.align", "paper": "", "source": "P:60", "released": "none", "here": "none",
        "differs": False, "why": "",
    }  # fmt: skip
    assert [key for key, row in found.items() if row["differs"]] == ["training.precision"]
    assert printed.err.startswith("PreLAR's release (commit fb9c4d2), fine-tuning on metaworld\n")
    assert "arXiv" not in printed.err
    assert run([*command, "--task", "dmc/walker_run"]) == 0  # not in the release
    assert json.loads(capsys.readouterr().out)["table_2"] == []


@pytest.mark.parametrize("suite", SUITES)
def test_the_docs_have_the_same_rows(suite: str):
    text = (DOCS / "contextwm.md").read_text()
    for row in rows(suite).values():
        released = "–" if row["released"] is None else row["released"]
        mark = "≠" if row["differs"] else "="
        assert f"| {row['name']} | {row['paper'] or '–'} | {released} | {mark} {row['here']} | `{row['key']}` |" in text


def test_table_1_is_that_of_the_model_which_is_built():
    config = resolve_pretraining("paper").config
    found = encoder_table(VideoWorldModel(config).vision.encoder, 64)
    assert found == [
        ("conv_in", "32x32", "3x3, 48, stride 2"),
        ("stage1", "16x16", "[3x3, 48; 3x3, 48] x 2, average pool 2x2"),
        ("stage2", "8x8", "[3x3, 96; 3x3, 96] x 2, average pool 2x2"),
        ("stage3", "4x4", "[3x3, 192; 3x3, 192] x 2, average pool 2x2"),
    ]
    text = (DOCS / "pretraining.md").read_text()
    for row in found:
        assert f"| {' | '.join(row)} |" in text
    narrow = encoder_table(ImageEncoder(EncoderConfig(cnn_depth=8, blocks=1), 32), 32)
    assert narrow[1] == ("stage1", "8x8", "[3x3, 8; 3x3, 8] x 1, average pool 2x2")
    assert encoder_table(ImageEncoder(EncoderConfig(cnn_depth=8, blocks=0), 32), 32) == []
