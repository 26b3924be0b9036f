"""A SLURM of one node on this machine's loopback: munged, slurmctld and slurmd in a folder of their own.

Debian's `slurmctld slurmd slurm-client munge` are enough. Nothing outside the folder is read or written, and every
process is ended by its id.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
START_SECONDS = 90.0
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

CONFIG = """
ClusterName=ipvtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=10
SlurmdTimeout=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
"""


def skip_without_slurm() -> None:
    """Skip the test, naming what is not there."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs as their users, which takes root")


@contextmanager
def slurm_node(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster until the block ends; gives the variables with which SLURM's programs find it."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    config = folder / "slurm.conf"
    values = {"host": host, "ports": _free_ports(2), "folder": folder, "user": "root", "cpus": os.cpu_count() or 1}
    config.write_text(CONFIG.format(**values))
    found = {"SLURM_CONF": str(config), "PATH": _PATH}
    munged = [
        "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
        "--num-threads=2",
    ]  # fmt: skip
    processes = [_start(munged, folder, found)]
    try:
        _until(lambda: (folder / "munge.socket").exists(), "munged made no socket", folder)
        processes.append(_start(["slurmctld", "-D", "-i"], folder, found))
        processes.append(_start(["slurmd", "-D", "-N", host], folder, found))
        _until(lambda: "idle" in slurm(found, "sinfo", "--noheader", "--format=%t"), "the node is not idle", folder)
        yield found
    finally:
        slurm(found, "scancel", "--user=root", "--signal=KILL", "--full")
        slurm(found, "scancel", "--user=root")
        with suppress(AssertionError):
            _until(lambda: not slurm(found, "squeue", "--noheader"), "jobs do not end", folder, seconds=30)
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def slurm(variables: dict[str, str], *words: str) -> str:
    """Output of one of SLURM's programs; empty where it fails."""
    done = subprocess.run(words, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout if done.returncode == 0 else ""


def _start(words: Sequence[str], folder: Path, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(folder / f"{words[0]}.out", "wb") as output:
        return subprocess.Popen(
            words, env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def _free_ports(number: int) -> list[int]:
    places = [socket.socket() for _ in range(number)]
    for place in places:
        place.bind(("127.0.0.1", 0))
    ports = [place.getsockname()[1] for place in places]
    for place in places:
        place.close()
    return ports


def _until(condition, what: str, folder: Path, seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(folder.glob("*.out")))
            raise AssertionError(f"{what} after {seconds:.0f} s:\n{logs}")
        time.sleep(0.3)
