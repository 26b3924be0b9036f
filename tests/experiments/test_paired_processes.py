"""Sides of a timing: in turn, each in a process of its own, whose settings stay there."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import paired_processes
import pytest

from ipv_bench.allocator import keep_freed_memory


def noting(log: Path, name: str, alone: bool) -> Callable[[], Any]:
    if alone:
        paired_processes.leave_memory_alone()

    def once() -> None:
        with log.open("a") as file:
            file.write(f"{name} {os.getpid()} {keep_freed_memory()}\n")

    return once


def failing() -> Callable[[], Any]:
    def once() -> None:
        raise RuntimeError("this side fails")

    return once


def test_sides_take_turns_in_processes_of_their_own(tmp_path: Path) -> None:
    sides = {name: partial(noting, tmp_path / "log", name, name == "plain") for name in ("ours", "plain")}
    found = paired_processes.paired_processes(sides, 3)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [name for name, _, _ in lines] == ["ours", "plain"] * 4  # a warm-up and three rounds
    pids = {name: {pid for other, pid, _ in lines if other == name} for name in ("ours", "plain")}
    assert len(pids["ours"] | pids["plain"] | {str(os.getpid())}) == 3
    assert {(name, kept) for name, _, kept in lines} == {("ours", "True"), ("plain", "False")}
    assert found["pairs"] == 3
    assert found["plain_ratio_range"][0] <= found["plain_ratio"] <= found["plain_ratio_range"][1]


def test_a_side_that_fails_ends_the_timing() -> None:
    with pytest.raises(EOFError):
        paired_processes.paired_processes({"ours": failing}, 1)
