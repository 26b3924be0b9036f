"""What the doctor says of the machine: codecs, offscreen rendering, GPU and disk, each really tried."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ipv_bench.compilers import FIX as COMPILER_FIX
from ipv_bench.compilers import compiler_problem
from ipv_bench.cpu_bf16 import INSTRUCTIONS, bf16_instructions
from ipv_bench.doctor_check import PIP, Check, python_run
from ipv_bench.system_libraries import LIBRARIES, apt_command, missing_packages

LOW_DISK_BYTES = 5 * 1024**3

CODECS = {"vp9": ("libvpx-vp9", "webm"), "h264": ("libx264", "mp4"), "mjpeg": ("mjpeg", "avi")}
"""Codec that the data sets use → an encoder and a container to try it with."""


def codecs() -> Iterator[Check]:
    """Encodes three frames in memory and decodes them again."""
    fix = f"{PIP} --force-reinstall 'av>=18,<20'"
    try:
        import av
    except ImportError as error:
        yield Check("codecs", "missing", str(error), fix)
        return
    for name, (encoder, container) in CODECS.items():
        try:
            frames = _decode_three_frames(encoder, container)
        except (av.error.FFmpegError, ValueError) as error:
            yield Check(f"codec {name}", "missing", f"PyAV {av.__version__}: {error}", fix)
            continue
        found = f"{frames} of 3 frames decoded by PyAV {av.__version__}"
        yield Check(f"codec {name}", "ok" if frames == 3 else "wrong", found, "" if frames == 3 else fix)


def _decode_three_frames(encoder: str, container: str) -> int:
    import io

    import av
    import numpy as np

    memory = io.BytesIO()
    with av.open(memory, "w", format=container) as output:
        stream: Any = output.add_stream(encoder, rate=12)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        for level in (0, 100, 200):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory, "r") as video:
        return len(list(video.decode(video=0)))


RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 3"/><geom type="sphere" size=".5" rgba="1 0 0 1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 64, 64)
renderer.update_scene(data)
frame = renderer.render()
renderer.close()
assert frame.std() > 1, "the rendered frame is blank"
"""


def rendering() -> Iterator[Check]:
    """Renders one frame in a subprocess, by EGL and, where that fails, by OSMesa."""
    if not find_spec("mujoco"):
        found = "not tried: mujoco comes with the extras [dmc] and [metaworld]"
        yield Check("offscreen rendering", "missing", found, optional=True)
        return
    egl = python_run(RENDER, MUJOCO_GL="egl")
    if egl is None:
        yield Check("offscreen rendering", "ok", "one frame rendered with MUJOCO_GL=egl")
        return
    osmesa = python_run(RENDER, MUJOCO_GL="osmesa")
    if osmesa is None:
        yield Check("offscreen rendering", "ok", "one frame rendered with MUJOCO_GL=osmesa; EGL failed: " + egl)
        return
    packages = missing_packages() or [*LIBRARIES.values(), "libgl1-mesa-dri"]
    yield Check("offscreen rendering", "missing", f"EGL: {egl}; OSMesa: {osmesa}", f"as root: {apt_command(packages)}")


ACCELERATOR = """
import sys, torch
if torch.cuda.is_available():
    print(torch.cuda.get_device_name(0), torch.cuda.device_count(), "bf16" if torch.cuda.is_bf16_supported() else "")
else:
    sys.exit("torch " + torch.__version__ + " sees no GPU")
"""


def accelerator() -> Iterator[Check]:
    if not find_spec("torch"):
        yield Check("GPU", "missing", "not looked for: torch comes with the extra [train]", optional=True)
        return
    problem = python_run(ACCELERATOR)
    if problem is None:
        yield Check("GPU", "ok", "torch sees a CUDA GPU", optional=True)
    elif shutil.which("nvidia-smi"):
        fix = f"{PIP} --force-reinstall torch   (a build for the installed driver)"
        yield Check("GPU", "wrong", problem + ", but nvidia-smi is there", fix, optional=True)
    else:
        fix = "none needed: everything runs on the CPU; `paper` presets want a GPU"
        yield Check("GPU", "missing", problem, fix, optional=True)


def processor() -> Iterator[Check]:
    kinds = bf16_instructions()
    if kinds:
        found = (
            f"{', '.join(kinds)}: training.precision=bf16 can be quicker than fp32 with large models (docs/speed.md)"
        )
        yield Check("bf16 on the CPU", "ok", found, optional=True)
    else:
        found = f"none of {' and '.join(INSTRUCTIONS.values())}: training.precision=bf16 would be slower than fp32 here"
        yield Check("bf16 on the CPU", "missing", found, "none needed: fp32 is the default on a CPU", optional=True)


def compiler() -> Iterator[Check]:
    problem = compiler_problem()
    if problem:
        found = f"{problem}: training.compile=true cannot be used"
        yield Check("C++ compiler", "missing", found, COMPILER_FIX, optional=True)
    else:
        yield Check("C++ compiler", "ok", "there, for training.compile=true", optional=True)


def disk(folder: Path) -> Iterator[Check]:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free at {folder.resolve()}"
    if free < LOW_DISK_BYTES:
        yield Check("disk", "wrong", text, "free some space: the full SSv2 set needs about 30 GiB, a run about 5 GiB")
    else:
        yield Check("disk", "ok", text)
