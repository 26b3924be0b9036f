"""The supervised process: decodes the items of one order after another and appends their blocks to a shard file.

It is started by `pipelines.jobs.supervise` with a socket and a shared page. Per item it sends one small message; after
each frame it only writes a number into the shared page, where the supervisor looks from time to time. The kernel ends
the process when an item uses more CPU time than it may (SIGPROF), even while a codec library loops in C.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from ipv_bench.allocator import keep_freed_memory
from pipelines.datasets.base import SourceItem
from pipelines.datasets.prepare_config import PrepareConfig

PAGE = struct.Struct("<qq")
"""Shared page: number of the item in work (-1 between items), signs of progress since the process began."""
_UNFORESEEN = "ipv-bench met an error that it does not foresee, and the file may be whole (please report it)"
_PR_SET_PDEATHSIG = 1
_BUFFER_BYTES = 64 << 10
"""Frames of some kilobytes go to the shard file in pieces of this size."""
_LARGEST_KEPT_BYTES, _FREE_BYTES = 16 << 20, 64 << 20
"""Of freed memory a process keeps blocks up to the one size, up to the other in all: each video's decoder asks for
about as much as the one before. Pictures of 8K are larger, and go back."""


@dataclass(frozen=True)
class WorkItem:
    """One source item of an order.

    Attributes:
        number: its place in the inventory.
        key: of its sample.
        cpu_seconds: CPU time that it may use.
    """

    number: int
    key: str
    item: SourceItem
    cpu_seconds: float


@dataclass(frozen=True)
class WorkOrder:
    """Items whose blocks are appended to one file.

    Attributes:
        path: the unfinished shard; it is cut to `start` first.
        start: bytes of it that are finished.
        source: the folder that the items' paths are relative to.
    """

    path: Path
    start: int
    source: Path
    config: PrepareConfig
    items: Sequence[WorkItem]


def main(arguments: Sequence[str]) -> None:
    """Serve orders until the supervisor closes the connection."""
    from pipelines.decoding.gathers import avoid_gathers

    socket, page_file, parent = map(int, arguments)
    _die_with(parent)
    page = mmap.mmap(page_file, PAGE.size)
    keep_freed_memory(_LARGEST_KEPT_BYTES, _FREE_BYTES)
    avoid_gathers()
    with Connection(socket) as connection:
        while True:
            try:
                order = connection.recv()
            except (EOFError, ConnectionResetError):
                return
            try:
                _serve(order, connection, page)
            except (BrokenPipeError, ConnectionResetError):  # the supervisor is gone
                return
            except OSError as error:
                connection.send(("output", error.errno, error.strerror or str(error)))


def _serve(order: WorkOrder, connection: Connection, page: mmap.mmap) -> None:
    from pipelines.shards.sample_block import failure_outcome, without_place, write_block

    with open(order.path, "r+b", _BUFFER_BYTES) as file:
        file.truncate(order.start)
        file.seek(order.start)
        for work in order.items:
            PAGE.pack_into(page, 0, work.number, PAGE.unpack_from(page)[1] + 1)

            def tick(number: int = work.number) -> None:
                PAGE.pack_into(page, 0, number, PAGE.unpack_from(page)[1] + 1)

            signal.setitimer(signal.ITIMER_PROF, work.cpu_seconds)
            start = file.tell()
            try:
                outcome = write_block(work.item, work.key, order.source, order.config, file, tick)
            except MemoryError:
                outcome = failure_outcome(work.item, "out_of_memory", "the decoder asked for more memory than there is")
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001  (one odd video must never stop a job; the type is reported)
                words = without_place(f"{_UNFORESEEN}: {type(error).__name__}: {error}", order.source)
                outcome = failure_outcome(work.item, "corrupt", words)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if not outcome.size_bytes:
                file.seek(start)
                file.truncate()
            file.flush()
            PAGE.pack_into(page, 0, -1, PAGE.unpack_from(page)[1])
            connection.send(("outcome", work.number, outcome))


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process when its supervisor dies; elsewhere the closed socket does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
