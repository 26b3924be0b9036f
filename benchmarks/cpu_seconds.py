"""CPU-seconds of an experiment's runs, however often they were interrupted."""

from __future__ import annotations

import json
from pathlib import Path

from one_command import CommandFailedError, OutOfTimeError, Workspace

from ipv_bench.atomic_file import write_json
from ipv_bench.run_record import RUN_FILE

CPU_FILE = "cpu.json"
"""Beside a kept run: {"cpu_seconds": ...}, null where a part of them was not counted."""


class CountingWorkspace(Workspace):
    """A workspace that counts the CPU-seconds of its runs."""

    def train(self, path: Path, *arguments: str) -> None:
        """A command that makes the run `path`; its CPU-seconds are added to what it took before.

        A piece that this script did not see the end of (it was killed) leaves the sum incomplete, and that is noted.
        A piece that ended before there was a run folder counts for nothing.

        Raises:
            OutOfTimeError: it was stopped, or not even started.
            CommandFailedError: it failed.
        """
        log = self.folder / "cpu" / f"{path}.json"
        begun = (self.folder / path / RUN_FILE).exists()
        none = {"cpu_seconds": 0.0, "whole": not begun, "open": False}
        before = json.loads(log.read_text()) if begun and log.is_file() else none  # else of a run that was moved away
        whole = before["whole"] and not before["open"]
        log.parent.mkdir(parents=True, exist_ok=True)
        note = {"cpu_seconds": before["cpu_seconds"], "whole": whole}
        write_json(log, note | {"open": True})
        try:
            seconds = self.command(*arguments, "--run", str(path))
        except (OutOfTimeError, CommandFailedError) as ended:
            seconds = getattr(ended, "seconds", 0.0)  # none: nothing was started
            write_json(log, note | {"cpu_seconds": round(note["cpu_seconds"] + seconds, 1), "open": False})
            raise
        write_json(log, note | {"cpu_seconds": round(note["cpu_seconds"] + seconds, 1), "open": False})

    def cpu_seconds(self, path: Path) -> float | None:
        """CPU-seconds of a run, with all its starts; None where a part of it was not counted."""
        log = self.folder / "cpu" / f"{path}.json"
        found = json.loads(log.read_text()) if log.is_file() else {"whole": False, "open": False}
        return float(found["cpu_seconds"]) if found["whole"] and not found["open"] else None
