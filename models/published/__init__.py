"""Weights that the papers' authors published, read into our checkpoints."""
