"""The folder of an analysis: finished parts that survive an interruption, and the result, complete or absent."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.analysis_record import (
    ANALYSIS_FILE,
    ARRAYS_FILE,
    AnalysedRun,
    AnalysisRecord,
    Picture,
    is_analysis,
    picture_path,
    read_analysis,
)
from ipv_bench.atomic_file import disk_errors, write_bytes, write_json
from ipv_bench.bounded_arrays import read_npz
from ipv_bench.errors import InputError, OutputError
from ipv_bench.folder_kind import refuse_other_kind
from ipv_bench.progress import say
from ipv_bench.run_record import git_commit, host_hardware, package_versions
from models.analysis.clips import ClipSet
from models.analysis.config import RESOURCE_KEYS, AnalysisConfig
from models.analysis.loaded_model import AnalysedModel

PARTS = ".parts"
PACKAGES = ("ipv-bench", "torch", "numpy", "scipy", "pillow", "scikit-learn")
Arrays = Mapping[str, NDArray[Any]]


class AnalysisOutput:
    """What one analysis writes.

    The same models, clips, config and seed have one key: under it finished parts are kept, and a complete result is
    recognised. `analysis.json` is deleted first and written last, so a folder never shows half of two analyses.

    Args:
        folder: that is written.
        kind: of the analysis.
        config: resolved.
        models: that are analysed.
        clips: that they see.
        seed: of the draws.
        facts: what else decides the result (weights that were found, …), as JSON values.

    Raises:
        OutputError: the folder is a file, or holds something else than an analysis.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        config: AnalysisConfig,
        models: Sequence[AnalysedModel],
        clips: ClipSet,
        seed: int,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self._kind, self._config, self._seed, self._clips = kind, config.model_dump(mode="json"), seed, clips
        self._models: list[AnalysedRun] = [model.facts() for model in models]
        self.key = self._key(facts or {})
        _check_folder(folder)

    def finished(self) -> AnalysisRecord | None:
        """The record of this very analysis, if it is whole there, and a line that says so; else None."""
        if not is_analysis(self.folder):
            return None
        try:
            record = read_analysis(self.folder)
            whole = all(picture_path(self.folder, picture).is_file() for picture in record.pictures)
        except InputError:
            return None
        same = (record.model_extra or {}).get("key") == self.key
        if not (same and whole and (self.folder / ARRAYS_FILE).is_file()):
            return None
        say("\n".join([*record.verdicts, f"{self.folder} is complete: nothing to do"]))
        return record

    def part(self, name: str, compute: Callable[[], Arrays]) -> dict[str, NDArray[Any]]:
        """The arrays of `compute`, kept under `name` until the analysis is finished: an interruption loses one part."""
        path = self.folder / PARTS / self.key / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npz"
        if path.is_file():
            try:
                return read_npz(path)
            except InputError:
                path.unlink(missing_ok=True)
        arrays = {key: np.asarray(value) for key, value in compute().items()}
        write_bytes(path, npz_bytes(arrays))
        return arrays

    def finish(
        self,
        arrays: Arrays,
        *,
        numbers: Mapping[str, Any],
        verdicts: Sequence[str] = (),
        notes: Sequence[str] = (),
        pictures: Sequence[tuple[Picture, bytes]] = (),
    ) -> AnalysisRecord:
        """Write everything in place of an earlier analysis, and remove the parts.

        Args:
            arrays: for `report` and for other people's plots.
            numbers: results as JSON values; ones that are not finite become null.
            verdicts: sentences that a user understands.
            notes: beside those of the clips.
            pictures: record and bytes of each.
        """
        record = AnalysisRecord(
            kind=self._kind, seed=self._seed, config=self._config, models=self._models,
            shard_sets=self._clips.shard_sets, numbers=finite(numbers), verdicts=list(verdicts),
            notes=[*self._clips.notes, *notes], pictures=[picture for picture, _ in pictures],
            packages=package_versions(PACKAGES), git_commit=git_commit(), hardware=host_hardware(),
            key=self.key,  # an extra field: nobody but this file reads it
        )  # fmt: skip
        self._remove_earlier()
        write_bytes(self.folder / ARRAYS_FILE, npz_bytes(arrays))
        for picture, data in pictures:
            write_bytes(picture_path(self.folder, picture), data)
        write_json(self.folder / ANALYSIS_FILE, record.model_dump(mode="json"))
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        return record

    def _remove_earlier(self) -> None:
        if not is_analysis(self.folder):
            return
        try:
            old = [picture_path(self.folder, picture) for picture in read_analysis(self.folder).pictures]
        except InputError:
            old = []
        with disk_errors(self.folder):
            (self.folder / ANALYSIS_FILE).unlink()
            for path in old:
                path.unlink(missing_ok=True)

    def _key(self, facts: Mapping[str, Any]) -> str:
        kept = {name: value for name, value in self._config.items() if name not in RESOURCE_KEYS}
        models = [(m.checkpoint_sha256, m.label) for m in self._models]
        sets = [entry["manifest_sha256"] for entry in self._clips.shard_sets]
        clips = [(c.source, c.video_id, c.start) for c in self._clips.clips]
        version = package_versions(("ipv-bench",))
        text = json.dumps([self._kind, self._seed, kept, models, sets, clips, version, dict(facts)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def npz_bytes(arrays: Arrays) -> bytes:
    """Arrays as an `.npz` file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {name: arrays[name] for name in sorted(arrays)}
    np.savez_compressed(buffer, **named)
    return buffer.getvalue()


def finite(value: Any) -> Any:
    """JSON values out of numpy's and Python's; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _check_folder(folder: Path) -> None:
    """Refuse to write among other things; an earlier analysis there is replaced."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file", expected="a folder, or nothing yet", fix="choose another --out")
    refuse_other_kind(folder, ANALYSIS_FILE)
    if (folder / "__init__.py").exists():
        raise OutputError(
            f"{folder} is a Python package", expected="a folder for the analysis", fix="choose another --out"
        )
