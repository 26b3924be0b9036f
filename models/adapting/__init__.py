"""Adapting: action-conditioned training of a model on labelled shard sets, without an environment."""
