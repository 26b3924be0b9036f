"""Jobs on a Ray cluster: one task per job; a lost node costs the time since the job's last checkpoint.

All nodes must see the same folders. Without `RAY_ADDRESS` a cluster is started on this machine for that time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ipv_bench.errors import UsageError
from ipv_bench.sweeps.config import SweepConfig
from ipv_bench.sweeps.job import Result, run_job
from ipv_bench.sweeps.plan import Job

NODE_LOSSES = 5
"""How often a job is started again elsewhere when its node or its process is lost."""


def run_on_ray(
    jobs: Sequence[Job], config: SweepConfig, parallel: int, on_result: Callable[[Result], None]
) -> list[Result]:
    """Run jobs on a cluster, each after those that it needs.

    Args:
        jobs: in an order in which each stands behind those that it needs.
        config: of the sweep.
        parallel: jobs at a time; 0: as many as the cluster has room for.
        on_result: called as each ends.

    Raises:
        ModuleNotFoundError: Ray is not installed; the command line names the extra.
        UsageError: the cluster cannot be reached.
    """
    import ray

    with contextlib.redirect_stdout(sys.stderr):  # Ray's own messages
        _connect(ray, parallel or None)
        try:
            return _run_all(ray, jobs, config, on_result)
        finally:
            ray.shutdown()


def _run_all(ray: Any, jobs: Sequence[Job], config: SweepConfig, on_result: Callable[[Result], None]) -> list[Result]:
    task = ray.remote(num_cpus=config.cpus, num_gpus=config.gpus, max_retries=NODE_LOSSES)(_run_one)
    here, paths = os.getcwd(), [path for path in sys.path if path]
    handles: dict[str, Any] = {}
    for job in jobs:
        before = [handles[need] for need in job.needs if need in handles]
        handles[job.folder] = task.remote(job, config.root, config.max_retries, here, paths, *before)
    waiting = {handle: job for job in jobs for handle in [handles[job.folder]]}
    results: dict[str, Result] = {}
    while waiting:
        done, _ = ray.wait(list(waiting), timeout=1.0)
        for handle in done:
            job = waiting.pop(handle)
            try:
                result = ray.get(handle)
            except ray.exceptions.RayError as error:
                result = Result(job.folder, "failed", detail=str(error).strip().splitlines()[-1])
            results[job.folder] = result
            on_result(result)
    return [results[job.folder] for job in jobs]


def _run_one(job: Job, root: str, max_retries: int, here: str, paths: list[str], *before: Result) -> Result:
    """On a node: the job's command, in the sweep's folder and with its import path."""
    failed = next((result for result in before if result.outcome != "done"), None)
    if failed is not None:
        return Result(job.folder, "blocked", detail=f"it needs {failed.folder}")
    os.chdir(here)
    extra = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {"PYTHONPATH": os.pathsep.join(dict.fromkeys([*extra, *(p for p in paths if Path(p).is_dir())]))}
    cores = os.environ.get("OMP_NUM_THREADS", "1")  # Ray sets it to the task's share
    return run_job(job, root, max_retries, threading.Event(), environment | {"OMP_NUM_THREADS": cores})


def _connect(ray: Any, cpus: int | None) -> None:
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "ignore_reinit_error": False}
    if address:
        options["address"] = address
    else:
        options |= {"num_cpus": cpus or len(os.sched_getaffinity(0)), "include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"the Ray cluster at {address or 'this machine'} does not answer: {str(error).splitlines()[0]}",
            expected="a running cluster",
            fix="check RAY_ADDRESS and `ray status`, or unset it for a cluster on this machine",
        ) from None
