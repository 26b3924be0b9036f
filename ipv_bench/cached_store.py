"""Whole files of a remote shard set, kept in a local folder and checked against the manifest as they arrive."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.atomic_file import atomic_writer, waited_lock
from ipv_bench.errors import ShardSetError
from ipv_bench.file_names import path_inside
from ipv_bench.remote_store import RemoteStore, shard_sizes
from ipv_bench.shard_set import MANIFEST_FILE, Manifest, parse_manifest
from ipv_bench.shard_store import MAX_WHOLE_BYTES, REPAIR, LocalStore


class CachedStore:
    """Keeps whole files of a remote set in a local folder; each is checked against the manifest when it arrives."""

    waits = False  # but for the first read of each file

    def __init__(self, remote: RemoteStore, cache: str | Path) -> None:
        self.location, self._remote = remote.location, remote
        text = remote.read(MANIFEST_FILE)
        manifest = parse_manifest(text, f"{remote.location}/{MANIFEST_FILE}")
        remote.expect(manifest)
        version = hashlib.sha256(text).hexdigest()[:16]
        self._sha256 = manifest.tables | {shard.file: shard.sha256 for shard in manifest.shards}
        self._sizes = shard_sizes(manifest)
        self._sha256[MANIFEST_FILE] = hashlib.sha256(text).hexdigest()
        self._local = LocalStore(Path(cache) / f"{manifest.name}-{version}")
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._locks: dict[str, threading.Lock] = {}

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_locks", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def expect(self, manifest: Manifest) -> None:
        """Nothing new: each file is compared with the manifest when it arrives."""

    def read(self, name: str) -> bytes:
        """Contents of a file."""
        return self._fetched(name).read(name)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from byte `offset` on."""
        return self._fetched(name).read_range(name, offset, size)

    def array(self, name: str) -> np.ndarray:
        """A one-dimensional `.npy` file, memory-mapped."""
        return self._fetched(name).array(name)

    def _fetched(self, name: str) -> LocalStore:
        path = path_inside(self._local.folder, name, self.location, ShardSetError)
        if path.exists():
            return self._local
        if name not in self._sha256:
            raise ShardSetError(
                f"{self.location}: the manifest does not know {name}", expected="a file of the set", fix=REPAIR
            )
        if self._process != os.getpid():  # forked: nobody here gives back what a thread there had locked
            self._forget()
        # One thread of one process fetches it; the inner lock is that of processes, where the file system has locks.
        with self._locks.setdefault(name, threading.Lock()), waited_lock(path):
            if not path.exists():
                self._fetch(name, path)
        return self._local

    def _fetch(self, name: str, path: Path) -> None:
        digest = hashlib.sha256()
        with atomic_writer(path) as file:
            for piece in self._remote.pieces(name, self._sizes.get(name, MAX_WHOLE_BYTES)):
                digest.update(piece)
                file.write(piece)
            if digest.hexdigest() != self._sha256.get(name):
                raise ShardSetError(
                    f"{self.location}/{name} is not the file that the manifest describes",
                    expected=f"sha256 {self._sha256.get(name)}",
                    fix=REPAIR,
                )
