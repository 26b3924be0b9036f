"""What is said of episodes that ended by themselves, to an agent that does not predict ends."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from models.finetuning.config import resolve_finetuning
from models.finetuning.unlearned_ends import unlearned_ends


def config(method: str, **behavior: bool) -> object:
    values = {"method": method, **{f"behavior.{key}": value for key, value in behavior.items()}}
    return resolve_finetuning("tiny", "dmc", overrides=values).config


LINES = [{"updates": 3}, *({"episode": n, "train_ended": int(n < 3)} for n in range(20))]


@pytest.mark.parametrize("method", ["dreamerv2", "contextwm", "isodream"])
def test_ends_that_are_not_predicted_are_a_warning_with_what_to_set(method: str) -> None:
    found = unlearned_ends(LINES, config(method))
    assert (found["episodes"], found["of"]) == (3, 20)
    assert found["warning"].startswith("3 of 20 training episodes ended before their time limit")
    assert "behavior.discount_head=true" in found["warning"]
    assert unlearned_ends(LINES, config(method, discount_head=True)) == {}
    assert unlearned_ends([line | {"train_ended": 0} for line in LINES[1:]], config(method)) == {}
    assert unlearned_ends(LINES[2:], config(method))["of"] == 19
    assert unlearned_ends(LINES[3:], config(method)) == {}  # 1 of 18: no more than a tenth
    assert unlearned_ends([], config(method)) == {}


def test_a_method_that_imagines_nothing_needs_no_such_head() -> None:
    assert unlearned_ends(LINES, config("drqv2")) == {}


def test_a_behavior_of_another_package_need_not_have_such_a_switch() -> None:
    assert unlearned_ends(LINES, SimpleNamespace(behavior=SimpleNamespace(temperature=1.0))) == {}
    assert unlearned_ends(LINES, SimpleNamespace(behavior=None)) == {}
