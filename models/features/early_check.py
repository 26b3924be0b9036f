"""Are a run's frozen features on this machine? Told before torch is imported, which alone takes seconds.

It goes by values as they stand in presets, files and `--set`, unchecked. What it cannot tell is left to the command
itself, which looks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ipv_bench.checkpoint_index import FOLDER
from ipv_bench.config import lay, load_preset, merge, parse_overrides, read_config_file
from ipv_bench.errors import IpvBenchError
from ipv_bench.plugins import find_plugin
from ipv_bench.run_record import read_record
from models.features.find_weights import find_model
from models.metrics.lpips_files import require_weights

OF_TRANSFORMERS = ("mae", "vision")
"""Values of `features.kind` whose weights are a model of `transformers`."""
OF_LPIPS = ("alex", "vgg")
"""Values of `features.kind` whose weights are a backbone of LPIPS."""


def check_pretraining(preset: str, config_file: Path | None, overrides: Iterable[str]) -> None:
    """Of what `pretrain` will train.

    Raises:
        MissingDependencyError, InputError: see `find_model` and `require_weights`.
        ConfigError: the file or a change cannot be read.
    """
    values = merge(read_config_file(config_file) if config_file else {}, _changes(overrides))
    method = values.get("method")
    if isinstance(method, str):
        _check(method, merge(_preset(method, preset), values))


def check_run(run: str | Path, overrides: Iterable[str] = ()) -> None:
    """Of a run, or one of its checkpoints, that a command starts from; what else is wrong with it is not said here.

    Raises:
        MissingDependencyError, InputError: see `find_model` and `require_weights`.
        ConfigError: a change cannot be read.
    """
    changes = _changes(overrides)
    try:
        record = read_record(_run_of(run))
    except IpvBenchError:
        return
    _check(record.method, merge(record.config, changes))


def check_adapting(parent: str, run: Path | None, seed: int, overrides: Iterable[str]) -> None:
    """Of what `adapt` starts from, unless its run may be finished: then it has nothing to do, and needs no weights.

    Which folder is its own where none is named is known only when the shard sets are open: a finished one of this
    parent and seed in the usual place leaves the answer to the command.

    Raises:
        MissingDependencyError, InputError, ConfigError: see `check_run`.
    """
    start = _run_of(parent).resolve()
    folders = [run] if run else Path("runs", "adapt").glob(f"*/*/seed{seed}")
    if not any(_is_finished(folder, None if run else start) for folder in folders):
        check_run(parent, overrides)


def _is_finished(folder: Path, parent: Path | None) -> bool:
    """Whether a run is complete, and of this parent where one is given."""
    try:
        record = read_record(folder)
    except IpvBenchError:
        return False
    started_from = str(record.parent.get("run") or "")
    return record.status == "finished" and (parent is None or Path(started_from).resolve() == parent)


def _run_of(path: str | Path) -> Path:
    """The run that a path names, or the one whose checkpoint it names."""
    folder = Path(path)
    return folder.parent.parent if folder.parent.name == FOLDER else folder


def _check(method: str, values: Mapping[str, Any]) -> None:
    section = values.get("features")
    if not isinstance(section, Mapping) or not _is_ours(method):
        return  # a section of that name may be anything in a method of another package
    if values.get("loss") == "ficc":
        return  # it learns its features along, whatever kind a preset names
    name, kind, published = section.get("name"), section.get("kind"), section.get("weights") != "random"
    if kind in OF_TRANSFORMERS and isinstance(name, str):
        find_model(name, weights=published)
    if kind in OF_LPIPS and published and (name is None or isinstance(name, str)):
        require_weights(kind, name)


def _is_ours(method: str) -> bool:
    try:
        return find_plugin("methods", method).is_ours
    except IpvBenchError:
        return False


def _changes(overrides: Iterable[str]) -> dict[str, Any]:
    return lay({}, parse_overrides(overrides))


def _preset(method: str, name: str) -> dict[str, Any]:
    """Values of a method's preset, where our methods with presets of their own have them; else nothing."""
    try:
        return load_preset("pretrain", name, presets=resources.files("ipv_bench") / "presets" / method)
    except (IpvBenchError, OSError):
        return {}
