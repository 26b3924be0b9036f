"""Presets against the paper's table, the resolved fusion, variant names, and `pretrain --dry-run`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.config import flatten
from ipv_bench.errors import ConfigError
from models.finetuning.config import resolve_finetuning
from models.methods.base import find_method
from models.methods.published_pretraining import CONTEXTWM
from models.pretraining.config import RESOURCE_KEYS, resolve_pretraining
from models.world_models.config import variant

DOCS = Path(__file__).parents[3] / "docs" / "methods" / "pretraining.md"


@pytest.mark.parametrize("method", ["contextwm", "apv", "prelar"])
def test_the_paper_preset_equals_what_was_published(method: str) -> None:
    values = flatten(resolve_pretraining("paper", overrides={"method": method}).config.model_dump(mode="json"))
    rows = find_method(method).published_pretraining.rows  # type: ignore[attr-defined]
    differing = {row.key: row.expected for row in rows if values[row.key] != row.expected}
    assert differing == {row.key: row.expected for row in rows if row.why}


def test_a_method_may_have_settings_of_its_own_in_a_preset() -> None:
    prelar = resolve_pretraining("tiny", overrides={"method": "prelar"})
    values, others = (
        flatten(one.config.model_dump(mode="json"))
        for one in (prelar, resolve_pretraining("tiny", overrides={"method": "apv"}))
    )
    assert values["latent_action.beta_a"] == 0.25
    assert values["image.gain"] == others["image.gain"] == 4.0
    assert values["training.updates"] == others["training.updates"]
    assert variant(prelar, RESOURCE_KEYS) == ""  # the preset's own value is no change of it
    by_rule = resolve_pretraining("tiny", overrides={"method": "prelar", "latent_action.beta_a": None})
    assert by_rule.overrides["latent_action.beta_a"] is None


def test_ficc_brings_its_published_codebook_under_what_the_user_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ficc = {"method": "uwm", "loss": "ficc"}
    published = {
        "features.kind": "own", "extractor.num_codes": 1, "quantizer.codes": 20, "quantizer.commitment": 1.0,
        "quantizer.restart_below": 0.0,
    }  # fmt: skip
    plain = resolve_pretraining("tiny", overrides={"method": "uwm"})
    assert (plain.config.quantizer.codes, plain.config.extractor.num_codes) == (64, 4)  # type: ignore[attr-defined]
    for preset in ("tiny", "small", "paper"):  # paper's features are not its own
        resolved = resolve_pretraining(preset, overrides=ficc)
        values = flatten(resolved.config.model_dump(mode="json"))
        assert {key: values[key] for key in published} == published
        assert variant(resolved, RESOURCE_KEYS) == "loss=ficc"  # what came along is no change of it
    one = resolve_pretraining("tiny", overrides=ficc | {"quantizer.codes": 64})  # as `tiny` has it without ficc
    assert (one.config.quantizer.codes, one.config.quantizer.commitment) == (64, 1.0)  # type: ignore[attr-defined]
    assert variant(one, RESOURCE_KEYS) == "loss=ficc,quantizer.codes=64"
    file = tmp_path / "ficc.yaml"
    file.write_text("method: uwm\nloss: ficc\nquantizer: {commitment: 0.5}\n")
    capsys.readouterr()
    assert run(["pretrain", "--preset", "paper", "--config", str(file), "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)["config"]
    assert (shown["quantizer"]["codes"], shown["quantizer"]["commitment"]) == (20, 0.5)
    with pytest.raises(ConfigError, match="one code for an action"):
        resolve_pretraining("tiny", overrides=ficc | {"extractor.num_codes": 2})


def test_the_dry_run_of_each_method_shows_its_own_publication(capsys: pytest.CaptureFixture[str]) -> None:
    for method, title in (("prelar", "PreLAR, pre-training (its release"), ("apv", "APV, the vanilla world model")):
        assert run(["pretrain", "--preset", "paper", "--set", f"method={method}", "--dry-run"]) == 0
        table = capsys.readouterr().out.partition("\n\n")[0]
        assert table.startswith(title)
        assert "ContextWM, pre-training" not in table
        assert ("latent_action.beta_a" in table) == (method == "prelar")
    assert "1,200,000, R:128" in table  # what the release did stands beside what its paper says


def test_the_paper_table_stands_in_the_docs() -> None:
    text = DOCS.read_text()
    for row in CONTEXTWM.rows:
        assert f"| {row.name} | {row.value} | `{row.key}` | {row.source} |" in text


def test_dry_run_prints_the_table_and_the_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "pretrain",
        "--preset",
        "paper",
        "--set",
        "optimizer.lr=0.001",
        "--run",
        str(tmp_path / "run"),
        "--dry-run",
    ]
    assert run(command) == 0
    printed = capsys.readouterr().out
    table, _, rest = printed.partition("\n\n")
    lines = {line.split("  ")[0]: line for line in table.splitlines()}
    assert " ≠ " in lines["learning rate"]
    assert sum(" = " in line for line in lines.values()) == len(CONTEXTWM.rows) - 1
    shown = json.loads(rest)
    assert shown["overrides"] == {"optimizer.lr": 0.001}
    assert shown["config"]["data"]["length"] == 25
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "fusion", "name"),
    [
        ({}, "cross_attention", ""),
        ({"method": "apv"}, "none", ""),
        ({"method": "contextwm", "context.fusion": "concat"}, "concat", "context.fusion=concat"),
        ({"method": "apv", "data.num_videos": 1500}, "none", "data.num_videos=1500"),
        ({"training.device": "cpu", "data.workers": 3, "validation.every": 7}, "cross_attention", ""),
        ({"data.sets": ["elsewhere"]}, "cross_attention", ""),
    ],
)
def test_fusion_follows_the_method_and_names_say_what_was_changed(
    overrides: dict[str, object], fusion: str, name: str
) -> None:
    resolved = resolve_pretraining("tiny", overrides=overrides)
    assert resolved.config.context.fusion == fusion
    assert variant(resolved, RESOURCE_KEYS) == name


def test_both_tiny_presets_have_the_same_world_model() -> None:
    first = resolve_pretraining("tiny").config
    second = resolve_finetuning("tiny").config
    for section in ("image", "encoder", "decoder", "rssm", "context"):
        assert getattr(first, section) == getattr(second, section), section


def test_a_checkpoint_is_taken_at_least_every_ten_minutes() -> None:
    with pytest.raises(ConfigError, match=r"training\.checkpoint_minutes"):
        resolve_pretraining("tiny", overrides={"training.checkpoint_minutes": 11})
