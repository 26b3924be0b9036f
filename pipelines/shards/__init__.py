"""Shards: what goes where, writing, index tables, verification, statistics."""
