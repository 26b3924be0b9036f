"""One command of a sweep, and when it is done."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipv_bench.run_record import is_finished


@dataclass(frozen=True)
class ExpectedRun:
    """What a run's record must say to be the one that a job makes.

    Attributes:
        says: `kind`, `method`, `seed`, `suite`, `task`, `preset` and `config`.
        may_change: dotted config keys that change no result.
        start: of an agent, the run that it starts from, or "none".
        sets: of a pre-training run, its shard sets' folders.
    """

    says: Mapping[str, Any]
    may_change: tuple[str, ...] = ()
    start: str = ""
    sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One command of a sweep.

    Attributes:
        folder: what it makes: a run folder or a shard set; a job's name.
        words: what follows `ipv-bench`.
        needs: folders of the jobs that must be done before.
        steps: its env steps or updates, for estimates of its time; 0: unknown.
        expects: what `run.json` of its run says once it is made; None: not known beforehand.
    """

    folder: str
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()
    steps: int = 0
    expects: ExpectedRun | None = field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """`sample`, `prepare`, `pretrain` or `finetune`."""
        return self.words[0]

    @property
    def command(self) -> str:
        """As a person would type it."""
        return shlex.join(("ipv-bench", *self.words))


def is_done(job: Job) -> bool:
    """Whether the job's run is finished, or its shard set or sample release is there."""
    if job.kind == "sample":
        return Path(job.folder).is_dir()  # it is written whole or not at all
    return (Path(job.folder) / "manifest.json").is_file() if job.kind == "prepare" else is_finished(job.folder)
