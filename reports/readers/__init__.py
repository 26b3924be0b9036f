"""Readers: one file per format, behind the protocol of `base`; `registry.read_sources` detects and reads everything."""
