"""`prepare lerobot`: each episode gets its own frames, times, actions and tasks, and what cannot be read is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import SourceError
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import SAMPLES_FILE, read_manifest
from pipelines.datasets.lerobot import DATA_SET, LeRobotConfig
from pipelines.datasets.lerobot_meta import read_meta
from pipelines.decoding.open_frames import open_frames
from pipelines.samples.moving_blob import blob_episode
from pipelines.shards.sample_block import without_frames, write_block
from pipelines.shards.verify import verify
from tests.failing_disk import fail
from tests.lerobot_maker import (
    TASKS,
    change_episodes,
    change_info,
    make_lerobot,
    marked_frame,
    read_marks,
    write_video,
)

LENGTHS = (6, 9, 5)
KEY = "observation.images.top"


def prepare(source: Path, out: Path, *options: str) -> int:
    command = ["prepare", "lerobot", "--source", str(source), "--out", str(out), "--set", "size=native", "--workers"]
    return run([*command, "1", "--quiet", "--set", "max_failure_rate=0.9", *options])


def stored(folder: Path, tracks: tuple[str, ...] = ("action",)) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Source id → all frames and tracks."""
    source = open_segments(folder, 1, 0).sources[0]
    index = source.index
    found = {}
    for video, length in enumerate(index.video_frames):
        part = source.tracks(video, 0, int(length), tracks) if tracks else {}
        found[index.video_id(video)] = (source.frames(video, 0, int(length)), part)
    return found


def outcomes(source: Path, scratch: Path, **values: object) -> list[tuple[str, str]]:
    """What becomes of each episode, decoded in this process: (reason or "written", message)."""
    config = LeRobotConfig.model_validate({"size": "native"} | values)
    found = []
    with open(scratch / "block", "w+b") as file:
        for item in DATA_SET.inventory(source, config).items:
            done = without_frames(item) or write_block(item, "key", source, config, file, lambda: None)
            found.append((done.row.reason or done.row.status, done.row.message))
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lerobot(tmp_path_factory.mktemp("lerobot") / "toy", LENGTHS)


@pytest.fixture
def copy(source: Path, tmp_path: Path) -> Path:
    return shutil.copytree(source, tmp_path / "toy")


@pytest.mark.parametrize(("codec", "one_row_group"), [("h264", True), ("av1", False), ("png", True)])
def test_every_episode_has_its_frames_actions_times_and_task(tmp_path: Path, codec: str, one_row_group: bool) -> None:
    source = make_lerobot(tmp_path / "toy", LENGTHS, codec=codec, one_row_group=one_row_group)
    out = tmp_path / "set"
    assert prepare(source, out, "--strict") == 0
    assert not verify(str(out), "all").findings
    found = stored(out, ("action", "state", "reward"))
    assert list(found) == [f"episode_{number:06d}" for number in range(3)]
    for number, length in enumerate(LENGTHS):
        frames, tracks = found[f"episode_{number:06d}"]
        t = np.arange(length)
        assert read_marks(frames) == [(number, frame) for frame in range(length)]
        truth = np.stack([marked_frame(number, frame) for frame in range(length)])
        assert np.abs(frames.astype(int) - truth).mean() < 6
        taken = np.stack([100.0 * number + t + 1, -(t + 1.0)], 1)
        assert np.array_equal(tracks["action"], np.concatenate([np.zeros((1, 2)), taken[:-1]]))  # led into its frame
        assert np.array_equal(tracks["state"][:, 0], 100.0 * number + t)
        assert np.array_equal(tracks["reward"], np.concatenate([[0], t[:-1] / 8]).astype(np.float32))
    rows = {row["source_id"]: row for row in pq.read_table(out / SAMPLES_FILE).to_pylist()}
    assert [row["label"] for row in rows.values()] == [TASKS[0], TASKS[1], TASKS[0]]
    assert [row["split"] for row in rows.values()] == ["train", "train", "test"]
    assert {row["fps"] for row in rows.values()} == {10.0}
    manifest = read_manifest(out)
    assert "shifted by one" in manifest.tracks["action"].note
    assert [count["ours"] for count in manifest.counts] == [3, 3, sum(LENGTHS)]


def test_cameras_are_chosen_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_lerobot(tmp_path / "two", (3, 4), cameras=("top", "wrist"))
    assert prepare(source, tmp_path / "none") == 2
    assert "camera=top" in capsys.readouterr().err
    assert prepare(source, tmp_path / "unknown", "--set", "camera=tops") == 2
    message = capsys.readouterr().err
    assert "tops" in message
    assert KEY in message
    assert prepare(source, tmp_path / "one", "--set", "camera=wrist") == 0
    config = LeRobotConfig.model_validate({"camera": "observation.images.wrist"})
    assert [item.path for item in DATA_SET.inventory(source, config).items] == [
        "videos/observation.images.wrist/chunk-000/file-000.mp4"
    ] * 2
    assert prepare(source, tmp_path / "all", "--set", "camera=all") == 0
    one, both = stored(tmp_path / "one"), stored(tmp_path / "all")
    assert list(both) == [f"episode_{e:06d}/observation.images.{c}" for e in (0, 1) for c in ("top", "wrist")]
    top, wrist = both[f"episode_000001/{KEY}"][0], both["episode_000001/observation.images.wrist"][0]
    assert np.array_equal(one["episode_000001"][0], wrist)
    assert wrist[..., 2].mean() > top[..., 2].mean() + 10  # the wrist's pictures are bluer


def test_without_tracks_the_data_tables_are_not_needed(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "data")
    options = ("--set", "tracks=[]", "--set", "fps=5")
    assert prepare(copy, tmp_path / "set", *options) == 0
    found = stored(tmp_path / "set", ())
    assert read_marks(found["episode_000001"][0]) == [(1, frame) for frame in range(0, 9, 2)]
    assert prepare(copy, tmp_path / "torn", "--set", "fps=5") == 2  # actions would be torn from their frames


def test_the_sample_is_a_data_set_whose_licence_is_its_cards(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run(["sample", str(tmp_path / name), "--dataset", "lerobot", "--videos", "2", "--quiet"]) == 0
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    card = tmp_path / "one/README.md"
    card.write_text(card.read_text().replace("license: other", "license: apache-2.0"))
    assert prepare(tmp_path / "one", tmp_path / "set", "--strict") == 0
    assert read_manifest(tmp_path / "set").licence == "apache-2.0, as the data set's card says"
    truth = blob_episode(1, 0, False)
    frames, tracks = stored(tmp_path / "set", ("action", "state"))["episode_000001"]
    assert np.array_equal(tracks["action"], truth["action"])
    assert np.array_equal(tracks["state"], truth["state"])
    assert np.abs(frames.astype(int) - truth["image"]).mean() < 3


def test_other_columns_become_tracks_by_name_and_workers_change_nothing(source: Path, tmp_path: Path) -> None:
    options = ("--set", 'tracks=["action","next.done"]', "--set", "shard_videos=1")
    assert prepare(source, tmp_path / "set", *options) == 0
    assert prepare(source, tmp_path / "two", *options, "--workers", "2") == 0
    assert read_manifest(tmp_path / "two").checksum == read_manifest(tmp_path / "set").checksum
    found = stored(tmp_path / "set", ("next_done",))
    assert found["episode_000000"][1]["next_done"].tolist() == [0, 0, 0, 0, 0, 1]
    assert prepare(source, tmp_path / "none", "--set", 'tracks=["forces"]') == 2


@pytest.mark.parametrize("version", ["v2.1", "v2.0", "v4.0", None])
def test_other_versions_are_named_with_the_way_to_convert(
    copy: Path, tmp_path: Path, version: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    change_info(copy, codebase_version=version)
    assert prepare(copy, tmp_path / "set") == 2
    message = capsys.readouterr().err
    assert (version or "names no codebase_version") in message
    assert ("convert_dataset_v21_to_v30" in message) == (version in ("v2.1", "v2.0"))


def test_missing_and_mismatching_meta_files_are_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(name: str, change, *words: str) -> None:
        folder = shutil.copytree(source, tmp_path / name)
        change(folder)
        assert prepare(folder, tmp_path / f"{name}-set") == 2
        message = capsys.readouterr().err
        assert all(word in message for word in words), message

    refused("info", lambda folder: (folder / "meta/info.json").unlink(), "meta/info.json")
    refused("tasks", lambda folder: (folder / "meta/tasks.parquet").rename(folder / "meta/tasks.jsonl"), "tasks.jsonl")
    refused("episodes", lambda folder: shutil.rmtree(folder / "meta/episodes"), "meta/episodes")
    refused("total", lambda folder: change_info(folder, total_episodes=4), "4 episodes", "lists 3")
    refused("frames", lambda folder: change_info(folder, total_frames=21), "21 frames", "lists 20")
    refused("twice", lambda folder: change_episodes(folder, episode_index=[0, 1, 1]), "episode 1 twice", "each once")
    refused("template", lambda folder: change_info(folder, video_path="{video_key.__class__}/x.mp4"), "video_path")
    refused("outside", lambda folder: change_info(folder, data_path="../{chunk_index}/{file_index}"), "data_path")
    refused("fps", lambda folder: change_info(folder, fps=0), "fps is 0")
    refused("rates", lambda folder: change_info(folder, fps=25), "10 frames per second, the data set 25")


def test_splits_that_share_an_episode_are_refused(tmp_path: Path) -> None:
    source = make_lerobot(tmp_path / "toy", (4, 4, 4, 4, 4, 4))
    for splits in ({"train": "0:6", "test": "4:6"}, {"test": "4:6", "train": "0:6"}, {"a": "0:2", "b": "1:9"}):
        change_info(source, splits=splits)
        with pytest.raises(SourceError, match=r"info\.json: episode [14] is in two splits: .*\n.*at most\n.*correct"):
            read_meta(source)


@pytest.mark.parametrize(
    ("splits", "of_each", "words"),
    [
        ({"train": "0:2", "none": "2:2", "test": "2:3"}, ("train", "train", "test"), ()),
        (
            {"train": "0:1,2:3"},
            ("", "", ""),
            ("1 splits are no `first:end` and left out, the first: 'train' is '0:1,2:3'",),
        ),
        ({"train": [0, 1]}, ("", "", ""), ("'train' is a list",)),
        ({"train": "80%", "test": "2:3"}, ("", "", "test"), ("'train' is '80%'", "2 of 3 episodes are in no split")),
        ({"train": "2:0"}, ("", "", ""), ("'train' is '2:0'",)),
        (
            {"train": "0:9"},
            ("train", "train", "train"),
            ("1 splits reach beyond the last episode, which is 2, the first: 'train' is 0:9",),
        ),
        ({"train": "0:3", "test": "10:20"}, ("train", "train", "train"), ("'test' is 10:20",)),
        ({"train": "1:3"}, ("", "train", "train"), ("1 of 3 episodes are in no split, the first is 0",)),
        (["0:3"], ("", "", ""), ("splits is a list, no table",)),
        ({}, ("", "", ""), ()),
        (None, ("", "", ""), ()),
    ],
)
def test_splits_that_are_no_ranges_or_miss_episodes_are_told(
    copy: Path, splits: object, of_each: tuple[str, ...], words: tuple[str, ...]
) -> None:
    change_info(copy, splits=splits)
    meta = read_meta(copy)
    assert tuple(episode.split for episode in meta.episodes) == of_each
    assert len(meta.warnings) == len(words), meta.warnings
    assert all(word in warning for word, warning in zip(words, meta.warnings, strict=True)), meta.warnings


def test_two_columns_of_one_track_are_both_named(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    change_info(copy, features=features | {"observation.next.done": features["next.done"]})
    both = ("--set", 'tracks=["next.done","observation.next.done"]')
    assert prepare(copy, tmp_path / "set", *both) == 2
    message = capsys.readouterr().err
    assert "the columns next.done and observation.next.done would both become the track next_done" in message
    assert "expected: one column for each track" in message
    assert "keep one" in message


def test_a_damaged_table_and_a_missing_video_spoil_their_own_episodes_only(copy: Path, tmp_path: Path) -> None:
    (copy / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1 no table PAR1")
    assert [reason for reason, _ in outcomes(copy, tmp_path)] == ["corrupt", "corrupt", "written"]
    (copy / f"videos/{KEY}/chunk-000/file-000.mp4").unlink()
    assert [reason for reason, _ in outcomes(copy, tmp_path, tracks=())] == ["missing", "missing", "written"]


def test_an_episode_that_runs_out_of_its_video_is_named(copy: Path, tmp_path: Path) -> None:
    frames = [marked_frame(0, frame) for frame in range(6)] + [marked_frame(1, frame) for frame in range(4)]
    write_video(copy / f"videos/{KEY}/chunk-000/file-000.mp4", frames, 10)
    found = outcomes(copy, tmp_path)
    assert [reason for reason, _ in found] == ["written", "bad_annotation", "written"]
    message = found[1][1]
    assert "4 of 9 frames" in message
    assert "1.500 s" in message


def test_a_truncated_video_keeps_the_episodes_that_are_whole(copy: Path, tmp_path: Path) -> None:
    path = copy / f"videos/{KEY}/chunk-000/file-000.mp4"
    frames = [marked_frame(0, frame) for frame in range(6)] + [marked_frame(1, frame) for frame in range(9)]
    write_video(path, frames, 10)
    data = path.read_bytes()
    # the index first, so that a cut takes pictures and not the index
    import av

    with av.open(str(path)) as old, av.open(str(path) + ".mp4", "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    data = Path(str(path) + ".mp4").read_bytes()
    path.write_bytes(data[: len(data) - 300])
    first, second, _ = outcomes(copy, tmp_path)
    assert first[0] == "written"
    assert second[0] == "truncated"


@pytest.mark.parametrize(
    "options",
    [
        {"g": "250", "bf": "3", "preset": "medium"},
        {"bf": "3", "preset": "medium", "x264-params": "open-gop=1:keyint=8:min-keyint=8:scenecut=0"},
    ],
    ids=["one key frame", "open groups of pictures"],
)
def test_key_frames_may_lie_anywhere(tmp_path: Path, options: dict[str, str]) -> None:
    lengths = (7, 13, 6, 11, 9)
    source = make_lerobot(tmp_path / "toy", lengths, per_file=5)
    frames = [marked_frame(number, frame) for number, length in enumerate(lengths) for frame in range(length)]
    write_video(source / f"videos/{KEY}/chunk-000/file-000.mp4", frames, 10, more=options)
    config = LeRobotConfig.model_validate({"size": "native"})
    for number, item in enumerate(DATA_SET.inventory(source, config).items):
        found = [frame.picture for frame in open_frames(item, source, config) if frame is not None]
        assert read_marks(np.stack(found)) == [(number, frame) for frame in range(lengths[number])]


def test_a_video_of_another_rate_is_refused(copy: Path, tmp_path: Path) -> None:
    frames = [marked_frame(0, frame) for frame in range(6)] + [marked_frame(1, frame) for frame in range(9)]
    write_video(copy / f"videos/{KEY}/chunk-000/file-000.mp4", [frame for frame in frames for _ in (0, 1)], 20)
    reason, message = outcomes(copy, tmp_path)[0]
    assert reason == "bad_annotation"
    assert "20 frames per second, the data set 10" in message


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"length": [6, 8, 6]}, "rows 6 to 15 for 8 frames"),
        ({f"videos/{KEY}/to_timestamp": [0.6, 3.5, 0.5]}, "no 9 frames"),
        ({f"videos/{KEY}/from_timestamp": [0.0, float("nan"), 0.0]}, "nan"),
    ],
)
def test_episodes_whose_tables_disagree_are_quarantined(copy: Path, tmp_path: Path, columns, words: str) -> None:
    change_episodes(copy, **columns)
    reason, message = outcomes(copy, tmp_path)[1]
    assert reason == "bad_annotation"
    assert words in message


def test_rows_of_another_episode_are_never_taken(copy: Path, tmp_path: Path) -> None:
    path = copy / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table.slice(6), table.slice(0, 6)]), path)  # the episodes change places
    assert [reason for reason, _ in outcomes(copy, tmp_path)] == ["bad_annotation"] * 2 + ["written"]


def test_times_that_do_not_fit_the_rate_are_refused(copy: Path, tmp_path: Path) -> None:
    path = copy / "data/chunk-000/file-001.parquet"
    table = pq.read_table(path)
    times = pa.array(np.array([0, 0.1, 0.2, 0.35, 0.45], np.float32))
    pq.write_table(table.set_column(table.schema.names.index("timestamp"), "timestamp", times), path)
    reason, message = outcomes(copy, tmp_path)[2]
    assert reason == "bad_annotation"
    assert "0.3500 s of frame 3" in message


def test_depth_is_no_colour_camera(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = json.loads((copy / "meta/info.json").read_text())
    info["features"][KEY]["info"]["video.is_depth_map"] = True
    (copy / "meta/info.json").write_text(json.dumps(info))
    assert prepare(copy, tmp_path / "set") == 2
    assert "no camera with colours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("meta/info.json", "looked at"), ("meta/info.json", "opened"), ("meta/tasks.parquet", "looked at"),
        ("meta/episodes", "listed"), ("meta/episodes/chunk-000/file-000.parquet", "opened"), ("README.md", "opened"),
    ],
)  # fmt: skip
def test_a_disk_that_answers_with_errors_is_told(
    copy: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    (copy / "README.md").write_text("---\nlicense: mit\n---\n")
    read_meta(copy)
    with monkeypatch.context() as patch:
        fail(patch, copy / name, what=(what,))
        with pytest.raises(SourceError, match=f"{name}.* cannot be read: Input/output error") as caught:
            read_meta(copy)
    assert caught.value.expected == "a disk that can be read"
    assert "download" not in caught.value.fix
