"""Memory that a process frees stays with it: an update or a video asks for the same large blocks again and again."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""
LARGEST_KEPT = 256 * 1024**2
"""Blocks of fewer bytes come from memory that is kept. By itself glibc maps those above 32 MB anew each time and gives
back what is free at the end of its heap: the kernel then clears every page of every activation, update after update."""
_SET_BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")


def keep_freed_memory(largest_bytes: int = LARGEST_KEPT, free_bytes: int = -1) -> bool:
    """Have the C library keep freed memory for the next request, for the rest of the process; no number changes.

    Resident memory then stays near its peak, which training reaches in every update anyway.

    Args:
        largest_bytes: blocks of fewer bytes are kept.
        free_bytes: how much may lie free at the end of the heap before it goes back to the system; -1: all.

    Returns:
        Whether it was set: not without glibc, nor where the environment has such settings of its own.
    """
    if any(name in os.environ for name in _SET_BY_USER) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        set_option = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another system, or another C library
        return False
    return bool(set_option(_M_MMAP_THRESHOLD, largest_bytes)) and bool(set_option(_M_TRIM_THRESHOLD, free_bytes))
