"""Jobs on a Ray cluster: one task per job; a lost node costs the time since the job's last checkpoint.

All nodes must see the same folders. Without `RAY_ADDRESS` a cluster is started on this machine for that time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ipv_bench.errors import UsageError
from ipv_bench.sweeps.config import SweepConfig
from ipv_bench.sweeps.job import InterruptibleJob, Result, keep_note
from ipv_bench.sweeps.planned_job import Job

NODE_LOSSES = 5
"""How often a job is started again elsewhere when its node or its process is lost."""
STOP_SECONDS = 150.0
"""How long commands may take to save their state on Ctrl-C."""
ANSWER_SECONDS = 10.0
"""How long a cluster's port may take to answer."""


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
    try:
        _collect(ray, waiting, results, on_result)
    except KeyboardInterrupt:
        for handle in waiting:
            ray.cancel(handle, force=False)  # KeyboardInterrupt in its worker, which lets the command save its state
        ray.wait(list(waiting), num_returns=len(waiting), timeout=STOP_SECONDS)
        raise
    return [results[job.folder] for job in jobs]


def _collect(
    ray: Any, waiting: dict[Any, Job], results: dict[str, Result], on_result: Callable[[Result], None]
) -> None:
    """Move jobs from `waiting` to `results` as they end."""
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


def _run_one(job: Job, root: str, max_retries: int, here: str, paths: list[str], *before: Result) -> Result:
    """On a node: the job's command, in the sweep's folder and with its import path."""
    failed = next((result for result in before if result.outcome != "done"), None)
    os.chdir(here)
    if failed is not None:
        blocked = Result(job.folder, "blocked", detail=f"it needs {failed.folder}")
        keep_note(root, job, blocked)
        return blocked
    extra = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {"PYTHONPATH": os.pathsep.join(dict.fromkeys([*extra, *(p for p in paths if Path(p).is_dir())]))}
    cores = os.environ.get("OMP_NUM_THREADS", "1")  # Ray sets it to the task's share
    return InterruptibleJob(job, root, max_retries, environment | {"OMP_NUM_THREADS": cores}).run()


def _connect(ray: Any, cpus: int | None) -> None:
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "ignore_reinit_error": False}
    if address:
        options["address"] = address
    else:
        options |= {"num_cpus": cpus or len(os.sched_getaffinity(0)), "include_dashboard": False}
    try:
        if address:
            _knock(address)
        ray.init(**options)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"the Ray cluster at {address or 'this machine'} does not answer: {str(error).splitlines()[0]}",
            expected="a running cluster",
            fix="check RAY_ADDRESS and `ray status`, or unset it for a cluster on this machine",
        ) from None


def _knock(address: str) -> None:
    """Open and close a connection: Ray itself would try for minutes to reach an address where nobody is.

    Raises:
        OSError: nobody answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
