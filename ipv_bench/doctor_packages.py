"""What the doctor says of Python and the packages: the base, a line per extra, and combinations that do not work."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING

from ipv_bench.doctor_check import PIP, Check, State, python_run
from ipv_bench.extras import (
    DISTRIBUTION,
    EXTRAS,
    WITHOUT_DEPENDENCIES,
    extra_names,
    install_command,
    no_builds,
    requirements,
)

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PYTHONS = ((3, 11), (3, 14))
"""The first and the last version that the base works on; `requires-python` in pyproject says the same."""


def python() -> Iterator[Check]:
    version = platform.python_version()
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        yield Check("Python", "wrong", version, "install Python 3.11, 3.12 or 3.13")
    elif sys.version_info >= (3, 14):
        yield Check("Python", "ok", f"{version}: no task suites and no rliable, which have no builds for it")
    else:
        yield Check("Python", "ok", version)


def base() -> Iterator[Check]:
    """The base, a line per package."""
    try:
        wanted = requirements()
    except metadata.PackageNotFoundError:
        yield Check(DISTRIBUTION, "missing", "not installed", install_command("all"))
        return
    for requirement in wanted:
        state, found = _installed(requirement)
        yield Check(requirement.name, state, found, "" if state == "ok" else _fix([requirement]))


def _installed(requirement: Requirement) -> tuple[State, str]:
    """Whether a package is there in a version that fits, and what was found."""
    version = _version(requirement.name)
    if version is None:
        return "missing", "not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return "wrong", f"{version}, but {requirement.specifier} is needed"
    return "ok", version


def _fix(wanted: list[Requirement]) -> str:
    return f"{PIP} " + " ".join(f"'{each.name}{each.specifier}'" for each in wanted)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def clashes() -> Iterator[Check]:
    """Combinations that pip may install and that do not work together."""
    if sys.version_info < (3, 14):
        yield _imports(
            "rliable with arch and pandas",
            "from rliable import library, metrics",
            f"{PIP} 'pandas<3' 'arch>=7.2,<8'   (arch 7 does not import with pandas 3)",
        )
    if all(_version(name) for name in ("mujoco", "dm-control", "metaworld")):
        yield _imports(
            "mujoco with dm-control and metaworld",
            "import dm_control.mujoco, metaworld",
            f"{PIP} mujoco==3.3.0 metaworld==3.1.1 && {PIP} --no-deps dm-control==1.0.28",
        )


def _imports(name: str, code: str, fix: str) -> Check:
    """Whether `code` runs in a fresh interpreter."""
    result = python_run(code)
    return Check(name, "ok", "import together") if result is None else Check(name, "wrong", result, fix)


def extras() -> Iterator[Check]:
    """A line per extra, with what it brings; one that is not installed is no defect, half of one is."""
    for extra in extra_names():
        wanted = requirements(extra)
        if not wanted:
            yield Check(f"extra [{extra}]", "missing", f"for {_serves(extra)}", no_builds(extra), optional=True)
            continue
        states = {requirement: _installed(requirement) for requirement in wanted}
        wrong = [r for r, (state, _) in states.items() if state == "wrong"]
        absent = [r.name for r, (state, _) in states.items() if state == "missing"]
        if wrong:
            found = "; ".join(f"{r.name} {states[r][1]}" for r in wrong)
            yield Check(f"extra [{extra}]", "wrong", found, install_command(extra), optional=len(absent) > 0)
        elif absent:
            found = f"without {', '.join(absent)}, for {_serves(extra)}"
            yield Check(f"extra [{extra}]", "missing", found, install_command(extra), optional=True)
        else:
            yield Check(f"extra [{extra}]", "ok", _brought(extra, states) + _remark(extra), optional=True)


def _serves(extra: str) -> str:
    return EXTRAS[extra].serves if extra in EXTRAS else {"all": "all commands", "dev": "the tests"}.get(extra, extra)


def _brought(extra: str, states: Mapping[Requirement, tuple[State, str]]) -> str:
    if extra not in EXTRAS:
        return f"{len(states)} packages"
    named = {name.replace("_", "-") for name in EXTRAS[extra].modules}
    return ", ".join(f"{r.name} {found}" for r, (_, found) in states.items() if r.name in named)


def _remark(extra: str) -> str:
    """Why dm-control came in a second step, where it did."""
    second = WITHOUT_DEPENDENCIES.get(sys.version_info[:2], {}).get(extra)
    if not second or _version("labmaze"):
        return ""
    return " (dm-control without labmaze, which has no builds for it and is not needed)"
