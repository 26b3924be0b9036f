"""Jobs on this machine, some at a time, each with its share of the cores or a GPU of its own."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

from ipv_bench.sweeps.config import SweepConfig
from ipv_bench.sweeps.job import Result, keep_note, run_job
from ipv_bench.sweeps.planned_job import Job


def run_locally(
    jobs: Sequence[Job], config: SweepConfig, parallel: int, on_result: Callable[[Result], None]
) -> list[Result]:
    """Run jobs, each after those that it needs; one that fails blocks those that need it, and no other.

    Args:
        jobs: in an order in which each stands behind those that it needs.
        config: of the sweep.
        parallel: jobs at a time.
        on_result: called as each ends.

    Returns:
        A result per job. On Ctrl-C (KeyboardInterrupt) the running commands save their state first.
    """
    stop, slots = threading.Event(), SimpleQueue[int]()
    for slot in range(parallel):
        slots.put(slot)
    gpus, threads = _gpus(), max(1, len(os.sched_getaffinity(0)) // parallel)

    def work(job: Job) -> Result:
        slot = slots.get()
        try:
            return run_job(job, config.root, config.max_retries, stop, _environment(slot, threads, gpus))
        finally:
            slots.put(slot)

    results: dict[str, Result] = {}
    waiting, running = list(jobs), dict[Future[Result], Job]()
    with ThreadPoolExecutor(parallel) as pool:
        try:
            while waiting or running:
                for job in _ready(waiting, jobs, results):
                    waiting.remove(job)
                    blocked = _blocked(job, results)
                    if blocked is not None:
                        keep_note(config.root, job, blocked)
                        results[job.folder] = blocked
                        on_result(blocked)
                    else:
                        running[pool.submit(work, job)] = job
                # A short wait: a signal is handled between two.
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    results[running.pop(future).folder] = result
                    on_result(result)
        except BaseException:
            stop.set()
            for future in running:
                future.cancel()
            raise
    return [results[job.folder] for job in jobs]


def _ready(waiting: Sequence[Job], jobs: Sequence[Job], results: dict[str, Result]) -> list[Job]:
    ours = {job.folder for job in jobs}
    return [job for job in waiting if all(need in results or need not in ours for need in job.needs)]


def _blocked(job: Job, results: dict[str, Result]) -> Result | None:
    for need in job.needs:
        if need in results and results[need].outcome != "done":
            return Result(job.folder, "blocked", detail=f"it needs {need}")
    return None


def _environment(slot: int, threads: int, gpus: Sequence[str]) -> dict[str, str]:
    chosen = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return chosen | ({"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if gpus else {})


def _gpus() -> list[str]:
    """GPUs that jobs may use: those of `CUDA_VISIBLE_DEVICES`, else all that the driver lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number, line in enumerate(done.stdout.splitlines()) if line.startswith("GPU ")]
