"""What the scripts that hold latent actions against gates share: commands, logs, and the line that is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paired_timing import machine

from ipv_bench.atomic_file import write_json
from ipv_bench.cli import run
from ipv_bench.run_record import git_commit, read_jsonl, read_record
from models.analysis.output import finite
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
    found: dict[str, Any] = [line for line in read_jsonl(folder / "metrics.jsonl") if key in line][-1]
    return found


def require_lpips(backbone: Backbone) -> None:
    """Before anything is trained: a gate of LPIPS would be judged by squared errors where there are no weights.

    Raises:
        SystemExit: they are neither in this folder's `data/weights/lpips` nor installed.
    """
    if find_weights(backbone) is None:
        raise SystemExit(f"{missing_words(backbone)} (this folder's is {DEFAULT_FOLDER.absolute()}); nothing was made")


Gates = dict[str, tuple[float, float, bool]]
"""Name → value, limit, whether it holds."""


def held_against(numbers: Mapping[str, float], above: Mapping[str, float], below: Mapping[str, float]) -> Gates:
    """Those of the numbers that have a limit, which they must be above or below; one that is none holds nowhere."""
    found = {name: (numbers[name], limit, numbers[name] > limit) for name, limit in above.items() if name in numbers}
    return found | {
        name: (numbers[name], limit, numbers[name] < limit) for name, limit in below.items() if name in numbers
    }


def told(gates: Gates, beside: Sequence[Mapping[str, float]] = ()) -> dict[str, Any]:
    """Print the gates, with the same numbers of each of `beside`; whether all hold, and the values, rounded."""
    for name, (value, limit, holds) in gates.items():
        each = ", ".join(f"{one[name]:.3g}" for one in beside if name in one)
        print(f"{name:24} {value:8.3f}   limit {limit:g}   {'holds' if holds else 'FAILS'}   {each}".rstrip())
    values = {name: round(value, 4) for name, (value, *_) in gates.items()}
    return {"all_hold": all(holds for *_, holds in gates.values()), **values}


def finish(found: dict[str, Any], scale: dict[str, Any], runs: Iterable[Path], keep: Path | None) -> None:
    """Print the last line, and keep it with what made it.

    Args:
        found: the result; a number that is none becomes null.
        scale: how much of everything.
        runs: folders of the runs; the commits that they were made at are named.
        keep: file that it is written to; None: none.
    """
    found = finite(found)
    made = {"machine": machine(), "commit": git_commit(), "scale": scale,
            "commits_of_runs": sorted({read_record(folder).git_commit for folder in runs})}  # fmt: skip
    if keep is not None:
        write_json(keep, found | made)
    print(json.dumps(found | made))
