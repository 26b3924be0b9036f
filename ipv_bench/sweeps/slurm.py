"""Jobs on a SLURM cluster, through submitit: arrays; a job that is preempted or out of time is submitted again.

Two things take a running job off its node, and both lead to the same: its command saves its state, and SLURM runs the
job again, which goes on. Some time before it is out of time, submitit calls `checkpoint`. A preempted job, or one that
`scontrol requeue` takes away, gets SIGTERM and is killed soon after.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipv_bench.atomic_file import write_bytes
from ipv_bench.errors import UsageError
from ipv_bench.sweeps.config import SweepConfig
from ipv_bench.sweeps.job import (
    STATE_FOLDER,
    InterruptibleJob,
    Result,
    keep_note,
    submission_file,
    submission_id,
)
from ipv_bench.sweeps.planned_job import Job

ARRAY_JOBS = 1000
"""Jobs of one array at most: SLURM's MaxArraySize is 1001 unless a cluster changed it."""
MAX_TIMEOUTS = 10_000
"""How often a job may be out of time and submitted again."""
_LIVE = "PENDING,CONFIGURING,RUNNING,SUSPENDED,STOPPED,COMPLETING,REQUEUED,REQUEUE_HOLD,SIGNALING,STAGE_OUT"


class SlurmTask:
    """One job as submitit carries it: a call that can be pickled, and that can be submitted again.

    Args:
        job: what to run.
        root: folder of the runs.
        max_retries: of the sweep.
    """

    def __init__(self, job: Job, root: str, max_retries: int) -> None:
        self.job, self.root, self.max_retries = job, root, max_retries

    def __call__(self) -> dict[str, Any]:
        """Run the job; raises when it failed, so that SLURM knows and does not start what needs it."""
        self._running = InterruptibleJob(self.job, self.root, self.max_retries)
        with _on_sigterm(self._running.stop):
            result = self._running.run()
        if result.outcome == "failed":
            raise RuntimeError(f"{self.job.folder}: {result.detail}")
        if result.outcome == "interrupted":
            # No result is kept then: submitit would take a job that has one for done when SLURM starts it again.
            sys.exit(128 + signal.SIGTERM)
        return vars(result)

    def checkpoint(self) -> Any:
        """Called by submitit before the job is out of time: let the command save its state, then go on later."""
        from submitit.helpers import DelayedSubmission

        self._running.stop_and_wait()
        return DelayedSubmission(SlurmTask(self.job, self.root, self.max_retries))


@contextmanager
def _on_sigterm(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` on SIGTERM (submitit would only note it) until the block ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass
class Submitted:
    """What became of jobs that were handed to submitit.

    Attributes:
        handles: job folder → submitit's job.
        queued: job folder → id, of jobs that an earlier sweep submitted and that still wait or run.
        results: job folder → result, of jobs that had to be waited for or could not be submitted.
    """

    handles: dict[str, Any] = field(default_factory=dict)
    queued: dict[str, str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)

    def id_of(self, folder: str) -> str:
        """Under which id a job waits or runs."""
        return self.queued.get(folder) or str(self.handles[folder].job_id)

    def result_of(self, job: Job) -> Result:
        """Wait for a job; what ended it otherwise than by itself is named."""
        if job.folder not in self.results:
            handle = self.handles[job.folder]
            try:
                error = handle.exception()  # asks the stand-in for debugging in a way that starts no debugger
                found = Result(job.folder, "failed", detail=_last(error)) if error else Result(**handle.result())
            except Exception as error:  # noqa: BLE001  (whatever ended it, the job is what failed)
                found = Result(job.folder, "failed", detail=_last(error))
            self.results[job.folder] = found
        return self.results[job.folder]

    def cancel(self) -> None:
        """End what still runs; commands save their state."""
        for folder, handle in self.handles.items():
            if folder not in self.results:
                with suppress(OSError):
                    handle.cancel(check=False)


def _last(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def check_cluster(config: SweepConfig) -> None:
    """Refuse a machine from which nothing can be submitted.

    Raises:
        UsageError: there is no `sbatch`, and the sweep's cluster is no stand-in.
    """
    if config.slurm.cluster == "slurm" and shutil.which("sbatch") is None:
        raise UsageError(
            "this machine has no `sbatch`",
            expected="a node of a SLURM cluster from which jobs are submitted",
            fix="run the sweep there, or use --on local or --on ray",
        )


def submit(jobs: Sequence[Job], config: SweepConfig, parallel: int) -> Submitted:
    """Submit jobs: per set of needs an array, which depends on the jobs that it needs.

    A job that an earlier sweep submitted and that still waits or runs is not submitted again.

    Args:
        jobs: in an order in which each stands behind those that it needs.
        config: of the sweep; `slurm` says how.
        parallel: jobs of an array that may run at the same time; 0: as the cluster allows.

    Raises:
        ModuleNotFoundError: submitit is not installed; the command line names the extra.
        UsageError: there is no `sbatch` on this machine, or it refuses the jobs.
    """
    import submitit

    real = config.slurm.cluster == "slurm"
    check_cluster(config)
    found = Submitted(queued=_queued(jobs, config) if real else {})
    ours = {job.folder for job in jobs}
    for needs, group in _groups(jobs, ours, found.queued):
        if not real and not _stand_in_ready(needs, group, jobs, found, config):
            continue
        parents = [found.id_of(need) for need in needs]
        executor = _executor(submitit, config, parallel, parents if real else [])
        for start in range(0, len(group), ARRAY_JOBS):
            _submit_array(executor, group[start : start + ARRAY_JOBS], config, found)
    return found


def _submit_array(executor: Any, group: Sequence[Job], config: SweepConfig, found: Submitted) -> None:
    try:
        with executor.batch():  # one array
            handles = [executor.submit(SlurmTask(job, config.root, config.max_retries)) for job in group]
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        raise UsageError(
            f"`sbatch` refuses the jobs: {_last(error)}",
            expected="a controller that answers (`sinfo`), and parameters that it takes",
            fix="see `slurm` in the sweep; jobs that were submitted before stay in the queue (`squeue --me`)",
        ) from None
    for job, handle in zip(group, handles, strict=True):
        found.handles[job.folder] = handle
        if config.slurm.cluster == "slurm":
            write_bytes(submission_file(config.root, job), f"{handle.job_id}\n".encode())


def _groups(jobs: Sequence[Job], ours: set[str], queued: dict[str, str]) -> Iterator[tuple[tuple[str, ...], list[Job]]]:
    """Jobs to submit by what they need, in order."""
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        if job.folder not in queued:
            groups.setdefault(tuple(need for need in job.needs if need in ours), []).append(job)
    yield from groups.items()


def _stand_in_ready(
    needs: Sequence[str], group: Sequence[Job], jobs: Sequence[Job], found: Submitted, config: SweepConfig
) -> bool:
    """Wait for the jobs that a group needs, since submitit's stand-ins know no dependencies; False: one failed."""
    failed = [one.folder for one in jobs if one.folder in needs and found.result_of(one).outcome != "done"]
    for job in group if failed else ():
        found.results[job.folder] = Result(job.folder, "blocked", detail=f"it needs {failed[0]}")
        keep_note(config.root, job, found.results[job.folder])
    return not failed


def _queued(jobs: Sequence[Job], config: SweepConfig) -> dict[str, str]:
    """Job folder → id, of those that were submitted before and still wait or run."""
    ids = {job.folder: name for job in jobs if (name := submission_id(config.root, job))}
    if not ids:
        return {}
    try:
        done = subprocess.run(
            ["squeue", "--me", "--noheader", "--array", "--format=%i", f"--states={_LIVE}"],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as problem:
        said = (getattr(problem, "stderr", "") or str(problem)).strip()
        raise UsageError(
            f"squeue does not say whether the {len(ids)} jobs that were submitted before still wait: {said[-300:]}",
            expected="its answer: without it they would be submitted a second time",
            fix=f"run the same command again when squeue answers; or, to forget them, delete the .slurm files in "
            f"{Path(config.root) / STATE_FOLDER}",
        ) from None
    live = set(done.stdout.split())
    return {folder: name for folder, name in ids.items() if name in live}


def _executor(submitit: Any, config: SweepConfig, parallel: int, parents: Sequence[str]) -> Any:
    folder = Path(config.root).resolve() / STATE_FOLDER / "slurm" / "%j"
    kind = config.slurm.cluster
    own = {"slurm_max_num_timeout": MAX_TIMEOUTS} if kind == "slurm" else {}
    executor = submitit.AutoExecutor(folder=folder, cluster=kind, **own)
    options: dict[str, Any] = {
        "timeout_min": config.slurm.timeout_min,
        "cpus_per_task": config.cpus,
        "name": "ipv-bench",
    }
    if config.gpus:
        options["gpus_per_node"] = config.gpus
    if kind == "slurm":
        more: dict[str, Any] = {"requeue": True, **config.slurm.parameters}
        if parents:
            more["dependency"] = "afterok:" + ":".join(parents)
            more.setdefault("kill_on_invalid_dep", "yes")  # else what needs a failed job stays queued for ever
        options |= {"slurm_additional_parameters": more}
        if config.slurm.partition:
            options["slurm_partition"] = config.slurm.partition
        if parallel:
            options["slurm_array_parallelism"] = parallel
    executor.update_parameters(**options)
    return executor
