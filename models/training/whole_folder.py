"""Folders that are there complete or not at all: written under a hidden name, locked meanwhile, and renamed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ipv_bench.atomic_file import TEMPORARY_SUFFIX, exchange, fsync_folder


@contextmanager
def unfinished(final: Path) -> Iterator[Path]:
    """A new folder beside `final`, locked while the block writes it; on error it is deleted."""
    temporary = final.with_name(f".{final.name}.{_token()}{TEMPORARY_SUFFIX}")
    temporary.mkdir()
    try:
        with _locked(temporary):
            yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _token() -> str:
    return os.urandom(8).hex()


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which the kernel gives back with the process; False where another process holds it.

    Some file systems lock no folders: there who holds the run is believed to be the only one.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        is_ours = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_ours = False
        except OSError:
            pass
        yield is_ours
    finally:
        with contextlib.suppress(OSError):  # by name: a process forked meanwhile has the descriptor too
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def is_written(entry: Path) -> bool:
    """Whether another process holds an unfinished folder."""
    if entry.is_symlink() or not entry.is_dir():
        return False
    try:
        with _locked(entry) as is_ours:
            return not is_ours
    except FileNotFoundError:  # it was finished, or deleted, meanwhile
        return True


def replace_folder(temporary: Path, final: Path) -> None:
    """Give a complete folder its name; another one that has it is deleted once the new one is durable."""
    old = None
    if not final.exists():
        os.rename(temporary, final)
    elif exchange(temporary, final):
        old = temporary
    else:
        old = final.with_name(f".old-{final.name}.{_token()}{TEMPORARY_SUFFIX}")
        os.rename(final, old)
        os.rename(temporary, final)
    fsync_folder(final.parent)
    if old is not None:
        discard(old)


def discard(folder: Path) -> None:
    """Delete a checkpoint folder.

    Renamed first, so that a kill in the middle of the deletion leaves nothing that looks complete.
    """
    gone = folder.with_name(f".gone-{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)
