"""Raw video releases to shard sets."""
