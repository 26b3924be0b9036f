"""Jobs: supervised decoder processes, shards one after another or on a Ray cluster, resume."""
