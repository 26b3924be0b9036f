"""Shared by all tests: one thread per library, and the time per room at the end."""

from __future__ import annotations

import os
import signal
from collections import defaultdict

import pytest

from ipv_bench.progress import set_quiet

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MUJOCO_GL", "egl")
# A client without credentials asks the cloud's metadata address, one with the caller's own reaches their account: no
# test may do either.
os.environ["AWS_ACCESS_KEY_ID"] = "test"
os.environ["AWS_SECRET_ACCESS_KEY"] = "test"
os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
os.environ["AWS_REGION"] = "us-east-1"

# What the caller's shell may hold and a command under test would obey: a job of several ranks, a Ray cluster, the width
# and colours of a terminal, a folder that git was told of (in a commit hook). A proxy stays, but not before loopback.
for _name in (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN",
    "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3",
    "COLUMNS", "FORCE_COLOR", "CLICOLOR_FORCE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE",
):  # fmt: skip
    os.environ.pop(_name, None)
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1", "localhost")))

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a script; commands under test would too
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
