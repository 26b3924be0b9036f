"""Decoding: a source item to scaled frames, by PyAV, decord, picture codecs or arrays."""
