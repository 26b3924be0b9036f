"""Shard sets to world models, and world models to agents. The only room that imports torch."""
