"""`prepare episodes`: actions go with their frames, and what cannot is named."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from ipv_bench.cli import run
from ipv_bench.errors import ConfigError, ShardSetError
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import LOG_FILE, SAMPLES_FILE, SAMPLES_SCHEMA, SOURCES_FILE, read_manifest
from ipv_bench.tracks import tracks_bytes
from pipelines.datasets.episode_tracks import _told_by_first_actions
from pipelines.shards.verify import verify
from tests.episode_maker import SIZE, episode, write_episodes
from tests.pipelines.shards.test_verify import resign
from tests.shard_set_maker import read_numbers

LENGTHS = (12, 30, 9, 21, 17)


def command(source: Path, out: Path, *options: str, name: str = "episodes") -> list[str]:
    return ["prepare", name, "--source", str(source), "--out", str(out), "--set", "size=native", *options]


def prepare(source: Path, out: Path, *options: str, name: str = "episodes") -> int:
    return run([*command(source, out, *options, name=name), "--workers", "1", "--quiet"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOG_FILE}


def statuses(folder: Path) -> dict[str, str]:
    rows = pq.read_table(folder / SOURCES_FILE).to_pylist()
    return {row["source_id"]: row["reason"] or row["status"] for row in rows}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_episodes(tmp_path_factory.mktemp("raw") / "push", LENGTHS).parent


@pytest.fixture(scope="module")
def labelled(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "set"
    assert prepare(source, out) == 0
    return out


@pytest.mark.parametrize(("encoding", "clip_frames"), [("mjpeg", "7"), ("raw", "null")])
def test_each_action_comes_with_the_frame_that_it_led_into(source, tmp_path, encoding, clip_frames):
    out = tmp_path / "set"
    assert prepare(source, out, "--set", f"encoding={encoding}", "--set", f"clip_frames={clip_frames}") == 0
    segments = open_segments(out, 8, seed=1, tracks=("action", "is_first"))
    for i in range(25):
        frames, tracks = segments[i]
        shown, videos = read_numbers(frames)
        expected = np.array([(t, videos[0] + 1) if t else (0, 0) for t in shown], np.float32)
        assert np.array_equal(tracks["action"], expected)
        assert tracks["action"].dtype == np.float32
        assert tracks["is_first"].tolist() == [int(t == 0) for t in shown]
        assert np.array_equal(open_segments(out, 8, seed=1)[i], frames)
    assert verify(out, "all").findings == []


def test_actions_between_frames_that_are_apart_are_joined(labelled):
    segments = open_segments(labelled, 3, seed=1, tracks=("action", "reward"), every_frames=3)
    for i in range(10):
        frames, tracks = segments[i]
        shown, videos = read_numbers(frames)
        assert np.diff(shown).tolist() == [3, 3]
        assert tracks["action"].shape == (3, 6)
        assert not tracks["action"][0].any()  # what led to the first frame is not read
        for t in (1, 2):
            steps = tracks["action"][t].reshape(3, 2)
            assert steps[:, 0].tolist() == list(range(shown[t - 1] + 1, shown[t] + 1))
            assert set(steps[:, 1]) == {videos[0] + 1}
        assert tracks["reward"].tolist() == [t / 4 for t in shown]


def test_the_manifest_lists_names_shapes_and_units(labelled, capsys):
    tracks = read_manifest(labelled).tracks
    assert {name: (entry.dtype, entry.shape) for name, entry in tracks.items()} == {
        "action": ("float32", [2]),
        "reward": ("float32", []),
        "is_first": ("uint8", []),
    }
    assert all(entry.unit for entry in tracks.values())
    assert "as in the source" in tracks["action"].note
    assert run(["inspect", str(labelled), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tracks"]["action"]["shape"] == [2]
    assert run(["inspect", str(labelled)]) == 0
    assert "action: float32 (T, 2)" in capsys.readouterr().out


def test_plain_webdataset_and_numpy_read_the_tracks(labelled):
    shards = sorted(map(str, labelled.glob("*.tar")))
    found = {
        sample["__key__"]: np.load(io.BytesIO(sample["tracks.npz"]))
        for sample in webdataset.WebDataset(shards, shardshuffle=False)
    }
    assert len(found) == len(LENGTHS)
    assert np.array_equal(found["push_2fe1"]["action"], episode(1, LENGTHS[1])["action"])


def test_files_from_all_over_the_release_say_when_actions_were_taken(tmp_path):
    """A third of them begin at rest, and come first by name."""
    for number in range(126):
        first = 0.0 if number < 42 else 1.0
        np.savez(tmp_path / f"e{number:03d}.npz", action=np.full((4, 1), first, np.float32))
    taken_at, told = _told_by_first_actions(tmp_path, [f"e{number:03d}.npz" for number in range(126)])
    assert taken_at
    assert "zero in 21 of 64 files" in told


def test_actions_taken_at_a_frame_are_shifted_and_the_manifest_says_so(tmp_path, capsys):
    taken = np.arange(1, 11, dtype=np.float32)[:, None]
    source, out = write_episodes(tmp_path / "raw", (10, 10), action=taken, reward=None), tmp_path / "set"
    assert run([*command(source, out), "--workers", "1"]) == 0
    tracks = open_segments(out, 10, 0, tracks=["action"])[0].tracks
    assert tracks["action"][:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert "shifted by one" in read_manifest(out).tracks["action"].note
    told = capsys.readouterr().out
    assert "shifted by one (action_time=auto: at frame 0 they are zero in 0 of 2 files" in told
    assert "--set action_time=led_into" in told
    rest = write_episodes(tmp_path / "rest", (10,), action=np.maximum(taken - 3, 0), reward=None)
    assert run([*command(rest, tmp_path / "at rest"), "--workers", "1"]) == 0
    assert "led into each frame (action_time=auto: at frame 0 they are zero in 1 of 1 files" in capsys.readouterr().out
    assert run([*command(rest, tmp_path / "said", "--set", "action_time=taken_at"), "--workers", "1"]) == 0
    assert "action_time=auto" not in capsys.readouterr().out
    assert prepare(source, tmp_path / "as is", "--set", "action_time=led_into") == 3  # not zero at frame 0
    assert prepare(source, tmp_path / "frames", "--set", "tracks=[]") == 0
    assert not read_manifest(tmp_path / "frames").tracks


def test_sets_without_tracks_are_what_they_were(source, tmp_path):
    assert prepare(source, tmp_path / "set", "--set", "tracks=[]", name="rlbench") == 0
    plain = write_episodes(tmp_path / "raw" / "push", LENGTHS, action=None, reward=None, is_first=None).parent
    assert prepare(plain, tmp_path / "plain", name="rlbench") == 0
    for folder in ("set", "plain"):
        out = tmp_path / folder
        assert "tracks" not in json.loads((out / "manifest.json").read_bytes())
        assert pq.read_schema(out / SAMPLES_FILE).names == SAMPLES_SCHEMA.names
        assert b"tracks_size" not in (out / "rlbench-000000.json").read_bytes()
        with pytest.raises(ShardSetError, match="no tracks: it is an unlabelled set"):
            open_segments(out, 8, 0, tracks=("action",))
    assert "tracks" not in read_manifest(tmp_path / "plain").options  # the plan of older versions: it goes on


def test_rlbench_keeps_its_actions(source, labelled, tmp_path):
    out = tmp_path / "set"
    assert prepare(source, out, name="rlbench") == 0
    one, other = (open_segments(folder, 8, 0, tracks=["action"]) for folder in (out, labelled))
    assert np.array_equal(one[3].tracks["action"], other[3].tracks["action"])


def test_workers_and_a_killed_job_give_the_same_bytes(source, labelled, tmp_path):
    out = tmp_path / "set"
    started = subprocess.Popen(
        [sys.executable, "-m", "ipv_bench", *command(source, out), "--workers", "2"], stdout=subprocess.DEVNULL
    )
    while started.poll() is None and not list(out.glob("*.tar")):
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert run([*command(source, out), "--workers", "2", "--quiet"]) == 0
    assert contents(out) == contents(labelled)


def rewrite_member(folder: Path, name: str, data: bytes) -> None:
    """Replace a member of the first shard by one of the same size, and make all checksums fit."""
    path = folder / "episodes-000000.tar"
    with tarfile.open(path) as tar:
        member = tar.getmember(name)
    assert member.size == len(data)
    whole = bytearray(path.read_bytes())
    whole[member.offset_data : member.offset_data + member.size] = data
    path.write_bytes(whole)
    resign(folder)


def test_verify_finds_tracks_that_break_the_contract_though_checksums_fit(labelled, tmp_path):
    good = {name: values.astype(np.float32) for name, values in episode(0, LENGTHS[0]).items() if name != "image"}
    good["is_first"] = good["is_first"].astype(np.uint8)
    wrong = {
        "nan": good | {"reward": good["reward"] * np.nan},
        "into frame 0": good | {"action": good["action"] + 1},
        "type": good | {"reward": good["reward"].astype(np.int32)},
        "shape": good | {"action": good["action"].reshape(2, -1)},
        "name": {("rewarf" if name == "reward" else name): values for name, values in good.items()},
    }
    for kind, arrays in {"good": good, **wrong}.items():
        copy = Path(shutil.copytree(labelled, tmp_path / kind))
        rewrite_member(copy, "push_2fe0.tracks.npz", tracks_bytes(arrays))
        found = {(finding.kind, finding.file) for finding in verify(copy).findings}
        assert found == (set() if kind == "good" else {("tracks", "episodes-000000.tar")}), kind
        if kind in ("type", "shape", "name"):
            with pytest.raises(ShardSetError, match="tracks of sample 0"):
                [open_segments(copy, 8, 0, tracks=["action"])[i] for i in range(30)]


def test_a_flipped_bit_in_a_tracks_member_is_found_and_repaired(source, labelled, tmp_path):
    copy = Path(shutil.copytree(labelled, tmp_path / "set"))
    path = copy / "episodes-000000.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"action.npy") + 200] ^= 1
    path.write_bytes(data)
    assert {finding.kind for finding in verify(copy).findings} == {"checksum"}
    assert prepare(source, copy) == 0
    assert contents(copy) == contents(labelled)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_files_that_deviate_are_quarantined_with_their_reason(tmp_path):
    source, out = tmp_path / "raw", tmp_path / "set"
    write_episodes(source, (9,) * 10)
    action = episode(0, 9)["action"]
    bad = {
        "short": {"action": action[:-1]},
        "long": {"action": np.concatenate([action, action])},
        "wide": {"action": np.zeros((9, 3), np.float32)},
        "nan": {"action": np.where(action == 4, np.nan, action)},
        "huge": {"action": action.astype(np.float64) * 1e300},
        "complex": {"action": action.astype(complex)},
        "text": {"action": np.full((9, 2), "left")},
        "bytes": {"action": action.astype(np.uint8)},
        "first": {"action": action + 1},
        "scalar": {"reward": np.float32(1)},
        "absent": {"action": None},
        "objects": {"action": np.array([Trap(tmp_path / "trap")] * 9, object)},
    }
    for name, change in bad.items():
        write_episodes(source, (9,), name, **change)
    assert prepare(source, out, "--set", "max_failure_rate=1") == 0
    assert statuses(out) == {f"e{n}": "written" for n in range(10)} | dict.fromkeys(bad, "bad_annotation")
    assert not (tmp_path / "trap").exists()
    lines = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    messages = {line["source_id"]: line["message"] for line in lines}
    assert "8 entries" in messages["short"]
    assert "NaN" in messages["nan"]
    assert "Python objects" in messages["objects"]
    assert "not zero at frame 0" in messages["first"]


def test_whole_releases_that_cannot_be_labelled_are_refused(tmp_path, capsys):
    pickled = write_episodes(tmp_path / "pickled", (9, 9), action=np.array([Trap(tmp_path / "trap")] * 9, object))
    assert prepare(pickled, tmp_path / "set") == 2
    assert "Python objects" in capsys.readouterr().err
    good = write_episodes(tmp_path / "good", (9, 9))
    for option, words in (("tracks=[torque]", "`torque`"), ("frame_stride=2", "every frame"), ("tracks=[a/b]", "name")):
        assert prepare(good, tmp_path / "set", "--set", option) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "trap").exists()


def test_frames_left_out_at_the_start_take_their_action_along(tmp_path):
    source, out = write_episodes(tmp_path / "raw", (12,)), tmp_path / "set"
    assert prepare(source, out, "--set", "skip_frames=3") == 0
    tracks = open_segments(out, 9, 0, tracks=["action", "is_first"])[0].tracks
    assert tracks["action"][:, 0].tolist() == [0, 4, 5, 6, 7, 8, 9, 10, 11]
    assert tracks["is_first"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0]


def test_sets_whose_tracks_differ_are_not_read_together(labelled, tmp_path):
    other = write_episodes(tmp_path / "raw", (9,), action=np.zeros((9, 5), np.float32))
    assert prepare(other, tmp_path / "set") == 0
    with pytest.raises(ConfigError, match=r"'action' is float32 \[5\].* float32 \[2\]"):
        open_segments([labelled, tmp_path / "set"], 8, 0, tracks=["action"])
    open_segments([labelled, tmp_path / "set"], 8, 0, tracks=["reward"])[0]
    with pytest.raises(ShardSetError, match="has the tracks action, is_first, reward"):
        open_segments(labelled, 8, 0, tracks=["torque"])


def test_episodes_are_native_sized(labelled):
    assert open_segments(labelled, 8, 0)[0].shape == (8, *SIZE, 3)
