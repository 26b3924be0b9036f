"""Shard sets on object stores and web servers: the same index, byte ranges over the network.

Requests to `s3://` are signed with the keys in the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`); without keys they are unsigned, as public buckets allow.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np

from ipv_bench.addresses import public_address, without_credentials
from ipv_bench.bounded_arrays import read_npy
from ipv_bench.errors import ShardSetError, UsageError
from ipv_bench.extras import missing_extras
from ipv_bench.file_versions import FileVersions
from ipv_bench.patience import Patience
from ipv_bench.shard_set import MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest
from ipv_bench.shard_store import MAX_WHOLE_BYTES, REPAIR, cut_off, flat
from ipv_bench.web_client import PATIENCE_SECONDS, WebClient
from ipv_bench.web_error import WebError

SCHEMES = ("s3", "https", "http")
PUBLISHED_ANEW = (
    "the set was published anew under its address: start again to read the new one, or keep the old address's files "
    "apart; a server that gives one file under several ETags is read with data.cache=FOLDER, by the manifest's hashes"
)
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")
_AT_FIRST: dict[str, Any] = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
_THEN = _AT_FIRST | {"max_retries": 0}
"""Of a store that was reached before: an outage of less than a minute is waited for here, where a stop is heeded."""
_PASSING = re.compile(r"status code: (?:408|429|5\d\d)\b|HTTP error: ")
_BODY_TRIES = 3
_CLIENT = {"connect_timeout": "10s", "timeout": "120s"}


def open_remote_store(location: str) -> RemoteStore:
    """The store of a remote shard set, which reads byte ranges and keeps nothing.

    Args:
        location: `s3://bucket/prefix`, `https://host/path` or `http://host/path`.

    Raises:
        UsageError: another scheme.
        MissingDependencyError: obstore, which `s3://` needs, is not installed.
        ShardSetError: there is no shard set, or it cannot be reached.
    """
    scheme = location.partition("://")[0]
    if scheme not in SCHEMES:
        raise UsageError(
            f"{public_address(location)} has the scheme {scheme!r}",
            expected="a folder, " + ", ".join(f"{s}://…" for s in SCHEMES),
            fix="write one of these, or copy the set here and name its folder",
        )
    return ObjectStore(location) if scheme == "s3" else WebStore(location)


class RemoteStore:
    """What object stores and web servers have in common. Safe to use from threads.

    Attributes:
        location: the address, without user, password and signature: it stands in messages and run records.
    """

    location: str
    waits = True
    _sha256: Mapping[str, str] = {}
    """Of the tables, once the manifest is known."""

    def expect(self, manifest: Manifest) -> None:
        """Hear what the set's files are."""
        self._sha256 = dict(manifest.tables)

    def read(self, name: str) -> bytes:
        """Contents of a file."""
        raise NotImplementedError

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from byte `offset` on."""
        raise NotImplementedError

    def pieces(self, name: str, limit: int) -> Iterator[bytes]:
        """Contents of a file of at most `limit` bytes, piece by piece: a shard need not fit into memory."""
        raise NotImplementedError

    def array(self, name: str) -> np.ndarray:
        """A one-dimensional `.npy` file, in memory."""
        where, data = f"{self.location}/{name}", self.read(name)
        expected = self._sha256.get(name)
        if expected is not None and hashlib.sha256(data).hexdigest() != expected:
            raise ShardSetError(
                f"{where} is not the file that the manifest describes", expected=f"sha256 {expected}", fix=REPAIR
            )
        return flat(read_npy(data, where, error=ShardSetError, fix=REPAIR), where)

    def _unreadable(self, name: str, words: str, fix: str) -> ShardSetError:
        return ShardSetError(
            f"{self.location}/{name} cannot be read: {words}",
            expected="the file's bytes, as they were published",
            fix=fix,
        )

    def _absent(self, name: str) -> ShardSetError:
        return ShardSetError(f"{self.location} has no {name}", expected="a complete shard set", fix="check the address")


class WebStore(RemoteStore):
    """A shard set on a web server."""

    def __init__(self, location: str) -> None:
        self.location = public_address(location.rstrip("/"))
        try:
            self._client = WebClient(location)
        except ValueError:  # what it says may quote a password
            raise UsageError(
                f"{self.location} is no address", expected="https://host[:port]/folder", fix="correct the address"
            ) from None

    def expect(self, manifest: Manifest) -> None:
        """Hear what the set's files are; from now on an outage of less than a minute is waited for."""
        super().expect(manifest)
        self._client.versions.expect(shard_sizes(manifest))
        self._client.patience_seconds = PATIENCE_SECONDS

    def read(self, name: str) -> bytes:
        """Contents of a file."""
        with self._errors(name):
            return self._client.get(name, MAX_MANIFEST_BYTES if name == MANIFEST_FILE else MAX_WHOLE_BYTES)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from byte `offset` on."""
        with self._errors(name):
            data = self._client.get_range(name, offset, size)
        if len(data) != size:
            raise cut_off(f"{self.location}/{name}", offset, size)
        return data

    def pieces(self, name: str, limit: int) -> Iterator[bytes]:
        """Contents of a file of at most `limit` bytes, piece by piece."""
        with self._errors(name):
            yield from self._client.pieces(name, limit)

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except WebError as error:
            if error.absent:
                raise self._absent(name) from None
            fix = "check the address and the network"
            if error.ranges:
                fix = "this server does not answer byte ranges: keep whole shards with data.cache=FOLDER"
            raise self._unreadable(name, str(error), PUBLISHED_ANEW if error.changed else fix) from None


class ObjectStore(RemoteStore):
    """A shard set on an S3 object store, read through obstore; worker processes must be spawned, not forked."""

    def __init__(self, location: str) -> None:
        self.location = public_address(location.rstrip("/"))
        self._versions, self._retries, self._patience_seconds = FileVersions(), _AT_FIRST, 0.0
        self._connect()

    def expect(self, manifest: Manifest) -> None:
        """Hear what the set's files are; from now on an outage of less than a minute is waited for."""
        super().expect(manifest)
        self._versions.expect(shard_sizes(manifest))
        self._retries, self._patience_seconds = _THEN, PATIENCE_SECONDS
        self._connect()

    def _connect(self) -> None:
        try:
            from obstore.exceptions import BaseError
            from obstore.store import S3Store
        except ImportError as error:
            raise missing_extras(self.location, "s3") from error
        # Without TLS only where the endpoint was given so: a redirect to plain http then fails.
        plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
        client: Any = {**_CLIENT, "allow_http": plain}
        retries: Any = self._retries
        unsigned = not _has_credentials()
        try:
            self._store: Any = S3Store.from_url(
                self.location, skip_signature=unsigned, client_options=client, retry_config=retries
            )
        except (BaseError, ValueError, OSError) as error:
            first = without_credentials(str(error).strip().splitlines()[0])[:300]
            raise UsageError(
                f"{self.location} is no address: {first}", expected="s3://bucket/prefix", fix="correct the address"
            ) from None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_store", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    def read(self, name: str) -> bytes:
        """Contents of a file."""
        return b"".join(self.pieces(name, MAX_MANIFEST_BYTES if name == MANIFEST_FILE else MAX_WHOLE_BYTES))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from byte `offset` on."""
        range_: Any = {"range": (offset, offset + size)}
        for tries_left in reversed(range(_BODY_TRIES)):
            found = self._begin(name, range_)
            self._check_version(name, found.meta)
            try:
                data = bytes(self._ask(name, found.bytes))
                break
            except ShardSetError:  # cut off after its head: obstore asks again for answers that do not begin
                if not tries_left:
                    raise
        if len(data) != size:
            raise cut_off(f"{self.location}/{name}", offset, size)
        return data

    def pieces(self, name: str, limit: int) -> Iterator[bytes]:
        """Contents of a file of at most `limit` bytes, piece by piece; goes on where an answer was cut off."""
        versions, done = FileVersions(), 0
        while True:
            before = done
            try:
                for piece in self._rest(name, done, versions):
                    done += len(piece)
                    if done > limit:
                        raise ShardSetError(
                            f"{self.location}/{name} is longer than it may be", expected=f"{limit:,} bytes", fix=REPAIR
                        )
                    yield piece
                return
            except _CutOffError as error:
                if done == before:  # nothing has come since the last time
                    raise error.reason from None

    def _rest(self, name: str, start: int, versions: FileVersions) -> Iterator[bytes]:
        """A file from byte `start` on."""
        range_: Any = {"range": {"offset": start}} if start else {}
        found = self._begin(name, range_)
        self._check_version(name, found.meta, versions)
        stream = iter(found.stream(min_chunk_size=8 << 20))
        while True:
            try:
                piece = self._ask(name, lambda: next(stream, None))
            except ShardSetError as error:
                raise _CutOffError(error) from None
            if not piece:
                return
            yield bytes(piece)

    def _check_version(self, name: str, meta: Any, versions: FileVersions | None = None) -> None:
        difference = (versions or self._versions).difference(name, meta["size"], meta.get("e_tag") or "")
        if difference:
            raise self._unreadable(name, difference, PUBLISHED_ANEW)

    def _begin(self, name: str, options: Any) -> Any:
        """The head of an answer; what it holds has not come yet."""
        import obstore

        return self._ask(name, lambda: obstore.get(self._store, name, options=options), self._patience_seconds)

    def _ask(self, name: str, request: Callable[[], Any], patience_seconds: float = 0.0) -> Any:
        if os.getpid() != self._process:
            raise ShardSetError(
                f"{self.location} was opened in another process, which was then forked",
                expected="threads, or worker processes started by `spawn` or `forkserver`",
                fix='pass multiprocessing_context="spawn" to the data loader',
            )
        from obstore.exceptions import BaseError

        patience = Patience()
        while True:
            try:
                return request()
            except FileNotFoundError:
                raise self._absent(name) from None
            except (BaseError, OSError) as error:
                if not (_PASSING.search(str(error)) and patience.wait(patience_seconds)):
                    raise self._failure(name, error) from None

    def _failure(self, name: str, error: Exception) -> ShardSetError:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        words = str(error).lower()
        if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
            fix = "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION (`aws configure export-credentials`)"
        elif "range" in words:
            fix = "this server does not answer byte ranges: keep whole shards with data.cache=FOLDER"
        else:
            fix = "check the address, AWS_ENDPOINT_URL and the network"
        return self._unreadable(name, without_credentials(first)[:300], fix)


class _CutOffError(Exception):
    """An answer ended too early.

    Attributes:
        reason: what to tell of it.
    """

    def __init__(self, reason: ShardSetError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def shard_sizes(manifest: Manifest) -> dict[str, int]:
    """Bytes of each shard."""
    return {shard.file: shard.size_bytes for shard in manifest.shards}


def _has_credentials() -> bool:
    names = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
             "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip
    return any(os.environ.get(name) for name in names)
