"""Checks of the machine: each line is ok, missing or wrong, with the exact command that fixes it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ipv_bench.system_libraries import LIBRARIES, apt_command, missing_packages

State = Literal["ok", "missing", "wrong"]
PIP = f"{sys.executable} -m pip install"
DISTRIBUTION = "ipv-bench"
LOW_DISK_BYTES = 5 * 1024**3


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report.

    Attributes:
        name: what was checked.
        state: "ok", "missing" or "wrong".
        found: what is there.
        fix: the command that mends it; empty when ok.
        optional: the product works without it (a GPU, an extra).
    """

    name: str
    state: State
    found: str
    fix: str = ""
    optional: bool = False

    @property
    def is_defect(self) -> bool:
        """Whether something that is needed does not work."""
        return self.state != "ok" and not self.optional


def examine(folder: str | Path = ".") -> list[Check]:
    """All checks, in the order of the report.

    Args:
        folder: where shards and runs would be written; its disk is looked at.
    """
    groups: list[Callable[[], Iterator[Check]]] = [
        _python,
        _packages,
        _clashes,
        _extras,
        _codecs,
        _rendering,
        _accelerator,
        lambda: _disk(Path(folder)),
    ]
    return [check for group in groups for check in group()]


def as_json(checks: list[Check]) -> str:
    """The report as one JSON object: {ok, checks: [...]}."""
    return json.dumps({"ok": not any(c.is_defect for c in checks), "checks": [asdict(c) for c in checks]}, indent=2)


def _python() -> Iterator[Check]:
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Check("Python", "ok" if fits else "wrong", version, "" if fits else "install Python 3.11 or 3.12")


def _packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        yield Check(DISTRIBUTION, "missing", "not installed", f"{PIP} -c constraints.txt -e '.[dev]'")
        return
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name)
        fix = f"{PIP} -c constraints.txt '{requirement.name}{requirement.specifier}'"
        if version is None:
            yield Check(requirement.name, "missing", "not installed", fix)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Check(requirement.name, "wrong", f"{version}, but {requirement.specifier} is needed", fix)
        else:
            yield Check(requirement.name, "ok", version)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _clashes() -> Iterator[Check]:
    """Combinations that pip may install and that do not work together."""
    yield _imports(
        "rliable with arch and pandas",
        "from rliable import library, metrics",
        f"{PIP} 'pandas<3' 'arch>=7.2,<8'   (arch 7 does not import with pandas 3)",
    )
    yield _imports(
        "mujoco with dm-control and metaworld",
        "import dm_control.mujoco, metaworld",
        f"{PIP} mujoco==3.3.0 dm-control==1.0.28 metaworld==3.1.1",
    )


def _imports(name: str, code: str, fix: str) -> Check:
    """Whether `code` runs in a fresh interpreter."""
    result = _python_run(code)
    return Check(name, "ok", "import together") if result is None else Check(name, "wrong", result, fix)


def _python_run(code: str, **environment: str) -> str | None:
    """Run `code` in a fresh interpreter; None when it succeeds, else the last line of its error."""
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer within 120 s"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"ended with status {done.returncode}"


EXTRAS = {"ray": "ray", "s3": "obstore", "tracking": "tensorboard"}


def _extras() -> Iterator[Check]:
    for extra, package in EXTRAS.items():
        version = _version(package)
        if version:
            yield Check(f"extra [{extra}]", "ok", f"{package} {version}", optional=True)
        else:
            fix = f"{PIP} -c constraints.txt -e '.[{extra}]'"
            yield Check(f"extra [{extra}]", "missing", f"{package} not installed", fix, optional=True)


CODECS = {"vp9": ("libvpx-vp9", "webm"), "h264": ("libx264", "mp4"), "mjpeg": ("mjpeg", "avi")}
"""Codec that the data sets use → an encoder and a container to try it with."""


def _codecs() -> Iterator[Check]:
    """Encodes three frames in memory and decodes them again."""
    fix = f"{PIP} --force-reinstall -c constraints.txt av"
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


def _rendering() -> Iterator[Check]:
    """Renders one frame in a subprocess, by EGL and, where that fails, by OSMesa."""
    egl = _python_run(RENDER, MUJOCO_GL="egl")
    if egl is None:
        yield Check("offscreen rendering", "ok", "one frame rendered with MUJOCO_GL=egl")
        return
    osmesa = _python_run(RENDER, MUJOCO_GL="osmesa")
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


def _accelerator() -> Iterator[Check]:
    problem = _python_run(ACCELERATOR)
    if problem is None:
        yield Check("GPU", "ok", "torch sees a CUDA GPU", optional=True)
    elif shutil.which("nvidia-smi"):
        fix = f"{PIP} --force-reinstall torch   (a build for the installed driver)"
        yield Check("GPU", "wrong", problem + ", but nvidia-smi is there", fix, optional=True)
    else:
        fix = "none needed: everything runs on the CPU; `paper` presets want a GPU"
        yield Check("GPU", "missing", problem, fix, optional=True)


def _disk(folder: Path) -> Iterator[Check]:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free at {folder.resolve()}"
    if free < LOW_DISK_BYTES:
        yield Check("disk", "wrong", text, "free some space: the full SSv2 set needs about 30 GiB, a run about 5 GiB")
    else:
        yield Check("disk", "ok", text)
