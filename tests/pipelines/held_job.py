"""A `prepare` job that waits for the test: no test has to hit a moment, on however slow a machine.

Every decoder of the job stops before it opens one of two videos, says so, and goes on when the test lets it.
"""

from __future__ import annotations

import os
import subprocess
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HELD_VIDEOS = ("1008.webm", "1009.webm")

SITECUSTOMIZE = """
    import os, sys, time

    hold = os.environ.get("HOLD_FILE", "")
    if hold and "pipelines.jobs.decode_worker" in " ".join(sys.orig_argv):
        import av
        real = av.open

        def waiting(file, *arguments, **options):
            name = os.path.basename(str(file))
            if name in {videos} and os.path.exists(hold):
                open(hold + "-" + name, "w").close()
                while os.path.exists(hold):
                    time.sleep(0.02)
            return real(file, *arguments, **options)

        av.open = waiting
"""


class Hold:
    """Holds the decoders that are started with its environment.

    Args:
        folder: an empty place for its files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sitecustomize.py").write_text(textwrap.dedent(SITECUSTOMIZE).format(videos=HELD_VIDEOS))
        self._file = folder / "hold"
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environment: Mapping[str, str] = {"PYTHONPATH": path, "HOLD_FILE": str(self._file)}
        self.take()

    def take(self) -> None:
        """Stop decoders that reach one of the videos from now on."""
        for name in self.reached:
            self._file.with_name(f"hold-{name}").unlink()
        self._file.touch()

    def release(self) -> None:
        """Let them go on."""
        self._file.unlink(missing_ok=True)

    @property
    def reached(self) -> set[str]:
        """The videos before which a decoder has stopped."""
        return {path.name.removeprefix("hold-") for path in self._file.parent.glob("hold-*")}

    def start(self, command: Sequence[str], **options: object) -> subprocess.Popen[str]:
        """Start a job, and return once a decoder of it has stopped."""
        process = subprocess.Popen(
            [*command, "--set", "supervision.stall_seconds=3600"],
            env=os.environ | self.environment, stderr=subprocess.PIPE, text=True, **options,
        )  # type: ignore[call-overload]  # fmt: skip
        while process.poll() is None and not self.reached:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()[1]
        return process
