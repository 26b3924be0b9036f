"""The graph of a sweep: shard sets, pre-training runs, fine-tuning runs, each one of our ordinary commands.

What a method, task or override is, the commands themselves say: a plan asks `finetune --dry-run` once per method and
task, so that everything that would be refused is refused before anything runs.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipv_bench.bounded_json import read_json
from ipv_bench.errors import IpvBenchError, UsageError
from ipv_bench.planned import Planned
from ipv_bench.progress import say_aside
from ipv_bench.run_record import is_finished, variant_name
from ipv_bench.sweeps.config import MethodChoice, SweepConfig

NOT_IN_NAMES = ("training.device", "training.threads", "training.tensorboard", "training.wandb")


@dataclass(frozen=True)
class Job:
    """One command of a sweep.

    Attributes:
        folder: what it makes: a run folder or a shard set; a job's name.
        words: what follows `ipv-bench`.
        needs: folders of the jobs that must be done before.
    """

    folder: str
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """`prepare`, `pretrain` or `finetune`."""
        return self.words[0]

    @property
    def command(self) -> str:
        """As a person would type it."""
        return shlex.join(("ipv-bench", *self.words))


def is_done(job: Job) -> bool:
    """Whether the job's run is finished, or its shard set is there."""
    return (Path(job.folder) / "manifest.json").is_file() if job.kind == "prepare" else is_finished(job.folder)


def plan_sweep(config: SweepConfig) -> list[Job]:
    """All jobs, each after those that it needs.

    Raises:
        UsageError: a data set is not prepared, or two jobs of one folder differ.
        IpvBenchError: a command refuses what the sweep asks for (unknown method, task, key, figure …).
    """
    jobs: dict[str, Job] = {}
    planned = Planned()
    for choice in config.methods:
        for task in config.tasks:
            reason = planned.why(choice.method, task)
            if reason:
                say_aside(f"skipped: {choice.method} on {task}: {reason}")
                continue
            _add(jobs, _jobs_of(config, choice, task))
    if config.figures:
        _add(jobs, _jobs_of_figures(config))
    return [*_prepare(config, jobs.values()), *sorted(jobs.values(), key=lambda job: job.kind != "pretrain")]


def _add(jobs: dict[str, Job], more: Iterable[Job]) -> None:
    for job in more:
        known = jobs.setdefault(job.folder, job)
        if known.words != job.words:
            raise UsageError(
                f"two runs of the sweep would share {job.folder}:\n  {known.command}\n  {job.command}",
                expected="one command per run folder",
                fix="give what differs in `set`, which names the folder, or take one of the two out",
            )


def _jobs_of(config: SweepConfig, choice: MethodChoice, task: str) -> list[Job]:
    changes = {**config.set, **choice.set}
    words = ["--preset", config.preset, *_set({"method": choice.method, **changes})]
    shown = _dry_run("finetune", *words, "--task", task, "--init", "none")
    variant = shown["variant"]
    starts: list[tuple[str, str, list[Job]]] = []
    if shown["pretraining"] == "none" or choice.pretraining == "none":
        starts = [("none", "init=none" if shown["pretraining"] != "none" else "", [])]
    else:
        for names in config.data:
            model = _pretraining(config, choice, names)
            starts.append((model.folder, _origin(config, choice, names), [model]))
    found = []
    for start, origin, before in starts:
        found += before
        full = ",".join(part for part in (variant, origin) if part)
        for seed in config.seeds:
            folder = f"{config.root}/{task}/{choice.method}{'@' + full if full else ''}/seed{seed}"
            own = ("finetune", *words, "--task", task, "--init", start, "--seed", str(seed), "--run", folder)
            found.append(Job(folder, own, tuple(job.folder for job in before)))
    return found


def _pretraining(config: SweepConfig, choice: MethodChoice, names: list[str]) -> Job:
    changes = {**config.pretrain_set, **choice.pretrain_set}
    variant = variant_name(changes, NOT_IN_NAMES)
    method = f"{choice.method}{'@' + variant if variant else ''}"
    folder = f"{config.root}/pretrain/{'+'.join(names)}/{method}/seed{config.pretrain_seed}"
    words = ["pretrain", "--preset", config.pretrain_preset or config.preset]
    words += _set({"method": choice.method, **changes})
    for name in names:
        words += ["--data", f"{config.shards}/{name}"]
    words += ["--seed", str(config.pretrain_seed), "--run", folder]
    return Job(folder, tuple(words), tuple(f"{config.shards}/{name}" for name in names))


def _origin(config: SweepConfig, choice: MethodChoice, names: list[str]) -> str:
    """What a run folder says about its start, as `finetune` names it; the usual data set goes without saying."""
    changed = variant_name({**config.pretrain_set, **choice.pretrain_set}, NOT_IN_NAMES)
    joined = "+".join(names)
    if joined == "ssv2" and not changed:
        return ""
    return f"init={joined}{'-' + changed if changed else ''}"


def _jobs_of_figures(config: SweepConfig) -> list[Job]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "missing.txt"
        _command(
            "report", config.root, "--figures", ",".join(config.figures), "--missing-commands", str(file),
            "--out", f"{folder}/report", "--quiet",
        )  # fmt: skip
        lines = file.read_text().splitlines()
        planned = read_json(Path(folder) / "report" / "report.json", expect=dict).get("planned_runs", {})
    for reason, number in planned.items():
        say_aside(f"skipped: {number} runs of the figures: {reason}")
    jobs = []
    for line in lines:
        words = tuple(shlex.split(line)[1:])
        sets = [words[place + 1] for place, word in enumerate(words) if word == "--data"]
        init = [words[place + 1] for place, word in enumerate(words) if word == "--init"]
        needs = [*sets, *(one for one in init if one != "none" and not is_finished(one))]
        jobs.append(Job(words[words.index("--run") + 1], words, tuple(needs)))
    return jobs


def _prepare(config: SweepConfig, jobs: Iterable[Job]) -> list[Job]:
    """Jobs that make the shard sets which are not there.

    Raises:
        UsageError: there are such, and the sweep does not say `prepare: true`.
    """
    wanted = dict.fromkeys(place for job in jobs if job.kind == "pretrain" for place in job.needs)
    missing = [place for place in wanted if not (Path(place) / "manifest.json").is_file() and "://" not in place]
    if missing and not config.prepare:
        names = [Path(place).name for place in missing]
        raise UsageError(
            f"not prepared: {', '.join(missing)}",
            expected="shard sets with their manifest.json",
            fix=f"make them with `ipv-bench prepare {names[0]}`" + (" and so on" if names[1:] else "")
            + ", or say `prepare: true` in the sweep",
        )  # fmt: skip
    return [Job(place, ("prepare", Path(place).name, "--out", place)) for place in missing]


def _dry_run(*words: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(_command(*words, "--dry-run"))
    return shown


def _command(*words: str) -> str:
    """Standard output of one of our commands.

    Raises:
        IpvBenchError: it failed, with its own message and exit status.
    """
    done = subprocess.run([sys.executable, "-m", "ipv_bench", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().removeprefix("error: ")
        error = IpvBenchError(f"`{shlex.join(('ipv-bench', *words))}` says: {said}")
        error.exit_status = done.returncode if done.returncode > 0 else 1
        raise error
    return done.stdout


def _set(changes: Mapping[str, Any]) -> list[str]:
    return [
        word
        for key, value in changes.items()
        for word in ("--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    ]
