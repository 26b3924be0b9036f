"""Shard sets on object stores and web servers: the same index, byte ranges over the network.

Requests to `s3://` are signed with the keys in the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`); without keys they are unsigned, as public buckets allow.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.atomic_file import atomic_writer
from ipv_bench.bounded_arrays import read_npy
from ipv_bench.errors import ShardSetError, UsageError
from ipv_bench.extras import missing_extras
from ipv_bench.file_names import path_inside
from ipv_bench.shard_set import MANIFEST_FILE, parse_manifest
from ipv_bench.shard_store import REPAIR, LocalStore, cut_off, flat

SCHEMES = ("s3", "https", "http")
_RETRIES = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
_CLIENT = {"connect_timeout": "10s", "timeout": "120s"}


def open_remote_store(location: str, cache: str | Path | None = None) -> RemoteStore | CachedStore:
    """The store of a remote shard set.

    Args:
        location: `s3://bucket/prefix`, `https://host/path` or `http://host/path`.
        cache: folder in which whole files are kept; None reads byte ranges and keeps nothing.

    Raises:
        UsageError: another scheme.
        MissingDependencyError: obstore is not installed.
        ShardSetError: there is no shard set, or it cannot be reached.
    """
    remote = RemoteStore(location)
    return remote if cache is None else CachedStore(remote, cache)


class RemoteStore:
    """Reads byte ranges through obstore. Safe to use from threads; worker processes must be spawned, not forked."""

    def __init__(self, location: str) -> None:
        scheme = location.partition("://")[0]
        if scheme not in SCHEMES:
            raise UsageError(
                f"{location} has the scheme {scheme!r}", expected="a folder, " + ", ".join(f"{s}://…" for s in SCHEMES)
            )
        self.location = location.rstrip("/")
        self._connect()

    def _connect(self) -> None:
        try:
            from obstore.store import HTTPStore, S3Store
        except ImportError as error:
            raise missing_extras(self.location, "s3") from error
        client: Any = {**_CLIENT, "allow_http": True}
        retries: Any = _RETRIES
        if self.location.startswith("s3://"):
            unsigned = not _has_credentials()
            self._store: Any = S3Store.from_url(
                self.location, skip_signature=unsigned, client_options=client, retry_config=retries
            )
        else:
            self._store = HTTPStore.from_url(self.location, client_options=client, retry_config=retries)
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, object]:
        return {"location": self.location}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.location = state["location"]
        self._connect()

    def read(self, name: str) -> bytes:
        """Contents of a file."""
        import obstore

        return bytes(self._ask(name, lambda: obstore.get(self._store, name).bytes()))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from byte `offset` on."""
        import obstore

        data = bytes(self._ask(name, lambda: obstore.get_range(self._store, name, start=offset, length=size)))
        if len(data) != size:
            raise cut_off(f"{self.location}/{name}", offset, size)
        return data

    def pieces(self, name: str) -> Iterator[bytes]:
        """Contents of a file, piece by piece: a shard need not fit into memory."""
        import obstore

        stream = self._ask(name, lambda: iter(obstore.get(self._store, name).stream(min_chunk_size=8 << 20)))
        while piece := self._ask(name, lambda: next(stream, None)):
            yield bytes(piece)

    def array(self, name: str) -> np.ndarray:
        """A one-dimensional `.npy` file, in memory."""
        where = f"{self.location}/{name}"
        return flat(read_npy(self.read(name), where, error=ShardSetError, fix=REPAIR), where)

    def _ask(self, name: str, request: Callable[[], Any]) -> Any:
        if os.getpid() != self._process:
            raise ShardSetError(
                f"{self.location} was opened in another process, which was then forked",
                expected="threads, or worker processes started by `spawn` or `forkserver`",
                fix='pass multiprocessing_context="spawn" to the data loader',
            )
        from obstore.exceptions import BaseError

        try:
            return request()
        except FileNotFoundError:
            raise ShardSetError(
                f"{self.location} has no {name}", expected="a complete shard set", fix="check the address"
            ) from None
        except (BaseError, OSError) as error:
            raise self._failure(name, error) from error

    def _failure(self, name: str, error: Exception) -> ShardSetError:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        words = str(error).lower()
        if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
            fix = "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION (`aws configure export-credentials`)"
        elif "range" in words:
            fix = "this server does not answer byte ranges: keep whole shards with data.cache=FOLDER"
        else:
            fix = "check the address, AWS_ENDPOINT_URL and the network"
        return ShardSetError(f"{self.location}/{name} cannot be read: {first[:300]}", fix=fix)


class CachedStore:
    """Keeps whole files of a remote set in a local folder; each is checked against the manifest when it arrives."""

    def __init__(self, remote: RemoteStore, cache: str | Path) -> None:
        self.location, self._remote = remote.location, remote
        text = remote.read(MANIFEST_FILE)
        manifest = parse_manifest(text, f"{remote.location}/{MANIFEST_FILE}")
        version = hashlib.sha256(text).hexdigest()[:16]
        self._sha256 = manifest.tables | {shard.file: shard.sha256 for shard in manifest.shards}
        self._sha256[MANIFEST_FILE] = hashlib.sha256(text).hexdigest()
        self._local = LocalStore(Path(cache) / f"{manifest.name}-{version}")
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

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
        with self._lock:
            if not path.exists():
                self._fetch(name, path)
        return self._local

    def _fetch(self, name: str, path: Path) -> None:
        digest = hashlib.sha256()
        with atomic_writer(path) as file:
            for piece in self._remote.pieces(name):
                digest.update(piece)
                file.write(piece)
            if digest.hexdigest() != self._sha256.get(name):
                raise ShardSetError(f"{self.location}/{name} is not the file that the manifest describes", fix=REPAIR)


def _has_credentials() -> bool:
    names = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
             "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip
    return any(os.environ.get(name) for name in names)
