"""Decoders that hang, die, or eat: none stops the job, and each is in the quarantine with its reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from threading import Event

import pytest

from ipv_bench.shard_set import read_manifest
from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig, SupervisionConfig
from pipelines.jobs.decode_worker import WorkItem, WorkOrder
from pipelines.jobs.supervise import DecodeWorker
from pipelines.shards.sample_block import Outcome
from tests.pipelines.ssv2_maker import VIDEO_FOLDER, file_hashes, prepare, quarantine

STUB = """
    import os, sys, time

    class Finder:
        # replaces `av.open` in decoder processes only, when av is first imported there
        def find_spec(self, name, path=None, target=None):
            if name != "pipelines.decoding.video":
                return None
            sys.meta_path.remove(self)
            import av
            real = av.open

            def stub(file, *arguments, **options):
                name = os.path.basename(str(file))
                if name == "1001.webm":
                    {first}
                if name == "1006.webm":
                    {second}
                return real(file, *arguments, **options)

            av.open = stub
            return None

    if "pipelines.jobs.decode_worker" in " ".join(sys.orig_argv):
        sys.meta_path.insert(0, Finder())
"""

SPIN = "sum(0 for _ in iter(int, 1))"
ONCE = "mark = os.environ['ONCE_FILE']; os.path.exists(mark) or (open(mark, 'w').close(), os.abort())"


def write_stub(folder: Path, first: str, second: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(textwrap.dedent(STUB).format(first=first, second=second))


def run_with_stub(
    source: Path, out: Path, folder: Path, first: str, second: str = "pass", *options: str
) -> tuple[int, str]:
    """`prepare` with decoders that misbehave on two videos; exit status and what it printed."""
    write_stub(folder, first, second)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "ONCE_FILE": str(folder / "once")}
    command = [sys.executable, "-m", "ipv_bench", "prepare", "ssv2", "--source", str(source), "--out", str(out)]
    limits = ["supervision.retry_factor=1.5", "max_failure_rate=0.5", *options]
    for limit in limits:
        command += ["--set", limit]
    done = subprocess.run([*command, "--workers", "2"], env=environment, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def without_two(release: Path, tmp_path: Path) -> dict[str, int]:
    """Samples that must be there when the two videos of the stub are lost."""
    return {"1000": 30, "1003": 40, "1005": 33, "1007": 26, "1008": 29, "1009": 31, "1010": 27}


def written(out: Path) -> dict[str, int]:
    import pyarrow.parquet as pq

    return {row["source_id"]: row["num_frames"] for row in pq.read_table(out / "samples.parquet").to_pylist()}


class HungClock:
    """Stands still, so that no decoder is ever too slow, until one says that it hangs; one of them works at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 0.0

    def monotonic(self) -> float:
        if any(Path("/proc", path.name).exists() for path in self.folder.iterdir()):
            self.now += 1000.0
        return self.now


def test_a_decoder_that_hangs_and_one_that_aborts(
    release: Path, tmp_path: Path, without_two: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, hung = tmp_path / "out", tmp_path / "hung"
    hung.mkdir()
    write_stub(tmp_path / "stub", f"open(f'{hung}/{{os.getpid()}}', 'w').close(); time.sleep(1000)", "os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stub"), prepend=os.pathsep)
    monkeypatch.setattr("pipelines.jobs.supervise.time", HungClock(hung))
    limits = ("supervision.stall_seconds=100", "supervision.retry_factor=1.5", "max_failure_rate=0.5")
    assert prepare(release, out, *(word for limit in limits for word in ("--set", limit))) == 0
    assert written(out) == without_two
    entries = quarantine(out)
    assert {key: entry["reason"] for key, entry in entries.items()} == {"1001": "timeout", "1006": "crashed"}
    assert "no frame for 150 s" in entries["1001"]["message"]  # the retry had the larger limit
    assert "SIGABRT" in entries["1006"]["message"]
    assert not any(entry["deterministic"] for entry in entries.values())
    assert read_manifest(out).machine_dependent == ["1001", "1006"]
    assert read_manifest(out).totals["num_quarantined"] == 2


def test_an_error_that_nobody_foresaw_is_not_put_on_the_file(
    release: Path, tmp_path: Path, without_two: dict[str, int]
) -> None:
    out = tmp_path / "out"
    first, second = "raise ValueError('31 is not a valid Type')", "raise KeyError('x')"
    status, text = run_with_stub(release, out, tmp_path / "stub", first, second)
    assert status == 0, text
    assert written(out) == without_two
    entries = quarantine(out)
    assert {entry["reason"] for entry in entries.values()} == {"corrupt"}
    assert entries["1001"]["message"].endswith("ValueError: 31 is not a valid Type")
    assert all("the file may be whole" in entry["message"] for entry in entries.values())


def test_a_decoder_that_computes_for_ever_and_one_that_eats_memory(
    release: Path, tmp_path: Path, without_two: dict[str, int]
) -> None:
    out = tmp_path / "out"
    eat = "hoard = [bytearray(1 << 26) for _ in range(12)]; time.sleep(1000)"
    options = ("supervision.cpu_seconds=2", "supervision.memory_megabytes=400")
    status, text = run_with_stub(release, out, tmp_path / "stub", SPIN, eat, *options)
    assert status == 0, text
    assert written(out) == without_two
    entries = quarantine(out)
    assert {key: entry["reason"] for key, entry in entries.items()} == {"1001": "timeout", "1006": "out_of_memory"}
    assert "CPU time" in entries["1001"]["message"]


def test_what_succeeds_at_the_second_try_leaves_no_trace(release: Path, prepared: Path, tmp_path: Path) -> None:
    """A decoder that was killed once: the retry alone finds the video good, and the bytes are the usual ones."""
    out = tmp_path / "out"
    status, text = run_with_stub(release, out, tmp_path / "stub", ONCE)
    assert status == 0, text
    assert (tmp_path / "stub" / "once").exists()
    assert file_hashes(out) == file_hashes(prepared)


STARTING_STUB = """
    import os, signal, sys

    if "pipelines.jobs.decode_worker" in " ".join(sys.orig_argv):
        mark = os.environ["ONCE_FILE"]
        open(mark + str(os.getpid()), "w").close()
        if len(os.listdir(os.path.dirname(mark))) <= {times}:
            {end}
"""


@pytest.mark.parametrize(
    ("times", "end", "status"),
    [
        (2, "os.kill(os.getpid(), signal.SIGKILL)", 0),
        (9, "os.kill(os.getpid(), signal.SIGKILL)", 1),
        (9, "os._exit(7)", 1),
    ],
)
def test_a_decoder_that_is_killed_while_it_starts_is_tried_again(
    release: Path, prepared: Path, tmp_path: Path, times: int, end: str, status: int
) -> None:
    folder, out = tmp_path / "stub", tmp_path / "out"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(STARTING_STUB).format(times=times, end=end))
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    (tmp_path / "marks").mkdir()
    environment["ONCE_FILE"] = str(tmp_path / "marks" / "once")
    command = [sys.executable, "-m", "ipv_bench", "prepare", "ssv2", "--source", str(release), "--out", str(out)]
    done = subprocess.run([*command, "--workers", "1"], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stderr
    marks = len(list((tmp_path / "marks").iterdir()))
    if status == 0:
        assert marks == 3  # two that were killed, and the third that lives
        assert file_hashes(out) == file_hashes(prepared)
    else:
        assert "could not start" in done.stderr
        assert ("3 times in a row (ended by SIGKILL)" if "SIGKILL" in end else "(exit status 7)") in done.stderr
        assert marks == (3 if "SIGKILL" in end else 1)


def test_an_idle_decoder_that_is_killed_is_replaced(release: Path, tmp_path: Path) -> None:
    """Between two shards a decoder waits for work; its death there is no item's fault."""
    item = SourceItem("1000", f"{VIDEO_FOLDER}/1000.webm", 1, VideoFile(f"{VIDEO_FOLDER}/1000.webm"))
    path, worker = tmp_path / "part.tar", DecodeWorker(SupervisionConfig(), Event())
    path.write_bytes(b"")
    order = WorkOrder(path, 0, release, PrepareConfig(), [WorkItem(0, "a", item, 60.0)])
    found: list[Outcome] = []
    worker.run(order, lambda number, outcome: found.append(outcome))
    assert worker._process is not None
    worker._process._popen.kill()
    worker._process._popen.wait()
    first = path.read_bytes()
    worker.run(order, lambda number, outcome: found.append(outcome))
    worker.close()
    assert [outcome.row.status for outcome in found] == ["written", "written"]
    assert path.read_bytes() == first


def test_retry_failed_gives_the_bytes_of_an_undisturbed_run(release: Path, prepared: Path, tmp_path: Path) -> None:
    """The shard of a quarantined video is completed from its own blocks; only the video itself is decoded again."""
    out = tmp_path / "out"
    assert run_with_stub(release, out, tmp_path / "stub", "os.abort()", "os.abort()")[0] == 0
    assert read_manifest(out).machine_dependent
    shutil.rmtree(tmp_path / "stub")
    command = [sys.executable, "-m", "ipv_bench", "prepare", "ssv2", "--source", str(release), "--out", str(out)]
    subprocess.run([*command, "--retry-failed", "crashed"], check=True, capture_output=True)
    assert file_hashes(out) == file_hashes(prepared)


def test_the_failure_limit_stops_the_job_and_a_larger_one_goes_on(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "raw", tmp_path / "out"
    shutil.copytree(release, source)
    for number in (1000, 1003, 1005):
        (source / VIDEO_FOLDER / f"{number}.webm").write_text("this is no video")
    command = [sys.executable, "-m", "ipv_bench", "prepare", "ssv2", "--source", str(source), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "max_failure_rate" in done.stderr
    assert "corrupt" in done.stderr
    done = subprocess.run([*command, "--set", "max_failure_rate=0.5", "--strict"], capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "3 quarantined (corrupt 3)" in done.stdout
