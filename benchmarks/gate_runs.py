"""What the scripts that hold latent actions against gates share: commands, logs, and the line that is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paired_timing import machine

from ipv_bench.atomic_file import write_json
from ipv_bench.cli import run
from ipv_bench.run_record import git_commit, read_record
from models.metrics.lpips_files import DEFAULT_FOLDER, Backbone, find_weights, missing_words


def command(*words: str) -> None:
    """One command of ipv-bench.

    Raises:
        SystemExit: it fails.
    """
    status = run(list(words))
    if status:
        raise SystemExit(status)


def settings(*changes: str) -> list[str]:
    """Changes of a config, as words of a command."""
    return [word for change in changes for word in ("--set", change)]


def last(folder: Path, key: str) -> dict[str, Any]:
    """The newest line of a run's log that has a key."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, Any] = [line for line in lines if key in line][-1]
    return found


def require_lpips(backbone: Backbone) -> None:
    """Before anything is trained: a gate of LPIPS would be judged by squared errors where there are no weights.

    Raises:
        SystemExit: they are neither in this folder's `data/weights/lpips` nor installed.
    """
    if find_weights(backbone) is None:
        raise SystemExit(f"{missing_words(backbone)} (this folder's is {DEFAULT_FOLDER.absolute()}); nothing was made")


def finish(found: dict[str, Any], scale: dict[str, Any], runs: Iterable[Path], keep: Path | None) -> None:
    """Print the last line, and keep it with what made it.

    Args:
        found: the result; a number that is none becomes null.
        scale: how much of everything.
        runs: folders of the runs; the commits that they were made at are named.
        keep: file that it is written to; None: none.
    """
    found = {key: _strict(value) for key, value in found.items()}
    made = {"machine": machine(), "commit": git_commit(), "scale": scale,
            "commits_of_runs": sorted({read_record(folder).git_commit for folder in runs})}  # fmt: skip
    if keep is not None:
        write_json(keep, found | made)
    print(json.dumps(found | made))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
