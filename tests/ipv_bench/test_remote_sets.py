"""Remote sets give the same segments as local ones: from a real S3-protocol server and plain HTTP, on loopback."""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ipv_bench import patience
from ipv_bench.cli import run
from ipv_bench.errors import MissingDependencyError, ShardSetError, UsageError
from ipv_bench.remote_store import ObjectStore, _CutOffError, open_remote_store
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import FRAMES_FILE, SAMPLES_FILE, read_manifest
from tests.episode_maker import write_episodes
from tests.range_handler import RangeHandler, RangeServer, serving
from tests.shard_set_maker import Video, make_shard_set

obstore = pytest.importorskip("obstore")

VIDEOS = [Video("b.1", 40), Video("a/2", 90), Video("ä", 31), Video("b.2", 150), Video("z", 26)]
BUCKET = "shards"
RECIPE = Path(__file__).resolve().parents[2] / "docs" / "streaming.md"


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    return make_shard_set(tmp_path_factory.mktemp("set") / "set", VIDEOS, samples_per_shard=2)


@pytest.fixture(scope="module")
def s3(local):
    """Address of the set on an S3-protocol server; its endpoint and dummy keys are in the environment."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    values = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "dummy",
        "AWS_SECRET_ACCESS_KEY": "dummy",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(Bucket=BUCKET)
        store = obstore.store.from_url(f"s3://{BUCKET}/sets/numbers", client_options={"allow_http": True})
        for path in local.iterdir():
            obstore.put(store, path.name, path.read_bytes())
        yield f"s3://{BUCKET}/sets/numbers"
    server.stop()


@pytest.fixture
def web(local):
    """A running web server over the set's folder; `.ranges = False` makes it answer with whole files."""
    with serving(RangeServer(local)) as server:
        yield server


@pytest.fixture
def serve_folder():
    """Starts servers over folders."""
    with ExitStack() as servers:
        yield lambda folder: servers.enter_context(serving(RangeServer(folder)))


def same_segments(address: str, local: Path, count: int = 8, **options) -> None:
    near, far = open_segments(local, 25, 5), open_segments(address, 25, 5, **options)
    for i in range(count):
        assert np.array_equal(near[i], far[i])
        assert near.describe(i).source_id == far.describe(i).source_id
    assert far.shard_sets[0] == near.shard_sets[0] | {"path": address}


def test_s3_ranges(s3, local):
    same_segments(s3, local)


def test_s3_cache_keeps_whole_shards(s3, local, tmp_path):
    same_segments(s3, local, cache=tmp_path)
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert kept >= {"numbers-000000.tar", "frames.npy", SAMPLES_FILE}
    assert not any(name.endswith(".tmp") for name in kept)


def test_http_reads_only_the_frames_needed(web, local):
    segments = open_segments(web.address, 25, 5)
    tables = len(web.sent)
    segments[0]
    size = sum(size for _, size in web.sent[tables:])
    assert len(web.sent) == tables + 1
    assert size < 25 * 2 * max(shard.size_bytes / shard.num_frames for shard in read_manifest(local).shards)
    same_segments(web.address, local)


def test_a_server_without_ranges_is_read_through_the_cache(web, local, tmp_path):
    web.ranges = False
    with pytest.raises(ShardSetError, match=r"data\.cache"):
        open_segments(web.address, 25, 5)[0]
    same_segments(web.address, local, cache=tmp_path)
    web.sent.clear()
    same_segments(web.address, local, cache=tmp_path)
    assert {name for name, _ in web.sent} == {"manifest.json"}  # the rest is at hand


def test_a_damaged_shard_never_enters_the_cache(serve_folder, tmp_path):
    copy = make_shard_set(tmp_path / "copy", VIDEOS, samples_per_shard=2)
    shard = copy / "numbers-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    segments = open_segments(serve_folder(copy).address, 25, 5, cache=tmp_path / "cache")
    with pytest.raises(
        ShardSetError, match="not the file that the manifest describes\n.*sha256 .*\n.*ipv-bench verify"
    ):
        for i in range(40):
            segments[i]
    assert not list((tmp_path / "cache").rglob("numbers-000000.tar*"))


RAW = [Video(f"v{n}", 30, size=(8, 8)) for n in range(4)]


def test_a_set_that_is_published_anew_under_its_address_is_noticed(serve_folder, s3, tmp_path):
    """Raw frames have no checksum: those of another video, of the same size, would be taken without a word."""
    old, new = (make_shard_set(tmp_path / name, videos, encoding="raw", samples_per_shard=2)
                for name, videos in (("old", RAW), ("new", RAW[::-1])))  # fmt: skip
    shards = [shard.file for shard in read_manifest(old).shards]
    assert [(old / name).stat().st_size for name in shards] == [(new / name).stat().st_size for name in shards]
    store = obstore.store.from_url(f"s3://{BUCKET}/sets/anew", client_options={"allow_http": True})
    for path in old.iterdir():
        obstore.put(store, path.name, path.read_bytes())
    opened = [open_segments(place, 25, 5) for place in (serve_folder(old).address, f"s3://{BUCKET}/sets/anew")]
    for segments in opened:
        assert [len(segments[i]) for i in range(12)] == [25] * 12  # each shard was read
    for name in shards:
        (old / name).write_bytes((new / name).read_bytes())
        obstore.put(store, name, (new / name).read_bytes())
    for segments in opened:
        for each in (segments, pickle.loads(pickle.dumps(segments))):
            with pytest.raises(ShardSetError, match="another ETag") as caught:
                each[0]
            assert "published anew" in caught.value.fix
    for name in shards:  # another size is noticed by who reads them for the first time
        (old / name).write_bytes((old / name).read_bytes() + b"\0" * 512)
        obstore.put(store, name, (old / name).read_bytes())
    for place in (serve_folder(old).address, f"s3://{BUCKET}/sets/anew"):
        with pytest.raises(ShardSetError, match="bytes now, where .* are expected"):
            open_segments(place, 25, 5)[0]


def test_frame_offsets_of_another_set_are_refused(serve_folder, s3, tmp_path):
    folder = make_shard_set(tmp_path / "set", VIDEOS)
    offsets = np.load(folder / FRAMES_FILE)
    np.save(folder / FRAMES_FILE, offsets[::-1].copy())
    store = obstore.store.from_url(f"s3://{BUCKET}/sets/offsets", client_options={"allow_http": True})
    for path in folder.iterdir():
        obstore.put(store, path.name, path.read_bytes())
    for place in (serve_folder(folder).address, f"s3://{BUCKET}/sets/offsets"):
        with pytest.raises(ShardSetError, match=rf"{FRAMES_FILE} is not the file that the manifest describes"):
            open_segments(place, 25, 5)


def test_processes_that_share_a_cache_fetch_each_shard_once(serve_folder, local, tmp_path, monkeypatch):
    server = serve_folder(local)
    answer = RangeHandler.do_GET

    def slow(self) -> None:
        if self.path.endswith(".tar"):
            time.sleep(0.3)  # so that the other process, and the other threads, come while this one fetches
        answer(self)

    monkeypatch.setattr(RangeHandler, "do_GET", slow)
    segments = open_segments(server.address, 25, 5, cache=tmp_path / "cache")

    def read_all() -> None:
        with ThreadPoolExecutor(4) as pool:
            assert all(len(frames) == 25 for frames in pool.map(segments.__getitem__, range(16)))

    child = os.fork()
    if not child:
        try:
            read_all()
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    read_all()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    sent = [name for name, _ in server.sent if name.endswith(".tar")]
    assert sorted(sent) == sorted(shard.file for shard in read_manifest(local).shards)


def test_a_range_of_an_object_that_was_cut_off_is_asked_for_again(s3, local, monkeypatch):
    store, name = open_remote_store(s3), read_manifest(local).shards[0].file
    ask, calls, failing = ObjectStore._ask, [], {2, 4}

    def cut(self, name: str, request: object, *patience: float):
        calls.append(name)
        if len(calls) in failing:  # the head has come, the body does not
            raise ShardSetError("the connection was closed")
        return ask(self, name, request, *patience)

    monkeypatch.setattr(ObjectStore, "_ask", cut)
    assert store.read_range(name, 100, 50) == (local / name).read_bytes()[100:150]
    assert len(calls) == 6
    calls.clear()
    failing.add(6)
    with pytest.raises(ShardSetError, match="connection was closed"):
        store.read_range(name, 100, 50)


class _AwayHandler(RangeHandler):
    """Answers as an object store, but for `server.away` tries."""

    def do_GET(self) -> None:
        if self.server.away:
            self.server.away -= 1
            self.send_error(503)
            return
        super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        super().end_headers()


def test_an_object_store_that_is_away_is_waited_for_until_a_stop(local, tmp_path, monkeypatch):
    (tmp_path / "bucket").symlink_to(local)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_AwayHandler, directory=str(tmp_path)))
    server.sent, server.ranges, server.away = [], True, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    waited: list[float] = []
    monkeypatch.setattr(patience, "pause", lambda seconds, is_given_up: waited.append(seconds))
    try:
        manifest = read_manifest(local)
        store, name = open_remote_store("s3://bucket"), manifest.shards[0].file
        store.expect(manifest)
        server.away = 3
        assert store.read_range(name, 100, 50) == (local / name).read_bytes()[100:150]
        assert waited == pytest.approx([0.3, 0.6, 1.2])
        server.away = 1000
        patience.give_up()
        with pytest.raises(ShardSetError, match="503"):
            store.read_range(name, 100, 50)
        assert server.away >= 990  # once, and no more where it cannot be read
        assert len(waited) == 3
    finally:
        patience.be_patient()
        server.shutdown()
        server.server_close()


def test_an_object_that_was_cut_off_is_read_on(s3, local, monkeypatch):
    store, name = open_remote_store(s3), read_manifest(local).shards[0].file
    data, asked = (local / name).read_bytes(), []
    rest = ObjectStore._rest

    def cut(self, name: str, start: int, versions: object):
        asked.append(start)
        piece = b"".join(rest(self, name, start, versions))
        yield piece[:5000]
        if len(piece) > 5000:
            raise _CutOffError(ShardSetError("the connection was closed"))

    monkeypatch.setattr(ObjectStore, "_rest", cut)
    assert b"".join(store.pieces(name, len(data))) == data
    assert asked == list(range(0, len(data), 5000))

    def nothing(self, name: str, start: int, versions: object):
        raise _CutOffError(ShardSetError("the connection was closed"))
        yield

    monkeypatch.setattr(ObjectStore, "_rest", nothing)
    with pytest.raises(ShardSetError, match="connection was closed"):
        list(store.pieces(name, len(data)))


def test_tracks_of_remote_sets_are_those_of_local_ones(serve_folder, tmp_path):
    source, out = write_episodes(tmp_path / "raw", (12, 30)), tmp_path / "set"
    command = ["prepare", "episodes", "--source", str(source), "--out", str(out), "--set", "size=native", "--quiet"]
    assert run([*command, "--set", "clip_frames=7", "--workers", "1"]) == 0
    near, far = (open_segments(at, 9, 5, tracks=("action", "reward")) for at in (out, serve_folder(out).address))
    for i in range(6):
        assert np.array_equal(near[i].frames, far[i].frames)
        assert all(np.array_equal(near[i].tracks[name], far[i].tracks[name]) for name in ("action", "reward"))


def test_threads_and_spawned_processes_read_remote_sets(s3, local):
    segments = pickle.loads(pickle.dumps(open_segments(s3, 25, 5)))
    expected = open_segments(local, 25, 5)[3]
    found = []
    threads = [threading.Thread(target=lambda: found.append(segments[3])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(frames, expected) for frames in found)


def test_a_forked_process_is_told_to_spawn(s3, local):
    segments = open_segments(s3, 25, 5)
    segments.sources[0].store._process = os.getppid()  # as in a child made by fork
    with pytest.raises(ShardSetError, match="then forked"):
        segments[0]


def test_a_web_set_is_read_on_after_a_fork(web, local):
    segments, expected = open_segments(web.address, 25, 5), open_segments(local, 25, 5)[3]
    segments[0]  # its connection is kept
    child = os.fork()
    if not child:
        os._exit(0 if np.array_equal(segments[3], expected) else 1)
    assert np.array_equal(segments[3], expected)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_addresses_that_lead_nowhere(web, s3, tmp_path):
    with pytest.raises(ShardSetError, match=r"has no manifest\.json"):
        open_segments(f"{web.address}/absent", 25, 0)
    with pytest.raises(ShardSetError, match=r"has no manifest\.json"):
        open_segments(f"s3://{BUCKET}/absent", 25, 0)
    with pytest.raises(
        ShardSetError, match=r"manifest\.json cannot be read.*\n.*as they were published\n.*the network"
    ):
        open_segments("http://127.0.0.1:9/set", 25, 0)
    for address, words in (
        ("gopher://me:secret@host/set", "scheme 'gopher'"),
        ("http:///set", "is no address"),
        ("http://host:99999999/set", "is no address"),
        ("http://me:se/cret@host/set", "is no address"),
        ("http://[::1/set", "is no address"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            open_segments(address, 25, 0)
        assert caught.value.expected
        assert caught.value.fix
        assert "cret" not in str(caught.value)
        assert "'se'" not in str(caught.value)


def test_without_keys_nothing_but_the_endpoint_is_asked(s3, monkeypatch):
    """The request is unsigned, which this server refuses; the cloud's metadata address is not asked."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ShardSetError, match="AWS_ACCESS_KEY_ID") as error:
        open_segments(s3, 25, 0)
    assert "169.254" not in str(error.value)


def test_the_command_line_takes_addresses(web, capsys):
    assert run(["inspect", web.address]) == 0
    assert f"in {web.address}" in capsys.readouterr().out
    assert run(["verify", web.address]) == 2
    assert "copy the set here" in capsys.readouterr().err


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingDependencyError, match="obstore") as error:
        open_segments("s3://bucket/set", 25, 0)
    assert "cannot be imported" in str(error.value)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingDependencyError, match="not installed") as error:
        open_segments("s3://bucket/set", 25, 0)
    assert "[s3]'" in error.value.fix


def test_the_streaming_recipes_in_the_docs_run(s3, local, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", RECIPE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        program = tmp_path / f"recipe{number}.py"
        program.write_text(block.replace("data/shards/ssv2", str(local)).replace("s3://my-bucket/ssv2", s3))
        result = subprocess.run(
            [sys.executable, "-W", "ignore", str(program)], capture_output=True, text=True, timeout=600
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[-1] == f"{len(VIDEOS)} samples, {sum(v.num_frames for v in VIDEOS)} frames"
