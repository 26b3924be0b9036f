"""What a folder is, by the file that names it: a command writes into its own kind, or into a new folder."""

from __future__ import annotations

import os
from pathlib import Path

from ipv_bench.analysis_record import ANALYSIS_FILE
from ipv_bench.errors import IpvBenchError, OutputError
from ipv_bench.run_record import RUN_FILE
from ipv_bench.shard_set import MANIFEST_FILE

RECORDING_FILE, REPORT_FILE = "record.json", "report.json"
KINDS = {
    RUN_FILE: "a run's folder", MANIFEST_FILE: "a shard set", ANALYSIS_FILE: "an analysis",
    RECORDING_FILE: "a recording",
    REPORT_FILE: "a report",
}  # fmt: skip


def refuse_other_kind(
    folder: str | Path, own: str, option: str = "--out", error: type[IpvBenchError] = OutputError
) -> None:
    """Refuse to write into a folder of another kind; one that is of this kind as well was begun before, and goes on.

    Args:
        folder: to write into.
        own: the file that makes it a folder of the command's kind, of `KINDS`.
        option: that names another folder.
        error: kind of error to raise.

    Raises:
        error: it is something else.
    """
    if os.path.lexists(Path(folder) / own):
        return
    for name, what in KINDS.items():
        if name != own and os.path.lexists(Path(folder) / name):
            raise error(
                f"{folder} is {what}: it holds {name}",
                expected=f"a new folder, or {KINDS[own]}",
                fix=f"choose another {option}",
            )
