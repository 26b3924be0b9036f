"""Where the files of a shard set are: a local folder here, object stores in `remote_store`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

import numpy as np

from ipv_bench.bounded_arrays import read_npy
from ipv_bench.bounded_file import read_bytes
from ipv_bench.errors import ShardSetError
from ipv_bench.file_names import path_inside
from ipv_bench.shard_set import Manifest


class ShardStore(Protocol):
    """Reads the files of one shard set. Safe to use from threads, and to send to worker processes.

    Attributes:
        location: folder or address.
        waits: whether a read waits for a network: several at once then take hardly longer than one.
    """

    location: str
    waits: bool

    def expect(self, manifest: Manifest) -> None:
        """Hear what the set's files are: from now on another one is refused where that is seen while reading it."""

    def read(self, name: str) -> bytes:
        """Contents of a file.

        Raises:
            ShardSetError: there is no such file, or it cannot be read.
        """

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from byte `offset` on.

        Raises:
            ShardSetError: there is no such file, it cannot be read, it ends before, or it is another one.
        """

    def array(self, name: str) -> np.ndarray:
        """A one-dimensional `.npy` file, memory-mapped where possible.

        Raises:
            ShardSetError: there is no such file, it is another one, or not a flat `.npy` file.
        """


class LocalStore:
    """A shard set in a local folder. Files stay open; each read carries its own position: threads can share them."""

    waits = False

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.location = str(folder)
        self._descriptors: dict[str, int] = {}

    def expect(self, manifest: Manifest) -> None:
        """Nothing: to hash what is mapped would read it all; `ipv-bench verify` does."""

    def read(self, name: str) -> bytes:
        """Contents of a file."""
        return read_bytes(self._path(name), error=ShardSetError, limit=MAX_WHOLE_BYTES, fix=REPAIR)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from byte `offset` on."""
        try:
            descriptor = self._descriptors.get(name)
            if descriptor is None:
                descriptor = self._descriptors.setdefault(name, _open_regular(self._path(name)))
            data = os.pread(descriptor, size, offset)
        except OSError as error:
            raise _unreadable(self.folder / name, error) from error
        if len(data) < size:
            raise cut_off(str(self.folder / name), offset, size)
        return data

    def array(self, name: str) -> np.ndarray:
        """A one-dimensional `.npy` file, memory-mapped."""
        path = self._path(name)
        return flat(read_npy(path, error=ShardSetError, mapped=True, fix=REPAIR), str(path))

    def _path(self, name: str) -> Path:
        return path_inside(self.folder, name, self.location, ShardSetError)

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "location": self.location, "_descriptors": {}}

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


MAX_WHOLE_BYTES = 4 << 30
"""Largest file that is read as a whole: tables and manifests; shards and frame offsets are not."""
REPAIR = "run `ipv-bench verify` on the set: it names every defect and how to repair it"


def flat(values: np.ndarray, where: str) -> np.ndarray:
    """`values` when one-dimensional.

    Raises:
        ShardSetError: it has another shape.
    """
    if values.ndim != 1:
        raise ShardSetError(f"{where} has shape {values.shape}", expected="a flat array", fix=REPAIR)
    return values


def cut_off(where: str, offset: int, size: int) -> ShardSetError:
    """The error for a file that ends before the index says."""
    return ShardSetError(
        f"{where} ends before byte {offset + size}", expected="the size that the index was made for", fix=REPAIR
    )


def _open_regular(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for a writer
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ShardSetError(f"{path} is no regular file", expected="a complete shard set", fix=REPAIR)


def _unreadable(path: Path, error: OSError) -> ShardSetError:
    return ShardSetError(f"{path} cannot be read: {error.strerror}", expected="a complete shard set", fix=REPAIR)
