"""Tests of DrQ-v2."""
