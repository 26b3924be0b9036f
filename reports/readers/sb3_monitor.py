"""Monitor files of Stable-Baselines3 and its relatives: `monitor.csv`, or `0.monitor.csv`, `1.monitor.csv`, ...

The first line is a comment with JSON (`#{"t_start": 1700000000.5, "env_id": "CartPole-v1"}`), then one row `r,l,t` per
training episode: return, length, seconds. Files of one folder are the environments of one run: their episodes are put
in the order of time, and the env steps are the sum of their lengths up to there.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ipv_bench.bounded_json import parse_json
from ipv_bench.errors import InputError
from reports.readers.base import Read, ReadOptions, first_bytes
from reports.readers.log_run import log_run
from reports.readers.run_names import RunNames, names_of_log
from reports.readers.score_names import ScoreName
from reports.readers.text_table import TextTable
from reports.scores.findings import Finding, note
from reports.scores.task_names import split_task

_FILE = re.compile(r"(?:.*[._])?monitor\.csv(\.gz)?")
_FIX = "restore the file, or leave it out"


class Sb3Monitor:
    """Reads the monitor files of a folder as one run."""

    name = "sb3_monitor"
    uses = ("monitor.csv", "*.monitor.csv", "*_monitor.csv")

    def accepts(self, path: Path) -> bool:
        """A folder with files `*monitor.csv`, or one such file."""
        if path.is_file():
            return bool(_FILE.fullmatch(path.name)) and first_bytes(path, 2) == b"#{"
        return path.is_dir() and any(_files(path))

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read the run.

        Raises:
            InputError: a file has no columns r and l, or the run has no names.
        """
        files = _files(path) if path.is_dir() else [path]
        episodes, findings, env = [], list[Finding](), ""
        for file in files:
            header = _header(file)
            env = env or str(header.get("env_id") or "")
            table = TextTable(file, cut_off_allowed=True)
            if not {"r", "l"} <= set(table.names):
                raise InputError(
                    f"{file} has the columns {', '.join(table.names[:20])}",
                    expected="r, l, t, as Monitor writes them",
                    fix=_FIX,
                )
            if table.is_cut_off:
                findings.append(note("cut_off_log", f"the last row of {file} is cut off; it was used up to there"))
            seconds = table.numbers("t") if "t" in table.names else np.arange(table.num_rows, dtype=np.float64)
            start = header.get("t_start")
            begin = float(start) if isinstance(start, int | float) and len(files) > 1 else 0.0
            episodes.append(np.stack([seconds + begin, table.numbers("l"), table.numbers("r")], axis=1))
        every = np.concatenate(episodes)
        if len(files) > 1:  # one file is in the order of time already
            every = every[np.argsort(every[:, 0], kind="stable")]
        names = _names(path, env, options)
        score = ScoreName("r", "return", "training_episode")
        run, said = log_run(self.name, path, names, score, np.cumsum(every[:, 1]), every[:, 2])
        return Read(runs=(run,), findings=(said, *findings))


def _files(folder: Path) -> list[Path]:
    def order(file: Path) -> tuple[int, str]:
        number = re.match(r"\d+", file.name)
        return int(number.group()) if number else -1, file.name

    return sorted((file for file in folder.iterdir() if _FILE.fullmatch(file.name) and file.is_file()), key=order)


def _header(file: Path) -> dict[str, object]:
    line = first_bytes(file).split(b"\n", 1)[0]
    if not line.startswith(b"#{"):
        return {}
    values: dict[str, object] = parse_json(line[1:], f"the first line of {file}", expect=dict, nan=True, fix=_FIX)
    return values


def _names(path: Path, env: str, options: ReadOptions) -> RunNames:
    """The path's names; the environment that the file itself names stands in for a task that nothing else says."""
    suite, task = split_task(env)
    return names_of_log(path, options, inside={"task": task, "suite": suite} if env and env != "None" else {})


READER = Sb3Monitor()
