"""One process at a time in a run folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ipv_bench.atomic_file import disk_errors
from ipv_bench.errors import RunError
from ipv_bench.progress import say


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from training in `folder` (made if it is not there) until the block ends.

    Two processes would cut each other's logs and delete each other's checkpoints. The folder itself is locked: nothing
    is written for it, and the kernel gives the lock back whenever the process ends, `kill -9` included. A folder that
    was made here, and in which nothing was written, is removed again: a refused command leaves nothing behind.

    Raises:
        RunError: another process holds the folder.
        OutputError: it cannot be made.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    descriptor = _open(folder)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while not _is_still(folder, descriptor):  # removed meanwhile by the process that had made it
                os.close(descriptor)
                descriptor = _open(folder)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"another process is training in {folder}",
                expected="one process per run",
                fix="wait for it or stop it, or give this run another folder with --run",
            ) from None
        except OSError as error:  # some network file systems cannot lock folders
            say(f"{folder} cannot be locked ({error.strerror}): make sure that no other process trains in it")
        yield
    finally:
        # Still under the lock: another process that waits for this folder must not lose it.
        with suppress(OSError):  # the first that holds something ends it
            for place in made:
                place.rmdir()
        os.close(descriptor)


def _open(folder: Path) -> int:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY)  # not inherited by programs that this process starts


def _is_still(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False
