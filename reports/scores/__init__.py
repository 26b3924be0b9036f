"""Scores: one tidy table of runs, cleaned, aligned, normalised, checked, pooled."""
