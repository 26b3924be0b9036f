"""Extras: the optional packages, in groups, and the command that installs a group into this copy of ipv-bench.

`prepare` and `report` run on the base alone. Whatever else a command needs stands in an extra of `pyproject.toml`; the
command asks for it with `require` before it does anything, and nothing is imported for that.

The command of a message has to work where it is read. From a checkout it is `pip install -e '<folder>[train]'`; for a
copy that was installed from a wheel, that file; where neither is there any more, the packages themselves. Never a bare
`ipv-bench[train]`: that name means nothing to a package index.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ipv_bench.errors import MissingDependencyError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "ipv-bench"
SUPPORTED_PYTHONS = ("3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True)
class Extra:
    """A group of optional packages.

    Attributes:
        serves: what it is for.
        modules: import names that are all there when it is installed.
        apart: why it does not go with the others and wants an environment of its own; empty: it goes with all of them.
    """

    serves: str
    modules: tuple[str, ...]
    apart: str = ""


EXTRAS: Mapping[str, Extra] = {
    "train": Extra("pre-training, fine-tuning and evaluation", ("torch", "safetensors")),
    "dmc": Extra("tasks of dmc and dmcr", ("mujoco", "dm_control")),
    "metaworld": Extra("tasks of metaworld", ("mujoco", "metaworld", "gymnasium")),
    "carla": Extra("tasks of carla", ("carla",)),
    "driving": Extra("tasks of highway, and gym/CarRacing", ("highway_env", "pygame", "gymnasium", "Box2D")),
    "decord": Extra("the second video decoder", ("decord",)),
    "ray": Extra("jobs on a Ray cluster", ("ray",)),
    "s3": Extra("shard sets on object stores", ("obstore",)),
    "slurm": Extra("sweeps on a SLURM cluster", ("submitit",)),
    "tracking": Extra("mirrors of a run's metrics in TensorBoard and W&B", ("tensorboard", "wandb")),
    "latent-actions": Extra("frozen features of UWM by networks of transformers", ("transformers",)),
    "robosuite": Extra(
        "tasks of robosuite",
        ("mujoco", "robosuite"),
        apart="it pins mink 0.0.5, which wants numpy below 2; the other simulators and the tests run on numpy 2",
    ),
    "analysis": Extra("t-SNE pictures and probes of `analyze embed`", ("sklearn",)),
    "docs": Extra("the documentation site of `make docs`", ("mkdocs", "material", "mkdocstrings")),
}
"""As in `pyproject.toml`, which also has `dev`, and `all` of those that go together."""

WITHOUT_DEPENDENCIES: Mapping[tuple[int, int], Mapping[str, tuple[str, ...]]] = {
    (3, 13): {"dmc": ("dm-control>=1.0.28,<1.0.29",), "all": ("dm-control>=1.0.28,<1.0.29",)}
}
"""Python version → extra → what is installed in a second step, with `--no-deps`.

dm-control asks for labmaze, which has no wheels for Python 3.13 and would be built with Bazel; its suite does without.
The extra lists everything else that dm-control asks for.
"""


def require(need: str, *extras: str) -> None:
    """Stop before anything is done when an extra is not installed. Nothing is imported.

    Args:
        need: who needs it, as the message begins: "`ipv-bench pretrain`".
        extras: names of extras.

    Raises:
        MissingDependencyError: with the command that installs those that are missing.
    """
    missing = [extra for extra in extras if missing_modules(EXTRAS[extra].modules)]
    if missing:
        raise missing_extras(need, *missing)


def missing_extras(need: str, *extras: str) -> MissingDependencyError:
    """The error of a missing extra, to be raised by whoever found out."""
    modules = tuple(dict.fromkeys(name for extra in extras for name in EXTRAS[extra].modules))
    absent = missing_modules(modules)
    words = f"{', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed"
    if not absent:  # half of a package, or one that does not fit the others
        words = f"{', '.join(modules)}, which cannot be imported"
    names = " and ".join(f"`{extra}`" for extra in extras)
    expected = f"the extra{'s' if len(extras) > 1 else ''} {names} ({'; '.join(EXTRAS[e].serves for e in extras)})"
    nowhere = [extra for extra in extras if not has_builds(extra)]
    if nowhere:
        fix = f"{' and '.join(nowhere)}: {no_builds(nowhere[0])}"
    else:
        fix = install_command(*extras)
        fix += "".join(f"   (an environment of its own: {EXTRAS[each].apart})" for each in extras if EXTRAS[each].apart)
    return MissingDependencyError(f"{need} needs {words}", expected=expected, fix=fix)


def missing_module(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """The error for a failed import of somebody else's package; None where the import is our own mistake."""
    name = (error.name or "").partition(".")[0]
    if not name or name in ("ipv_bench", "pipelines", "models", "reports") or not missing_modules((name,)):
        return None
    extra = next((extra for extra, group in EXTRAS.items() if name in group.modules), None)
    if extra:
        return missing_extras("this", extra)
    return MissingDependencyError(
        f"the Python package {name!r} is not installed",
        expected="all that ipv-bench asks for",
        fix=f"{install_command()}   (`ipv-bench doctor` names what is missing)",
    )


def missing_modules(modules: tuple[str, ...]) -> list[str]:
    """Those of the top-level modules that cannot be imported. None of them is."""
    return [name for name in modules if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        spec = util.find_spec(name)
    except (ImportError, ValueError):
        return False
    # A folder of that name in the current one (W&B leaves a `wandb`) is a namespace package without an origin.
    return spec is not None and spec.origin is not None


def install_command(*extras: str) -> str:
    """The command that installs extras into this copy, as a line for a shell; without extras: the base.

    An extra that does not go with the others gets a new environment, with `train`, which its tasks are for.
    """
    apart = next((extra for extra in extras if extra in EXTRAS and EXTRAS[extra].apart), None)
    if apart:
        return _new_environment(apart)
    group = f"[{','.join(extras)}]" if extras else ""
    return " && ".join([f"{_pip()} {_this_copy(group, extras)}", *_second_steps(extras)])


def _new_environment(extra: str) -> str:
    folder = f".venv-{extra}"
    constraints = Path(__file__).resolve().parent.parent / f"constraints-{extra}.txt"
    limits = f" -c {_quoted(str(constraints))}" if constraints.is_file() else ""
    make = f"{shlex.quote(sys.executable)} -m venv {folder}"
    return f"{make} && {folder}/bin/pip install{limits} {_this_copy(f'[train,{extra}]', ('train', extra))}"


def _pip() -> str:
    python = shlex.quote(sys.executable)
    return f"{python} -m pip install" if _is_there("pip") else f"uv pip install --python {python}"


def _this_copy(group: str, extras: tuple[str, ...]) -> str:
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file():
        return f"-e {_quoted(f'{root}{group}')}"
    origin = _origin()
    if origin:
        return _quoted(origin.replace(DISTRIBUTION, f"{DISTRIBUTION}{group}", 1) if " @ " in origin else origin + group)
    return " ".join(_quoted(str(each)) for each in _plain(extras)) or DISTRIBUTION


def _plain(extras: tuple[str, ...]) -> Iterator[str]:
    """Requirements without their markers."""
    for extra in extras or ("",):
        for requirement in requirements(extra, second_steps=False):
            yield f"{requirement.name}{requirement.specifier}"


def _origin() -> str | None:
    """What this copy was installed from, as pip takes it: a path that is still there, or `name @ address`."""
    import json
    from importlib import metadata

    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        source = json.loads(text or "{}")
        address = urlsplit(source.get("url", ""))
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return None
    if address.scheme == "file":
        path = Path(unquote(address.path))
        return str(path) if path.exists() else None
    if not address.scheme:
        return None
    version_control = source.get("vcs_info") or {}
    if version_control:
        return f"{DISTRIBUTION} @ {version_control['vcs']}+{source['url']}@{version_control['commit_id']}"
    return f"{DISTRIBUTION} @ {source['url']}"


def _second_steps(extras: tuple[str, ...]) -> list[str]:
    wanted = dict.fromkeys(text for extra in extras for text in _second_step(extra))
    return [f"{_pip()} --no-deps {' '.join(map(_quoted, wanted))}"] if wanted else []


def _second_step(extra: str) -> tuple[str, ...]:
    return WITHOUT_DEPENDENCIES.get(sys.version_info[:2], {}).get(extra, ())


def _quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text else shlex.quote(text)


def extra_names() -> list[str]:
    """All extras of this copy's metadata, those of the table first; empty when it is not installed."""
    from importlib import metadata

    try:
        found = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []
    return [*(name for name in EXTRAS if name in found), *(name for name in found if name not in EXTRAS)]


def requirements(extra: str = "", *, second_steps: bool = True) -> list[Requirement]:
    """What an extra, or the base (""), asks for on this Python and system.

    Args:
        extra: its name.
        second_steps: with what is installed without its dependencies.

    Raises:
        importlib.metadata.PackageNotFoundError: ipv-bench itself is not installed.
    """
    from importlib import metadata

    from packaging.requirements import Requirement

    found = []
    for text in metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        in_base = marker is None or marker.evaluate({"extra": ""})
        if in_base if not extra else not in_base and marker is not None and marker.evaluate({"extra": extra}):
            found.append(requirement)
    if second_steps:
        found += [Requirement(text) for text in _second_step(extra)]
    return found


def has_builds(extra: str) -> bool:
    """Whether this Python and system has packages for an extra; True when that is not known."""
    from importlib import metadata

    try:
        return bool(requirements(extra)) or extra not in extra_names()
    except metadata.PackageNotFoundError:
        return True


def no_builds(extra: str) -> str:
    """Why an extra cannot be installed here, and what to do."""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    others = [version for version in SUPPORTED_PYTHONS if version != here and _markers_hold(extra, version)]
    if not others:
        return f"its packages have no builds for Python {here} on this system"
    listed = " or ".join(", ".join(others).rsplit(", ", 1))
    return f"its packages have no builds for Python {here}; use Python {listed}"


def _markers_hold(extra: str, python: str) -> bool:
    """Whether a Python version has a package of an extra on this system."""
    from importlib import metadata

    from packaging.requirements import Requirement

    place = {"python_version": python, "python_full_version": f"{python}.0"}
    try:
        markers = [Requirement(text).marker for text in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        return False
    return any(
        marker.evaluate({**place, "extra": extra}) and not marker.evaluate({**place, "extra": ""})
        for marker in markers if marker is not None
    )  # fmt: skip
