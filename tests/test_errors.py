"""Errors that a user can cause say what was found, what was expected and what to do, wherever they are raised."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ipv_bench", "pipelines", "models", "reports")
PARTS = frozenset({"expected", "fix"})
Exempt = Mapping[Any, frozenset[str]]

BY_CLASS = {
    "UnknownNameError": PARTS,  # makes both itself, of the names that are known
    "NamesError": PARTS,  # makes both itself, of the log's path
    "InterruptedRunError": frozenset({"expected"}),  # the user has stopped it: nothing else was expected
    "EpisodeLostError": PARTS,  # the training loop begins the episode again; evaluations tell of theirs
}
"""Class → parts that its calls need not bring."""
BY_PLACE = {
    ("ipv_bench/sweeps/plan.py", "_command"): PARTS,  # shows another command's message, whole
}
"""(File, function) → parts that its errors need not bring."""


def error_classes(trees: Mapping[str, ast.Module]) -> set[str]:
    """Names of `IpvBenchError` and of all that derive from it."""
    known = {"IpvBenchError"}
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while more := {one.name for one in classes if known & {_name(base) for base in one.bases}} - known:
        known |= more
    return known


def incomplete(
    file: str, tree: ast.Module, classes: set[str], by_class: Exempt = BY_CLASS, by_place: Exempt = BY_PLACE
) -> Iterator[str]:
    """Where an error is made without `expected` or `fix`, neither being exempt."""
    for function, call in _calls(tree, "the module"):
        kind = _name(call.func)
        # Readers raise the kind of error that their caller gives them under this name.
        if kind not in classes and not (isinstance(call.func, ast.Name) and kind == "error"):
            continue
        given = {
            one.arg for one in call.keywords if not (isinstance(one.value, ast.Constant) and one.value.value == "")
        }
        needed = PARTS - by_class.get(kind, frozenset()) - by_place.get((file, function), frozenset())
        if None not in given and not needed <= given:
            yield f"{file}:{call.lineno} {kind} in {function} lacks {' and '.join(sorted(needed - given))}"


def _calls(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(child, ast.Call):
            yield inside, child
        yield from _calls(child, inside)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in paths}


def test_every_error_says_what_was_expected_and_what_to_do(trees: dict[str, ast.Module]) -> None:
    classes = error_classes(trees)
    found = [line for file, tree in trees.items() for line in incomplete(file, tree, classes)]
    assert not found, "give these `expected=` and `fix=`, or name them above with a reason:\n" + "\n".join(found)


def test_nothing_is_exempt_that_need_not_be(trees: dict[str, ast.Module]) -> None:
    classes = error_classes(trees)
    found = [line for file, tree in trees.items() for line in incomplete(file, tree, classes, {}, {})]
    for kind in BY_CLASS:
        assert any(f" {kind} in " in line for line in found), kind
    for file, function in BY_PLACE:
        assert any(line.startswith(f"{file}:") and f" in {function} lacks " in line for line in found), (file, function)


@pytest.mark.parametrize(
    ("line", "lacking"),
    [
        ("raise UsageError('--limit 0')", "expected and fix"),
        ("raise errors.RunError('no run', expected='one')", "fix"),
        ("error = OwnError('x', fix='delete it')", "expected"),
        ("raise error(f'{path} is cut off', fix=fix)", "expected"),
        ("raise error('cut off')", "expected and fix"),
        ("raise UsageError('--limit 0', expected='1 or more', fix='')", "fix"),
        ("raise UsageError('--limit 0', expected='1 or more', fix='leave it out')", ""),
        ("raise InterruptedRunError('stopped', fix='go on')", ""),
        ("raise ValueError('x')", ""),
    ],
)
def test_a_planted_error_is_found(line: str, lacking: str, trees: dict[str, ast.Module]) -> None:
    tree = ast.parse(f"class OwnError(RunError): ...\ndef read():\n    {line}\n")
    found = list(incomplete("models/own.py", tree, error_classes(trees | {"models/own.py": tree})))
    assert [one.partition("lacks ")[2] for one in found] == ([lacking] if lacking else [])
