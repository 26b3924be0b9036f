"""Whether the report in a folder is still the one that the same command would write now."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ipv_bench.atomic_file import write_json
from ipv_bench.bounded_json import read_json
from ipv_bench.errors import InputError
from ipv_bench.file_names import relative_path_inside
from ipv_bench.folder_kind import REPORT_FILE
from ipv_bench.plugins import all_plugins
from reports.readers.base import FIELDS_FILE
from reports.readers.config_beside import FILES
from reports.scores.findings import Finding

STATE = ".drawn/report.json"
"""In the report's folder: what it was made of, and the hashes of its files."""

WHOLE_BYTES = 64 << 20
"""Files up to this size are hashed whole; of larger ones (checkpoints, replays) size, time and both ends."""

LEVELS_ABOVE = 4

PACKAGES = ("numpy", "pandas", "pyarrow", "matplotlib", "scipy", "pydantic", "pyyaml")


class EarlierReport:
    """The report that is in a folder.

    Args:
        out: the folder.
        sources: what the report is made of.
        other_inputs: further files that it reads.
        settings: everything else that decides about its contents, as JSON.
    """

    def __init__(
        self, out: Path, sources: Sequence[str | Path], other_inputs: Sequence[str], settings: Mapping[str, Any]
    ) -> None:
        self._out = out
        self._key = _key(out, [Path(one) for one in (*sources, *other_inputs)], settings)

    def unchanged(self) -> tuple[str, list[Finding]] | None:
        """What the terminal shows and the findings, when the report's inputs and all its files are as they were."""
        try:
            state = read_json(self._out / STATE, expect=dict)
            if self._key is None or state["made_of"] != self._key:
                return None
            files = {relative_path_inside(self._out, name, STATE): known for name, known in state["files"].items()}
            if any(_sha256(path) != known for path, known in files.items()):
                return None
            record = read_json(self._out / REPORT_FILE, expect=dict)
            findings = [Finding(**{**one, "subjects": tuple(one["subjects"])}) for one in record["findings"]]
            return str(state["summary"]), findings
        except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def remember(self, files: Sequence[str], summary: str) -> None:
        """Note what the report that was just written is made of."""
        if self._key is not None:
            hashes = {name: _sha256(self._out / name) for name in files}
            write_json(self._out / STATE, {"made_of": self._key, "files": hashes, "summary": summary})
        else:
            (self._out / STATE).unlink(missing_ok=True)


def _key(out: Path, inputs: Sequence[Path], settings: Mapping[str, Any]) -> str | None:
    """A hash over everything that a report depends on; None when another package's reader may read anything."""
    if not all(plugin.is_ours for plugin in all_plugins("readers")):
        return None
    digest = hashlib.sha256()
    versions = [platform.python_version(), *(_version(name) for name in PACKAGES)]
    digest.update(json.dumps([versions, settings, str(out.resolve())], sort_keys=True, default=str).encode())
    for path in _our_files():
        digest.update(f"{path.name} ".encode() + path.read_bytes())
    for given in inputs:
        digest.update(f"\0{given}\0{given.resolve()}\0".encode("utf-8", "surrogateescape"))
        for path in (*_configs_above(given.resolve()), *_files_below(given, out.resolve())):
            _feed(digest, path)
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _our_files() -> Iterator[Path]:
    rooms = (Path(__file__).parent, Path(__file__).parents[1] / "ipv_bench")
    for room in rooms:
        yield from sorted(path for path in room.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _configs_above(path: Path) -> Iterator[Path]:
    """Files from which readers take a run's names although they lie above what was given."""
    for folder in list(path.parents)[:LEVELS_ABOVE]:
        yield from (folder / name for name in (FIELDS_FILE, *FILES) if (folder / name).is_file())


def _files_below(path: Path, out: Path) -> Iterator[Path]:
    """All files, hidden ones as well (`.hydra/config.yaml`), but those of the report itself."""
    if not path.is_dir():
        yield path
        return
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if (Path(folder) / name).resolve() != out)
        yield from (Path(folder) / name for name in sorted(names))


def _feed(digest: Any, path: Path) -> None:
    try:
        found = path.stat()
        digest.update(f"{path}\0{found.st_size}\0".encode("utf-8", "surrogateescape"))
        with open(path, "rb") as file:
            if found.st_size <= WHOLE_BYTES:
                digest.update(hashlib.file_digest(file, "sha256").digest())
                return
            digest.update(f"{found.st_mtime_ns}".encode() + file.read(1 << 20))
            file.seek(-(1 << 20), os.SEEK_END)
            digest.update(file.read())
    except OSError as error:
        digest.update(f"{path} {error.errno}".encode("utf-8", "surrogateescape"))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
