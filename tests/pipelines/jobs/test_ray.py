"""The Ray executor: same bytes as the local one, also when a node is lost in the middle of the job."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.record import record
from tests.pipelines.held_job import Hold
from tests.pipelines.ssv2_maker import VIDEO_FOLDER, file_hashes, prepare, write_lists

pytest.importorskip("ray")

COPIES = 20
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
}


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Hold:
    """Holds the decoders of the whole cluster, which inherit its environment."""
    made = Hold(tmp_path_factory.mktemp("hold"))
    made.release()
    return made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, hold: Hold) -> Iterator[Any]:
    """Two nodes with one core each on this machine; a lost node is noticed within seconds."""
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    for name, value in (ENVIRONMENT | hold.environment | {"HOME": str(tmp_path_factory.mktemp("home"))}).items():
        patch.setenv(name, value)
    for attempt in range(5):
        try:
            made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
            break
        except Exception:  # Ray gives a starting node 30 s, which a busy machine may need for other things
            if attempt == 4:
                raise
    yield made
    made.shutdown()
    patch.undo()


def command(source: Path, out: Path, *options: str) -> list[str]:
    start = [sys.executable, "-m", "ipv_bench", "prepare", "ssv2", "--executor", "ray"]
    return [*start, "--source", str(source), "--out", str(out), *options]


def test_the_loss_of_a_node_changes_nothing(cluster: Any, hold: Hold, release: Path, tmp_path: Path) -> None:
    options = ("--set", "shard_videos=1")
    assert prepare(release, tmp_path / "local", *options, workers=2) == 0
    out = tmp_path / "ray"
    node = cluster.add_node(num_cpus=1)
    environment = os.environ | ENVIRONMENT | {"RAY_ADDRESS": cluster.address}
    hold.take()
    process = subprocess.Popen(
        command(release, out, *options), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and len(hold.reached) < 2:  # one task on each node
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[1]
    cluster.remove_node(node, allow_graceful=False)
    hold.release()
    text, errors = process.communicate()
    assert process.returncode == 0, errors
    assert file_hashes(out) == file_hashes(tmp_path / "local")
    assert text.splitlines()[-1].startswith("ssv2: 9 samples"), text
    assert "raylet" not in text


@pytest.fixture(scope="module")
def many(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that takes long enough to be killed in: the videos of `release`, `COPIES` times under other ids."""
    source = tmp_path_factory.mktemp("many")
    (source / VIDEO_FOLDER).mkdir()
    paths = sorted((release / VIDEO_FOLDER).iterdir())
    ids = [str(2000 + number) for number in range(COPIES * len(paths))]
    for number, source_id in enumerate(ids):
        os.link(paths[number % len(paths)], source / VIDEO_FOLDER / f"{source_id}.webm")
    write_lists(source, ids)
    return source


def processes_of(home: str, title: str) -> list[int]:
    """Processes of this test's cluster, known by their home folder, whose command line contains `title`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            ours = f"HOME={home}".encode() in (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if ours and title.encode() in words:
            found.append(int(folder.name))
    return found


def test_a_decoder_is_kept_from_shard_to_shard(cluster: Any, many: Path, tmp_path: Path) -> None:
    environment = os.environ | ENVIRONMENT | {"RAY_ADDRESS": cluster.address}
    job = [*command(many, tmp_path / "out", "--limit", "60"), "--set", "shard_videos=1"]
    process = subprocess.Popen(job, env=environment, stderr=subprocess.PIPE, text=True)
    decoders: set[int] = set()
    while process.poll() is None:
        decoders.update(processes_of(os.environ["HOME"], "decode_worker"))
        time.sleep(0.02)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    assert len(list((tmp_path / "out").glob("ssv2-*.tar"))) > 40
    assert 1 <= len(decoders) <= 8  # one for each process that Ray starts; it would be one for each shard
    until = time.monotonic() + 120
    while (left := processes_of(os.environ["HOME"], "decode_worker")) and time.monotonic() < until:
        time.sleep(0.02)
    assert not left  # they end with the job


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_workers_decoders_and_nodes_killed_at_random_moments(
    cluster: Any, many: Path, tmp_path: Path, seed: int
) -> None:
    """Tasks and their decoders are killed (-9) and nodes taken away until the job is done: the same bytes."""
    generator, out = random.Random(seed), tmp_path / "ray"
    options = ("--set", "shard_videos=1")
    assert prepare(many, tmp_path / "local", *options, workers=2) == 0
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    environment = os.environ | ENVIRONMENT | {"RAY_ADDRESS": cluster.address}
    process = subprocess.Popen(
        command(many, out, *options), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not list(out.glob("ssv2-*.json")):
        time.sleep(0.02)
    killed: Counter[str] = Counter()
    while process.poll() is None and sum(killed.values()) < 8:
        time.sleep(generator.uniform(0.1, 0.6))
        what = generator.choice(("ray::_first_pass", "decode_worker", "node"))
        if what == "node" and nodes and sum(killed.values()) >= 2:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            killed[what] += 1
        elif what != "node" and (found := sorted(processes_of(os.environ["HOME"], what))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(generator.choice(found), signal.SIGKILL)
                killed[what] += 1
    text, errors = process.communicate(timeout=600)
    for node in nodes:
        cluster.remove_node(node)
    assert process.returncode == 0, errors
    assert file_hashes(out) == file_hashes(tmp_path / "local")
    assert killed, "the job was over before anything was killed"
    assert text.splitlines()[-1].startswith(f"ssv2: {9 * COPIES} samples"), text
    words = {"ray::_first_pass": "tasks", "decode_worker": "decoders", "node": "nodes"}
    record(f"ray {seed}", killed={words[what]: count for what, count in sorted(killed.items())}, same_bytes=True)


def test_the_failure_limit_stops_a_job_on_the_cluster(cluster: Any, release: Path, tmp_path: Path) -> None:
    source = tmp_path / "raw"
    (source / "labels").mkdir(parents=True)
    for path in (release / "labels").iterdir():
        (source / "labels" / path.name).write_bytes(path.read_bytes())
    for path in (release / "20bn-something-something-v2").iterdir():
        (source / path.name).write_text("this is no video")
    environment = os.environ | ENVIRONMENT | {"RAY_ADDRESS": cluster.address}
    done = subprocess.run(command(source, tmp_path / "out"), env=environment, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "corrupt" in done.stderr


def test_a_cluster_that_cannot_be_reached_names_the_token_variables(release: Path, tmp_path: Path) -> None:
    environment = os.environ | ENVIRONMENT | {"RAY_ADDRESS": "127.0.0.1:9", "HOME": str(tmp_path)}
    done = subprocess.run(command(release, tmp_path / "out"), env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    for word in ("127.0.0.1:9", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "expected:", "to do:"):
        assert word in done.stderr
