"""What `torch.compile` needs beside torch: a C++ compiler and Python's own headers."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

FIX = (
    "sudo apt-get install g++ python3-dev   (dnf: gcc-c++ python3-devel; conda: conda install -c conda-forge "
    "cxx-compiler); another compiler: export CXX"
)


def compiler_problem() -> str:
    """What is absent, in words; empty where compiled updates can be built."""
    wanted = (os.environ.get("CXX") or "g++").split()[0]
    if shutil.which(wanted) is None:
        return f"no C++ compiler: {wanted!r} is not on the PATH"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        return f"a C++ compiler ({wanted}), but not Python's headers ({header})"
    return ""
