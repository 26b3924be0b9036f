"""Compiled updates: one graph without breaks, loops' bodies built once, the eager numbers, and what a machine needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from ipv_bench import compilers
from ipv_bench.compilers import compiler_problem
from ipv_bench.doctor_machine import compiler
from ipv_bench.errors import ConfigError
from models.finetune import build_agent
from models.nets.loop_body import apart, loop_body
from models.pretrain import build_training
from models.training.compiled import compiled
from models.training.hardware import check_compile
from tests.models.agents.test_agent import ACTION_DIM, batch_of, small_agent
from tests.models.isolation import small_isodream as isodream
from tests.models.methods.drqv2 import small_drqv2 as drqv2
from tests.models.pretraining.small_pretraining import SMALL

COMPILE = {"training.compile": True}
TRAINED = {"training.encoder_frozen_updates": 0, "behavior.horizon": 3}


BUILT = pytest.mark.skipif(bool(compiler_problem()), reason=f"nothing can be built here: {compiler_problem()}")
"""Tests in which inductor builds its kernels with a C++ compiler."""


def trace_only(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Compiled functions are traced, a break is an error, and what was traced runs as it is.

    Returns a list that gets, for each graph, how often it calls bodies of loops, and how many bodies these are.
    """
    found: list[tuple[int, int]] = []

    def run(graph: torch.fx.GraphModule, inputs: list[Any], **_: Any) -> Callable[..., Any]:
        calls = [node for node in graph.graph.nodes if node.target is torch.ops.higher_order.invoke_subgraph]
        for node in calls:  # alone, without what torch puts before a compiler, such a call does not run
            body, _, *given = node.args
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.call_module(body.target, tuple(given)))
        found.append((len(calls), len({node.args[0].target for node in calls})))
        for node in calls:
            graph.graph.erase_node(node)
        graph.recompile()
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=run, fullgraph=True))
    return found


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("method", [pytest.param("contextwm", marks=pytest.mark.slow), "dreamerv2"])
def test_an_agents_update_is_two_graphs_without_breaks_with_the_same_numbers(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One for the world model, one for actor and critic.
    graphs = trace_only(monkeypatch)
    counters.clear()
    plain, compiled = small_agent(method, **TRAINED), small_agent(method, **TRAINED, **COMPILE)
    for number in range(2):
        told = [agent.update(batch_of(number, length=5)) for agent in (plain, compiled)]
        assert told[1] == pytest.approx(told[0], rel=1e-3, abs=1e-5)
    assert not counters["graph_break"]
    # A first step starts from zeros, or from detached states, and is another body: called once, it is written out.
    loops = 2 if method == "contextwm" else 1
    assert graphs == [(4 * loops, loops), (2, 1)]
    if method == "contextwm":  # a compiled bonus remembers
        before, after = (agent.model.intrinsic_bonus.state_dict() for agent in (plain, compiled))
        for name, value in before.items():
            torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
def test_an_isodream_update_has_no_breaks_either(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = trace_only(monkeypatch)
    counters.clear()
    changes = {"isolation.free_steps": 2, "isolation.action_steps": 2, "behavior.horizon": 3}
    plain, compiled = isodream.small_agent(**changes), isodream.small_agent(**changes, **COMPILE)
    for number in range(2):
        told = [agent.update(isodream.batch_of(number, length=4)) for agent in (plain, compiled)]
        assert told[1] == pytest.approx(told[0], rel=1e-3, abs=1e-5)
    assert not counters["graph_break"]
    assert all(0 < bodies < calls for calls, bodies in graphs)


def test_a_drqv2_update_is_two_graphs_without_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for the critics, one for the actor; the falling noise is an input of both, so nothing is traced again."""
    graphs = trace_only(monkeypatch)
    counters.clear()
    plain, compiled = drqv2.small_agent(), drqv2.small_agent(**COMPILE)
    for number in range(3):
        for agent in (plain, compiled):
            agent.see_steps(10 * number)
        told = [agent.update(drqv2.batch_of(6, seed=number)) for agent in (plain, compiled)]
        assert told[1] == pytest.approx(told[0], rel=1e-3, abs=1e-5)
    assert not counters["graph_break"]
    assert len(graphs) == 2


class Recurrence(nn.Module):
    """A state that is a result and is kept for the backward pass, then a product that could take its memory."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    @loop_body
    def step(self, state: Tensor, noise: Tensor) -> Tensor:
        return torch.tanh(self.linear(state) + noise)

    def forward(self, noise: Tensor) -> Tensor:
        state, states = noise[0], []
        for row in noise:
            state = self.step(state, apart(row))
            states.append(state)
        return (self.linear(torch.stack(states, 1)[:, 0]) * state).sum()


@BUILT
@pytest.mark.slow
def test_a_loops_built_gradients_are_the_eager_ones() -> None:
    model, noise = Recurrence(), torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(0))
    values = [function(noise) for function in (model, compiled(model))]
    torch.testing.assert_close(values[1], values[0])
    gradients = [torch.autograd.grad(value, list(model.parameters())) for value in values]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of first moments, each as a share of its norm: after one update they are gradients."""
    moments = {name: value for name, value in one.items() if name.endswith("exp_avg") and value.any()}
    assert len(moments) > 20
    return max(float((other[name] - value).norm() / value.norm()) for name, value in moments.items())


@BUILT
@pytest.mark.slow
def test_a_built_pretraining_update_of_tiny_has_the_eager_gradients() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (8, 12, 64, 64, 3), np.uint8)
    settings = {"method": "contextwm", "training.threads": 1, "training.device": "cpu"}
    trainings = [build_training("tiny", settings | changes) for changes in ({}, COMPILE)]
    told = [training.step(batch) for training in trainings]
    assert told[1] == pytest.approx(told[0], rel=1e-4)
    assert difference(*(training.optimizer_tensors() for training in trainings)) < 1e-3


@BUILT
@pytest.mark.slow
@pytest.mark.parametrize("method", ["dreamerv2", "contextwm"])
def test_a_built_agents_update_of_tiny_has_the_eager_gradients(method: str) -> None:
    settings = {"method": method, "training.threads": 1, "training.device": "cpu"}
    agents = [build_agent("tiny", settings | changes, (64, 64, 3), ACTION_DIM) for changes in ({}, COMPILE)]
    told = [agent.update(batch_of(0, batch=8, length=8)) for agent in agents]
    assert told[1] == pytest.approx(told[0], rel=1e-3, abs=1e-5)
    assert difference(*(agent.optimizer_tensors() for agent in agents)) < 1e-3


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
