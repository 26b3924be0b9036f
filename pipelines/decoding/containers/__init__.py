"""Structures of container formats, checked without a decoder: one file each."""
