"""The system libraries that offscreen rendering needs, checked before anything is installed.

Run as a script by `make install` with the bare system Python, so it uses the standard library only. As root on a
Debian-like system it installs what is missing through apt, after printing the command; `NO_APT=1` prevents that. Any
other user is told the one command to ask for.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libOpenGL.so.0": "libopengl0",
}
"""Shared library → Debian package."""

DRIVER_PACKAGE = "libgl1-mesa-dri"
"""Mesa's software renderer, which EGL needs on machines without a GPU."""

DRIVER_PATTERNS = ("/usr/lib/*/dri/swrast_dri.so", "/usr/lib*/dri/swrast_dri.so", "/usr/lib/*/libEGL_nvidia.so.0")


def missing_packages() -> list[str]:
    """Debian packages whose libraries cannot be loaded here."""
    missing = [package for library, package in LIBRARIES.items() if not _loads(library)]
    if not any(list(Path("/").glob(pattern.lstrip("/"))) for pattern in DRIVER_PATTERNS):
        missing.append(DRIVER_PACKAGE)
    return missing


def apt_command(packages: list[str]) -> str:
    """The one command that installs `packages` on a Debian-like system."""
    return "apt-get update && apt-get install -y --no-install-recommends " + " ".join(packages)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def main() -> int:
    """Check, and install what is missing when that is allowed; 0 when all is there."""
    packages = missing_packages()
    if not packages:
        return 0
    command = apt_command(packages)
    allowed = os.geteuid() == 0 and os.environ.get("NO_APT", "0") in ("", "0") and shutil.which("apt-get")
    if not allowed:
        prefix = "" if os.geteuid() == 0 else "sudo sh -c '"
        print(
            f"error: offscreen rendering needs system libraries that are missing: {', '.join(packages)}\n"
            f"  to do:    {prefix}{command}{chr(39) if prefix else ''}",
            file=sys.stderr,
        )
        return 2
    print(f"installing the GL libraries for offscreen rendering (NO_APT=1 prevents it):\n  {command}", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        if subprocess.run(step, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
            print(f"error: `{' '.join(step)}` failed\n  to do:    run it by hand: {command}", file=sys.stderr)
            return 2
    still = missing_packages()
    if still:
        print(f"error: installed, but these still cannot be loaded: {', '.join(still)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
