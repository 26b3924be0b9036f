"""Where a shard set lies decides how it is read: a folder, or an address."""

from __future__ import annotations

from pathlib import Path

from ipv_bench.shard_store import LocalStore, ShardStore


def open_store(location: str | Path, cache: str | Path | None = None) -> ShardStore:
    """The store of a shard set.

    Args:
        location: a folder, or an address that starts with `s3://`, `https://` or `http://`.
        cache: folder for whole shards of remote sets; None reads byte ranges and keeps nothing.
    """
    if "://" in str(location):
        from ipv_bench.cached_store import CachedStore
        from ipv_bench.remote_store import open_remote_store

        remote = open_remote_store(str(location))
        return remote if cache is None else CachedStore(remote, cache)
    return LocalStore(location)
