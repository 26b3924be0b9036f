"""Counts the file-system calls that a process makes below a folder, and kills the process (-9) at one of them.

Or the disk is full from one of them on: what would need room then fails with ENOSPC.

Opening for writing, renaming, exchanging, deleting, cutting and making folders are seen by Python's audit events;
writes and fsyncs, which have none, by standing in their way. A fatal write is half done, every other fatal call is not
done at all: so all states that a kill can leave are reached, one by one. What is written by libraries in C is not seen.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEEDS_ROOM = ("open", "write", "fsync", "mkdir")
"""Kinds of calls that fail on a full disk."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_lock = threading.RLock()


class FileCalls:
    """The calls of this process below `root`, from `install` on.

    Args:
        root: folder whose files count.
        fatal: number of the call at which the process is killed, from 1 on; 0: none.
        log: file outside of `root` to which every call is written, one line each; None: none.
        full: number of the call from which on the disk is full; 0: never.
    """

    def __init__(self, root: Path, fatal: int = 0, log: Path | None = None, full: int = 0) -> None:
        self._full = full
        self._root, self._fatal, self._count = os.path.realpath(root), fatal, 0
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if log is not None else -1
        self._fsync = os.fsync

    def install(self) -> None:
        """Begin; it cannot be undone, so this is for child processes."""
        sys.addaudithook(self._on_event)
        opened = io.open

        def open_counted(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            found = opened(file, mode, *arguments, **options)
            writing = any(letter in mode for letter in "wax+") and not isinstance(file, int)
            return _CountedFile(found, self, str(file)) if writing and self._inside(file) else found

        builtins.open = io.open = open_counted  # type: ignore[assignment]
        os.fsync = self._counted_fsync

    def happens(self, kind: str, path: str, before_death: Callable[[], None] | None = None) -> None:
        """Count a call; the process ends here when it is the fatal one."""
        with _lock:
            self._count += 1
            if self._log >= 0:
                os.write(self._log, f"{kind} {os.path.relpath(path, self._root)}\n".encode())
            if self._count == self._fatal:
                if before_death is not None:
                    before_death()
                os.kill(os.getpid(), signal.SIGKILL)
            if self._full and self._count >= self._full and kind in NEEDS_ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & _WRITING and isinstance(path, str | bytes | os.PathLike) and self._inside(path):
                self.happens("open", os.fsdecode(path))
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.truncate"):
            path = self._path(*arguments[:1], folder=arguments[-1] if event in ("os.remove", "os.rmdir") else -1)
            if self._inside(path):
                self.happens(event.removeprefix("os."), path)
        elif event == "ctypes.dlsym" and arguments[1] == "renameat2":
            self.happens("exchange", self._root)

    def _path(self, path: Any, folder: int) -> str:
        """The path of a call, which may be an open file, or relative to an open folder."""
        if isinstance(path, int):
            return os.readlink(f"/proc/self/fd/{path}")
        name = os.fsdecode(path)
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name) if folder >= 0 else name

    def _inside(self, path: Any) -> bool:
        found = os.path.abspath(os.fsdecode(path))
        return found == self._root or found.startswith(self._root + os.sep)

    def _counted_fsync(self, file: Any) -> None:
        path = os.readlink(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")
        if self._inside(path):
            self.happens("fsync", path)
        self._fsync(file)


class _CountedFile:
    """An open file whose writes are counted; everything else is the file's own."""

    def __init__(self, file: Any, calls: FileCalls, path: str) -> None:
        self._file, self._calls, self._path = file, calls, os.path.abspath(path)

    def write(self, data: Any) -> int:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._calls.happens("write", self._path, half)
        return int(self._file.write(data))

    def truncate(self, size: int | None = None) -> int:
        self._calls.happens("truncate", self._path)
        return int(self._file.truncate(size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __iter__(self) -> Any:
        return iter(self._file)

    def __enter__(self) -> _CountedFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def watch_decoders() -> None:
    """For `sitecustomize` of decoder processes: the first one that reaches the fatal call dies, the others live."""
    mark = Path(os.environ["FAULTS_MARK"])
    if "pipelines.jobs.decode_worker" not in " ".join(sys.orig_argv) or mark.exists():
        return
    fatal = int(os.environ["FAULTS_FATAL"])
    log = Path(os.environ["FAULTS_LOG"]) if os.environ.get("FAULTS_LOG") else None
    calls = FileCalls(Path(os.environ["FAULTS_ROOT"]), fatal, log)
    happens = calls.happens

    def marked(kind: str, path: str, before_death: Callable[[], None] | None = None) -> None:
        def mark_and_die() -> None:
            os.close(os.open(mark, os.O_CREAT | os.O_WRONLY))
            if before_death is not None:
                before_death()

        happens(kind, path, mark_and_die)

    calls.happens = marked  # type: ignore[method-assign]
    calls.install()
