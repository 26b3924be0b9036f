"""Freed memory stays with a process that trains: the kernel is not asked for the same pages again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's switches")

FAULTS = """
import resource, sys
import torch
from ipv_bench.allocator import keep_freed_memory
torch.set_num_threads(1)
print(keep_freed_memory() if sys.argv[1] == "kept" else False)

def ask():
    for _ in range(8):  # 40 MB each, above what glibc keeps by itself
        torch.ones(10 * 1024**2)

for _ in range(4):  # aligned blocks do not fit their own gaps at once
    ask()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
ask()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kind: str, **environment: str) -> tuple[str, int]:
    """What `keep_freed_memory` returned, and the page faults of asking for 40 MB eight times again."""
    command = [sys.executable, "-c", FAULTS, kind]
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment).stdout
    told, faults = text.split()
    return told, int(faults)


def test_blocks_that_were_freed_are_given_out_again_without_a_page_fault() -> None:
    (_, by_itself), (told, kept) = page_faults("as it is"), page_faults("kept")
    assert told == "True"
    assert by_itself > 1_000  # 320 MB in pages of 4 kB are 81,920, in huge ones fewer
    assert kept < by_itself / 4


def test_settings_of_the_user_are_left_alone() -> None:
    assert page_faults("kept", MALLOC_TRIM_THRESHOLD_="1000000")[0] == "False"
    assert page_faults("kept", GLIBC_TUNABLES="glibc.malloc.mmap_threshold=1000000")[0] == "False"
