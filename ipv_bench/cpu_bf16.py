"""Which instructions for bf16 this machine's processor has."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}
"""Flag of the kernel's list → its name. Without one of them torch computes bf16 by way of fp32, which is slower."""


def bf16_instructions(cpuinfo: Path = CPUINFO) -> list[str]:
    """Names of the bf16 instructions that the first processor of `cpuinfo` lists; none where there is no such file."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return [name for flag, name in INSTRUCTIONS.items() if flag in flags]
