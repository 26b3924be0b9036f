"""Pre-training: segments of shard sets, and the loop around a video model's updates."""
