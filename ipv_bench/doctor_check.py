"""One line of the doctor's report, and how it tries something without being harmed by it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "wrong"]
PIP = f"{sys.executable} -m pip install"


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report.

    Attributes:
        name: what was checked.
        state: "ok", "missing" or "wrong".
        found: what is there.
        fix: the command that mends it; empty when ok.
        optional: the product works without it (a GPU, an extra).
    """

    name: str
    state: State
    found: str
    fix: str = ""
    optional: bool = False

    @property
    def is_defect(self) -> bool:
        """Whether something that is needed does not work."""
        return self.state != "ok" and not self.optional


def python_run(code: str, arguments: tuple[str, ...] = (), **environment: str) -> str | None:
    """Run `code` in a fresh interpreter; None when it succeeds, else the last line of its error."""
    command = [sys.executable, "-P", "-c", code, *arguments]
    try:
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer within 300 s"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"ended with status {done.returncode}"
