"""Shared by all tests: one thread per library, and the time per room at the end."""

from __future__ import annotations

import os
from collections import defaultdict

import pytest

from ipv_bench.progress import set_quiet

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MUJOCO_GL", "egl")
# A client without credentials asks the cloud's metadata address; a test must never.
os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
os.environ.setdefault("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
os.environ.setdefault("AWS_REGION", "us-east-1")

_seconds: dict[str, float] = defaultdict(float)


@pytest.fixture(autouse=True)
def _speaks() -> None:
    """A test that typed `--quiet` in this process does not silence the ones after it."""
    set_quiet(False)


def pytest_runtest_logreport(report) -> None:
    """Add a phase's duration to its room (the folder below tests/)."""
    parts = report.nodeid.split("/")
    room = parts[1] if len(parts) > 2 else parts[-1].split("::")[0]
    _seconds[room] += report.duration


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the time per room."""
    if _seconds:
        terminalreporter.section("time per room")
        for room, seconds in sorted(_seconds.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{room:<20} {seconds:7.1f} s")
