"""Records of older versions beside today's configs: what came later is known, with the value that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ipv_bench.came_later import CAME_LATER, with_later_fields
from ipv_bench.config import flatten, flatten_fields
from ipv_bench.run_record import RunRecord
from models.adapting.config import adapt_config_class
from models.finetuning.config import finetune_config_class, resource_keys, saved_config
from models.finetuning.plan import plan_finetuning
from models.pretraining.config import RESOURCE_KEYS, RESUMABLE_KEYS, pretrain_config_class, resolve_pretraining
from models.world_models.config import variant

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
NEW_MEANING: tuple[str, ...] = ()
"""Fields that came later and have no value under which today's code does what that of a record without them did. Such
runs do not go on: name the field here, and in CHANGELOG.md what to do."""
GONE = ("replay.newest",)
"""Fields that a kept record has, of a setting that was tried and never landed."""


def kept_records() -> list[RunRecord]:
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.rglob("run.json"))]
    return [RunRecord.model_validate(one) for one in found if one.get("config")]


def config_class(record: RunRecord) -> Any:
    if record.kind == "finetune":
        return finetune_config_class(record.method, record.suite)
    return (pretrain_config_class if record.kind == "pretrain" else adapt_config_class)(record.method)


def test_every_field_that_kept_records_lack_is_known_as_later() -> None:
    records = kept_records()
    assert {record.kind for record in records} == {"pretrain", "finetune", "adapt"}
    new = {
        (record.kind, record.method, key)
        for record in records
        for key in flatten_fields(config_class(record)).keys() - flatten(record.config).keys()
    }
    assert new  # among them are records of before some fields
    assert {one for one in new if one[2] not in CAME_LATER and one[2] not in NEW_MEANING} == set()


def test_an_older_run_goes_on_under_its_own_values() -> None:
    """Whatever came later has, for today's reader of a record, the value that a comparison gives it."""
    for record in kept_records():
        if record.kind == "finetune":
            old = {key: value for key, value in flatten(record.config).items() if key not in GONE}
            config = json.loads(json.dumps(record.config))
            config.get("replay", {}).pop("newest", None)
            today = saved_config(record.model_copy(update={"config": config})).model_dump(mode="json")
            known = with_later_fields(old, today)
            assert {key: known[key] for key in flatten(today)} == flatten(today), record.model_dump()["git_commit"]


def test_how_kernels_are_run_names_no_run_and_binds_none(tmp_path: Path) -> None:
    changes = {"method": "dreamerv2", "training.deterministic": True, "training.cuda_graph": "auto"}
    plan = plan_finetuning("tiny", "dmc/cheetah_run", overrides=changes, root=tmp_path)
    assert plan.record.variant == ""
    assert {"training.deterministic", "training.cuda_graph"} <= set(resource_keys(plan.config)) & set(RESUMABLE_KEYS)
    assert variant(resolve_pretraining("tiny", overrides={"training.deterministic": True}), RESOURCE_KEYS) == ""


@pytest.mark.parametrize(("method", "goes_on"), [("contextwm", True), ("apv", True), ("dreamerv2", False)])
def test_a_run_of_before_there_were_kinds_of_networks_is_a_residual_one(method: str, goes_on: bool) -> None:
    today = finetune_config_class(method)().model_dump(mode="json")
    old = {key: value for key, value in flatten(today).items() if key not in ("encoder.kind", "finetuning")}
    assert (with_later_fields(old, today) == flatten(today)) is goes_on
