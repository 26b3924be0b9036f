"""`ipv-bench sweep`: plan what a file asks for, show it, run it, and say how it stands."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ipv_bench import __version__
from ipv_bench.atomic_file import write_json
from ipv_bench.bounded_file import read_bytes
from ipv_bench.errors import FindingsError, InterruptedRunError
from ipv_bench.frozen_protocol import PREFIX
from ipv_bench.progress import say
from ipv_bench.sweeps.config import SweepConfig, read_sweep
from ipv_bench.sweeps.estimate import Estimate, estimates
from ipv_bench.sweeps.job import STATE_FOLDER, Result, log_file
from ipv_bench.sweeps.made_before import other_runs, refuse_other_runs
from ipv_bench.sweeps.plan import plan_sweep
from ipv_bench.sweeps.planned_job import Job, is_done
from ipv_bench.sweeps.status import ORDER, JobStatus, sweep_status


def sweep(file: str | Path, on: str = "local", jobs: int = 0, dry_run: bool = False, as_json: bool = False) -> None:
    """Make the runs of a sweep file; those that are finished are left out.

    Args:
        file: the sweep file.
        on: "local", "slurm" or "ray".
        jobs: jobs at a time; 0: one per core here, as many as there is room for elsewhere.
        dry_run: print the graph, counts and estimated hours; run nothing.
        as_json: print JSON.

    Raises:
        ConfigError: the file says something wrong.
        UsageError: a data set is not prepared, runs of another experiment lie where the sweep's belong, or there is no
            such cluster.
        FindingsError: some runs failed; each is named with its last line.
        InterruptedRunError: Ctrl-C; every running command has saved its state.
    """
    config = read_sweep(file)
    if on == "slurm" and not dry_run:
        from ipv_bench.sweeps.slurm import check_cluster

        check_cluster(config)  # planning takes a while
    plan = plan_sweep(config)
    if dry_run:
        say(_plan_json(plan, config) if as_json else _plan_text(plan, config))
        return
    refuse_other_runs(plan)
    _keep_plan(file, config, plan)
    todo = [job for job in plan if not is_done(job)]
    say(f"{len(plan)} jobs, {len(plan) - len(todo)} of them done before; {len(todo)} on {on}")
    if not todo:
        return
    results = _run(todo, config, on, jobs)
    if results is None:
        return
    _conclude(todo, results, config)


def status(file: str | Path, as_json: bool = False) -> None:
    """Say where each job of a sweep stands, from the run folders alone."""
    config = read_sweep(file)
    found = sweep_status(_kept_plan(file, config) or plan_sweep(config), config.root)
    say(json.dumps([one.as_json() for one in found], indent=2) if as_json else _status_text(found))


def _plan_file(file: str | Path, config: SweepConfig) -> Path:
    text = str(file).encode() if str(file).startswith(PREFIX) else read_bytes(file, fix="correct the path")
    name = hashlib.sha256(text).hexdigest()[:16]
    return Path(config.root) / STATE_FOLDER / f"plan-{name}.json"


def _keep_plan(file: str | Path, config: SweepConfig, plan: Sequence[Job]) -> None:
    """Remember what was planned: planning again takes time, and a figure lacks other runs once some are made."""
    earlier = {job.folder: job for job in _kept_plan(file, config) or []}
    jobs = earlier | {job.folder: job for job in plan}
    kept = [{"folder": job.folder, "words": job.words, "needs": job.needs, "steps": job.steps} for job in jobs.values()]
    write_json(_plan_file(file, config), {"version": __version__, "jobs": kept})


def _kept_plan(file: str | Path, config: SweepConfig) -> list[Job] | None:
    try:
        kept = json.loads(_plan_file(file, config).read_text())
        if kept["version"] != __version__:
            return None
        return [Job(one["folder"], tuple(one["words"]), tuple(one["needs"]), one["steps"]) for one in kept["jobs"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run(todo: Sequence[Job], config: SweepConfig, on: str, jobs: int) -> list[Result] | None:
    reporter = _Reporter(len(todo))
    try:
        if on == "slurm":
            return _run_on_slurm(todo, config, jobs, reporter)
        if on == "ray":
            from ipv_bench.sweeps.ray import run_on_ray

            return run_on_ray(todo, config, jobs, reporter)
        from ipv_bench.sweeps.local import run_locally

        return run_locally(todo, config, jobs or max(1, len(os.sched_getaffinity(0)) // config.cpus), reporter)
    except KeyboardInterrupt:
        raise InterruptedRunError("the sweep was stopped; running commands have saved their state",
                                  fix="run the same command again to go on") from None  # fmt: skip


def _run_on_slurm(todo: Sequence[Job], config: SweepConfig, jobs: int, reporter: _Reporter) -> list[Result] | None:
    """Submit; submitit's stand-ins are waited for, a cluster is not."""
    from ipv_bench.sweeps.slurm import submit

    submitted = submit(todo, config, jobs)
    if config.slurm.cluster == "slurm":
        if submitted.queued:
            say(f"{len(submitted.queued)} jobs wait or run already, as {_numbers(submitted.queued.values())}")
        if submitted.handles:
            say(f"{len(submitted.handles)} jobs submitted as "
                f"{_numbers(str(handle.job_id) for handle in submitted.handles.values())}")  # fmt: skip
        say("`ipv-bench sweep status` says how they stand, `scancel` ends them")
        return None
    try:
        results = []
        for job in todo:
            results.append(submitted.result_of(job))
            reporter(results[-1])
        return results
    except KeyboardInterrupt:
        submitted.cancel()
        raise


def _numbers(ids: Iterable[str]) -> str:
    """Numbers of arrays and jobs, each once."""
    return ", ".join(dict.fromkeys(name.partition("_")[0] for name in ids))


class _Reporter:
    """A line as each job ends."""

    def __init__(self, total: int) -> None:
        self._total, self._ended, self._start = total, 0, time.monotonic()

    def __call__(self, result: Result) -> None:
        self._ended += 1
        again = f", at attempt {result.attempts}" if result.attempts > 1 else ""
        minutes = (time.monotonic() - self._start) / 60
        tail = f": {result.detail}" if result.detail else ""
        say(f"[{self._ended}/{self._total}, {minutes:.1f} min] {result.folder} {result.outcome}{again}{tail}")


def _conclude(todo: Sequence[Job], results: Sequence[Result], config: SweepConfig) -> None:
    odd = [(job, result) for job, result in zip(todo, results, strict=True) if result.outcome != "done"]
    if not odd:
        say(f"all {len(todo)} jobs are done")
        return
    lines = [
        f"  {result.folder}: {result.outcome} after {result.attempts} attempts: {result.detail}"
        + (f" ({log_file(config.root, job)})" if result.outcome == "failed" else "")
        for job, result in odd
    ]
    raise FindingsError(
        f"{len(odd)} of {len(todo)} jobs are not done:\n" + "\n".join(lines),
        expected="all of them",
        fix="mend what their logs say, then run the sweep again: it goes on with these",
    )


def _plan_text(plan: Sequence[Job], config: SweepConfig) -> str:
    found, others = estimates(plan, config.root), other_runs(plan)
    lines = []
    for job in plan:
        one = found.get(job.folder)
        odd = f"of another experiment, so the sweep is refused: {others[job.folder]}" if job.folder in others else ""
        state = odd or "done" if is_done(job) else "unknown time" if one is None else f"about {_hours(one.seconds)}"
        lines.append(f"{job.folder}  [{state}]")
        lines.append(f"    {job.command}")
        lines += [f"    after {need}" for need in job.needs if any(other.folder == need for other in plan)]
    return "\n".join([*lines, "", _counts(plan, found, config)])


def _counts(plan: Sequence[Job], found: Mapping[str, Estimate | None], config: SweepConfig) -> str:
    kinds = Counter(job.kind for job in plan)
    shown = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    unknown = sum(one is None for one in found.values())
    parts = []
    for unit, each in (("GPU", max(1, config.gpus)), ("CPU", config.cpus)):
        seconds = [one.seconds for one in found.values() if one is not None and one.unit == unit]
        parts += [f"about {_hours(each * sum(seconds), unit)}"] if seconds else []
    if unknown:
        parts.append(f"{unknown} jobs of unknown time (no finished run of this preset and machine)")
    return f"{len(plan)} jobs ({shown}); {len(found)} to do" + (f": {', and '.join(parts)}" if parts else "")


def _hours(seconds: float, unit: str = "") -> str:
    return f"{seconds / 3600:.2g} {unit + '-' if unit else ''}hours"


def _plan_json(plan: Sequence[Job], config: SweepConfig) -> str:
    found, others = estimates(plan, config.root), other_runs(plan)
    return json.dumps(
        [
            {
                "folder": job.folder, "kind": job.kind, "command": job.command, "needs": list(job.needs),
                "done": is_done(job), "another_experiment": others.get(job.folder, ""),
                "estimated_seconds": one.seconds if (one := found.get(job.folder)) else None,
            }
            for job in plan
        ],
        indent=2,
    )  # fmt: skip


def _status_text(found: Sequence[JobStatus]) -> str:
    width = max((len(one.job.folder) for one in found), default=0)
    lines = []
    for one in sorted(found, key=lambda one: ORDER.index(one.state)):
        left = "" if one.seconds_left is None else f"{one.seconds_left / 60:.0f} min left"
        share = f"{one.share:.0%}" if one.state in ("running", "stopped", "failed") else ""
        told = "; ".join(part for part in (left, one.detail) if part)
        lines.append(f"{one.job.folder:<{width}}  {one.state:<8} {share:>4}  {told}".rstrip())
    counts = Counter(one.state for one in found)
    return "\n".join([*lines, "", ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])])
