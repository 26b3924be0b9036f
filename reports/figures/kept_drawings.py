"""Drawings of an earlier report in the same folder, to be used again where nothing that is drawn has changed."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from ipv_bench.atomic_file import write_bytes, write_json
from ipv_bench.bounded_json import read_json
from ipv_bench.errors import InputError
from reports.figures.drawn import PlannedFigure

FOLDER = ".drawn"
"""Inside the report's folder: which drawing each file is, and the page's SVGs that are no files of their own."""
INDEX = "drawings.json"


class KeptDrawings:
    """What an earlier report drew.

    A drawing is known by a hash over everything that it depends on: the plot, the formats, our drawing code, and the
    versions of matplotlib, numpy and Python. Files whose bytes have changed since are drawn anew.

    Args:
        out: the report's folder; None: keep nothing.
        formats: files that are wanted.
    """

    def __init__(self, out: Path | None, formats: Sequence[str]) -> None:
        self._out, self._formats = out, tuple(formats)
        self._earlier = _index(out / FOLDER / INDEX) if out is not None else {}
        self._now: dict[str, dict[str, Any]] = {}
        self._hidden: dict[str, bytes] = {}

    def get(self, plan: PlannedFigure) -> dict[str, bytes] | None:
        """The files of an equal drawing; None when there is none, or when one of its files is no longer the same."""
        if self._out is None:
            return None
        entry = self._earlier.get(plan.name)
        if not isinstance(entry, dict) or entry.get("drawing") != self._key(plan):
            return None
        files = {}
        hashes = entry.get("sha256")
        for kind in sorted({*self._formats, "svg"}):
            try:
                files[kind] = self._path(plan.name, kind).read_bytes()
            except OSError:
                return None
            if not isinstance(hashes, dict) or hashes.get(kind) != hashlib.sha256(files[kind]).hexdigest():
                return None
        return files

    def keep(self, plan: PlannedFigure, files: Mapping[str, bytes]) -> None:
        """Remember a drawing for the next report; `write` writes what the report itself does not."""
        if self._out is not None:
            hashes = {kind: hashlib.sha256(data).hexdigest() for kind, data in files.items()}
            self._now[plan.name] = {"drawing": self._key(plan), "sha256": hashes}
            if "svg" not in self._formats:
                self._hidden[f"{plan.name}.svg"] = files["svg"]

    def write(self) -> None:
        """Write the index, and the SVGs that only the page shows; remove what no figure needs any more."""
        if self._out is None:
            return
        folder = self._out / FOLDER
        for name, data in self._hidden.items():
            write_bytes(folder / name, data)
        write_json(folder / INDEX, self._now)
        for path in folder.glob("*.svg"):
            if path.name not in self._hidden:
                path.unlink()

    def _path(self, name: str, kind: str) -> Path:
        assert self._out is not None
        if kind in self._formats:
            return self._out / "figures" / f"{name}.{kind}"
        return self._out / FOLDER / f"{name}.{kind}"

    def _key(self, plan: PlannedFigure) -> str:
        digest = hashlib.sha256()
        _feed(digest, (drawing_code(), list(self._formats), plan.name, plan.plot))
        return digest.hexdigest()


def _index(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path, expect=dict))
    except InputError:
        return {}


@cache
def drawing_code() -> str:
    """A hash of the code that draws, and of the versions that it draws with."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update((Path(__file__).parents[1] / "text.py").read_bytes())
    digest.update(f"{matplotlib.__version__} {np.__version__} {platform.python_version()}".encode())
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Hash a value by what it holds; each part says what it is and how long, so that no two values look alike."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        digest.update(f"<{type(value).__name__}".encode())
        for field in dataclasses.fields(value):
            digest.update(field.name.encode() + b"=")
            _feed(digest, getattr(value, field.name))
        digest.update(b">")
    elif isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype.str} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)} ".encode())
        for one in value:
            _feed(digest, one)
        digest.update(b"]")
    elif isinstance(value, str):
        data = value.encode("utf-8", "replace")
        digest.update(f"text {len(data)} ".encode() + data)
    elif value is None or isinstance(value, bool | int | float | np.number):
        digest.update(f"{type(value).__name__} {value!r};".encode())
    else:
        raise TypeError(f"a plot holds a {type(value).__name__}, which has no hash here")
