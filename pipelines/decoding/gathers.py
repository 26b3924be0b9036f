"""The scaler without gather instructions.

Where the small picture's width is a multiple of 16, ffmpeg's scaler fetches the pixels of each row with AVX2's gathers,
except on processors that it knows to be slow at them. On others they are slow too: new AMD ones, and Intel ones whose
gathers were made safe by microcode. Its way without them gives the same numbers and took half of the time (AMD EPYC of
the fifth generation: 22 against 30 to 55 µs a frame of 426 × 240).
"""

from __future__ import annotations

import ctypes
import platform

import av.buffer

SLOW_GATHER = 0x2000000
"""ffmpeg's AV_CPU_FLAG_SLOW_GATHER, of x86."""


def avoid_gathers() -> None:
    """Let the scalers that this process sets up from now on do without gathers; to be called before any is at work.

    Nothing happens on other processors, or where ffmpeg's library cannot be asked.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    try:
        library = ctypes.CDLL(av.buffer.__file__)  # its symbols include those of the ffmpeg libraries it is linked to
        library.av_force_cpu_flags(library.av_get_cpu_flags() | SLOW_GATHER)
    except (OSError, AttributeError):
        return
