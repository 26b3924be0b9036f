"""Compiled updates: one graph without breaks, the eager numbers, and what they need on the machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from ipv_bench import compilers
from ipv_bench.doctor_machine import compiler
from ipv_bench.errors import ConfigError
from models.pretrain import build_training
from models.training.hardware import check_compile
from tests.models.agents.test_agent import batch_of, small_agent
from tests.models.isolation import small_isodream as isodream
from tests.models.pretraining.small_pretraining import SMALL

COMPILE = {"training.compile": True}
TRAINED = {"training.encoder_frozen_updates": 0, "behavior.horizon": 3}


def trace_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled functions are traced, a break is an error, and what was traced runs as it is."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("method", [pytest.param("contextwm", marks=pytest.mark.slow), "dreamerv2"])
def test_an_agents_update_is_two_graphs_without_breaks_with_the_same_numbers(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One for the world model, one for actor and critic.
    trace_only(monkeypatch)
    counters.clear()
    plain, compiled = small_agent(method, **TRAINED), small_agent(method, **TRAINED, **COMPILE)
    for number in range(2):
        told = [agent.update(batch_of(number, length=5)) for agent in (plain, compiled)]
        assert told[1] == pytest.approx(told[0], rel=1e-3, abs=1e-5)
    assert not counters["graph_break"]
    if method == "contextwm":  # a compiled bonus remembers
        before, after = (agent.model.intrinsic_bonus.state_dict() for agent in (plain, compiled))
        for name, value in before.items():
            torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
def test_an_isodream_update_has_no_breaks_either(monkeypatch: pytest.MonkeyPatch) -> None:
    trace_only(monkeypatch)
    counters.clear()
    changes = {"isolation.free_steps": 2, "isolation.action_steps": 2, "behavior.horizon": 2}
    plain, compiled = isodream.small_agent(**changes), isodream.small_agent(**changes, **COMPILE)
    for number in range(2):
        told = [agent.update(isodream.batch_of(number, length=4)) for agent in (plain, compiled)]
        assert told[1] == pytest.approx(told[0], rel=1e-3, abs=1e-5)
    assert not counters["graph_break"]


def test_a_missing_compiler_is_said_by_the_doctor_and_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    check = next(compiler())
    assert (check.state, check.optional) == ("missing", True)
    assert "no-such-compiler" in check.found
    assert "apt-get install g++" in check.fix
    with pytest.raises(ConfigError, match="no-such-compiler") as error:
        build_training("tiny", SMALL | COMPILE)
    assert "training.compile=false" in str(error.value.fix)


def test_missing_headers_of_python_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = tmp_path / "c++"
    found.write_text("")
    found.chmod(0o755)
    monkeypatch.setenv("CXX", str(found))
    monkeypatch.setattr(compilers.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(ConfigError, match="Python's headers"):
        check_compile()
    (tmp_path / "Python.h").write_text("")
    check_compile()
    assert next(compiler()).state == "ok"
