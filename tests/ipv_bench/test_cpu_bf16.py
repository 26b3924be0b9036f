"""bf16 on a CPU: which instructions a processor has, and what is said where it has none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ipv_bench.cpu_bf16 import bf16_instructions
from models.training import hardware

PROCESSOR = "processor\t: {}\nmodel name\t: a processor\nflags\t\t: fpu sse2 avx512f {}\nbugs\t\t: none\n\n"


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("avx512_bf16 amx_bf16 amx_tile", ["AMX", "AVX512-BF16"]),
        ("avx512_bf16", ["AVX512-BF16"]),
        ("avx512_bf16x amx_tile", []),  # whole words alone
        ("", []),
    ],
)
def test_instructions_are_read_off_the_kernel_s_list(flags: str, names: list[str], tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text("".join(PROCESSOR.format(number, flags) for number in range(2)))
    assert bf16_instructions(listed) == names


def test_where_nothing_is_listed_there_are_none(tmp_path: Path) -> None:
    assert bf16_instructions(tmp_path / "absent") == []
    (tmp_path / "of another system").write_bytes(b"Features : bf16 \xff\n")
    assert bf16_instructions(tmp_path / "of another system") == []


@pytest.mark.parametrize(
    ("device", "precision", "kinds", "warned"),
    [
        ("cpu", "bf16", [], True),
        ("cpu", "bf16", ["AVX512-BF16"], False),
        ("cpu", "fp32", [], False),
        ("cuda", "bf16", [], False),
    ],
)
def test_imitated_bf16_is_told(
    device: str,
    precision: str,
    kinds: list[str],
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hardware, "bf16_instructions", lambda: kinds)
    hardware.warn_of_imitated_bf16(torch.device(device), precision)
    said = capsys.readouterr().err
    assert said == "" if not warned else "AMX or AVX512-BF16" in said and "training.precision=fp32" in said
