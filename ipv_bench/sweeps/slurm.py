"""Jobs on a SLURM cluster, through submitit: arrays; a job that is preempted or out of time is submitted again."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from ipv_bench.errors import UsageError
from ipv_bench.sweeps.config import SweepConfig
from ipv_bench.sweeps.job import STATE_FOLDER, Result, run_job
from ipv_bench.sweeps.plan import Job


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
        """Run the job; raises when it failed, so that SLURM knows."""
        self._stop = threading.Event()
        # In a thread: `checkpoint` interrupts this one, and waits until the command has saved its state.
        with ThreadPoolExecutor(1) as pool:
            self._running = pool.submit(run_job, self.job, self.root, self.max_retries, self._stop)
            result = self._running.result()
        if result.outcome == "failed":
            raise RuntimeError(f"{self.job.folder}: {result.detail}")
        return vars(result)

    def checkpoint(self) -> Any:
        """Called by submitit before the job is taken off its node: let the command save its state, then go on later."""
        from submitit.helpers import DelayedSubmission

        self._stop.set()
        wait([self._running])
        return DelayedSubmission(SlurmTask(self.job, self.root, self.max_retries))


def submit(jobs: Sequence[Job], config: SweepConfig, parallel: int) -> dict[str, Any]:
    """Submit jobs: per set of needs an array, which depends on the jobs that it needs.

    Args:
        jobs: in an order in which each stands behind those that it needs.
        config: of the sweep; `slurm` says how.
        parallel: jobs of an array that may run at the same time; 0: as the cluster allows.

    Returns:
        Job folder → submitit's job.

    Raises:
        ModuleNotFoundError: submitit is not installed; the command line names the extra.
        UsageError: there is no `sbatch` on this machine.
    """
    import submitit

    if config.slurm.cluster == "slurm" and shutil.which("sbatch") is None:
        raise UsageError(
            "this machine has no `sbatch`",
            expected="a node of a SLURM cluster from which jobs are submitted",
            fix="run the sweep there, or use --on local or --on ray",
        )
    submitted: dict[str, Any] = {}
    groups: dict[tuple[str, ...], list[Job]] = {}
    ours = {job.folder for job in jobs}
    for job in jobs:
        groups.setdefault(tuple(need for need in job.needs if need in ours), []).append(job)
    for needs, group in groups.items():
        before = [submitted[need] for need in needs]
        if config.slurm.cluster != "slurm":
            for parent in before:
                parent.wait()  # submitit's stand-ins know no dependencies
        executor = _executor(submitit, config, parallel, [parent.job_id for parent in before])
        with executor.batch():  # one array
            handles = [executor.submit(SlurmTask(job, config.root, config.max_retries)) for job in group]
        submitted |= {job.folder: handle for job, handle in zip(group, handles, strict=True)}
    return submitted


def results_of(submitted: dict[str, Any], jobs: Sequence[Job]) -> list[Result]:
    """Wait for submitted jobs; what SLURM ended is named as failed."""
    results = []
    for job in jobs:
        try:
            results.append(Result(**submitted[job.folder].result()))
        except Exception as error:  # noqa: BLE001  (whatever ended it, the job is what failed)
            results.append(Result(job.folder, "failed", detail=str(error).splitlines()[-1]))
    return results


def _executor(submitit: Any, config: SweepConfig, parallel: int, parents: Sequence[str]) -> Any:
    folder = Path(config.root).resolve() / STATE_FOLDER / "slurm" / "%j"
    executor = submitit.AutoExecutor(folder=folder, cluster=config.slurm.cluster)
    options: dict[str, Any] = {
        "timeout_min": config.slurm.timeout_min,
        "cpus_per_task": config.cpus,
        "name": "ipv-bench",
    }
    if config.gpus:
        options["gpus_per_node"] = config.gpus
    if config.slurm.cluster == "slurm":
        more = dict(config.slurm.parameters)
        if parents:
            more["dependency"] = "afterok:" + ":".join(parents)
        options |= {"slurm_additional_parameters": more}
        if config.slurm.partition:
            options["slurm_partition"] = config.slurm.partition
        if parallel:
            options["slurm_array_parallelism"] = parallel
    executor.update_parameters(**options)
    return executor
