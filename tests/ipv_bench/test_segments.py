"""Segments are the frames that their numbers say, whatever the storage."""

from __future__ import annotations

import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from ipv_bench.errors import ConfigError, ShardSetError, UnknownNameError
from ipv_bench.segments import open_segments
from tests.shard_set_maker import Video, make_shard_set, numbered_frames, read_numbers

VIDEOS = [
    Video("b.1", 40, "train", "push"),
    Video("a/2", 90, "train", "lift"),
    Video("c d", 12, "train", "push"),
    Video("ä", 31, "validation", "lift"),
    Video("b.2", 700, "train", "pull"),
    Video("z", 26, "validation", "push"),
]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    return {
        "mjpeg": make_shard_set(root / "mjpeg", VIDEOS),
        "raw": make_shard_set(root / "raw", VIDEOS, encoding="raw"),
        "clips": make_shard_set(root / "clips", VIDEOS, clip_frames=17, samples_per_shard=9),
        "other": make_shard_set(root / "other", [Video(f"o{n}", 30) for n in range(9)], name="other"),
    }


@pytest.mark.parametrize("kind", ["mjpeg", "raw", "clips"])
def test_segments_hold_the_frames_they_describe(sets, kind):
    segments = open_segments(sets[kind], 25, seed=3)
    numbers = {video.source_id: number for number, video in enumerate(VIDEOS)}
    for i in range(60):
        frames, origin = segments[i], segments.describe(i)
        assert frames.shape == (25, 64, 64, 3)
        assert frames.dtype == np.uint8
        shown, videos = read_numbers(frames)
        assert shown == list(range(origin.start_frame, origin.start_frame + 25))
        assert set(videos) == {numbers[origin.source_id]}
        assert origin.source_frame == origin.start_frame
        assert origin.data_set == "numbers"


def test_raw_frames_come_back_exactly(sets):
    segments = open_segments(sets["raw"], 7, seed=0)
    origin = segments.describe(5)
    number = [video.source_id for video in VIDEOS].index(origin.source_id)
    assert np.array_equal(segments[5], numbered_frames(number, 7, first=origin.start_frame))


def test_storage_does_not_change_the_draws(sets):
    whole, cut = open_segments(sets["mjpeg"], 25, seed=8), open_segments(sets["clips"], 25, seed=8)
    for i in range(40):
        assert whole.describe(i).source_id == cut.describe(i).source_id
        assert np.array_equal(whole[i], cut[i])


def test_segments_are_a_function_of_seed_and_index(sets):
    first, again, other = (open_segments(sets["mjpeg"], 25, seed=seed) for seed in (1, 1, 2))
    places = [first.describe(i) for i in range(50)]
    assert [again.describe(i) for i in reversed(range(50))][::-1] == places
    assert [other.describe(i) for i in range(50)] != places


def test_videos_and_starts_are_drawn_uniformly(sets):
    segments = open_segments(sets["mjpeg"], 25, seed=0)
    origins = [segments.describe(i) for i in range(4000)]
    videos = Counter(origin.source_id for origin in origins)
    assert set(videos) == {video.source_id for video in VIDEOS if video.num_frames >= 25}
    assert all(abs(count - 800) < 5 * 800**0.5 for count in videos.values())
    starts = Counter(origin.start_frame for origin in origins if origin.source_id == "b.1")
    assert set(starts) == set(range(16))


def test_weights_share_the_draws(sets):
    data = [sets["mjpeg"], sets["other"]]
    for weights, share in ((None, 0.5), ((3, 1), 0.75), ((0, 1), 0.0), ((1, 0), 1.0)):
        segments = open_segments(data, 25, 0, weights=weights)
        found = np.mean([segments.describe(i).data_set == "numbers" for i in range(1000)])
        assert abs(found - share) < 0.06


def test_fixed_subsets_are_nested(sets):
    def drawn(count: int) -> set[str]:
        segments = open_segments(sets["other"], 25, 0, num_videos=count)
        assert segments.shard_sets[0]["num_videos"] == count
        return {segments.describe(i).source_id for i in range(300)}

    subsets = [drawn(count) for count in (1, 3, 6, 9)]
    assert [len(subset) for subset in subsets] == [1, 3, 6, 9]
    assert all(small < large for small, large in pairwise(subsets))


def test_a_fixed_number_of_segments_comes_again_and_again(sets):
    segments = open_segments(sets["other"], 5, 0)
    few, fewer = segments.of_first(6), segments.of_first(2)
    for i in range(14):
        assert few.describe(i) == segments.describe(i % 6)
        assert np.array_equal(few[i], segments[i % 6])
        assert fewer.describe(i) == few.describe(i % 2)  # nested
    assert len({segments.describe(i) for i in range(14)}) > 6
    with pytest.raises(IndexError):
        few.describe(-1)


def test_split_and_labels_select_videos(sets):
    segments = open_segments(sets["mjpeg"], 25, 0, split="validation")
    assert {segments.describe(i).source_id for i in range(60)} == {"ä", "z"}
    segments = open_segments(sets["mjpeg"], 25, 0, split="train", labels=["lift", "pull"])
    assert {segments.describe(i).source_id for i in range(60)} == {"a/2", "b.2"}


def test_unknown_split_or_label_names_the_nearest(sets, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'validation'"):
        open_segments(sets["mjpeg"], 25, 0, split="validate")
    with pytest.raises(UnknownNameError, match="did you mean 'push'"):
        open_segments(sets["mjpeg"], 25, 0, labels=["pushing"])
    plain = make_shard_set(tmp_path / "plain", [Video("v", 30, split="")])
    for kind, asked in ("split", {"split": "train"}), ("label", {"labels": ["push"]}):
        with pytest.raises(UnknownNameError, match=rf"there is no {kind} in .*plain\n  to do: .*leave the {kind}"):
            open_segments(plain, 25, 0, **asked)


def test_segments_travel_to_other_processes_and_threads(sets):
    segments = open_segments(sets["clips"], 25, seed=4)
    expected = [segments[i] for i in range(16)]
    copy = pickle.loads(pickle.dumps(segments))
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(copy.__getitem__, range(16)), expected, strict=True):
            assert np.array_equal(found, wanted)


def test_crops_are_drawn_from_videos_of_any_size(tmp_path):
    videos = [Video("wide", 30, size=(40, 72)), Video("tall", 30, size=(80, 40))]
    segments = open_segments(make_shard_set(tmp_path / "set", videos), 10, 0, crop=32)
    corners = set()
    for i in range(50):
        assert segments[i].shape == (10, 32, 32, 3)
        corners.add(segments.describe(i).crop)
    assert len(corners) > 20


def test_steps_are_counted_once_each(tmp_path):
    videos = [Video("long", 30), Video("short", 9), Video("exact", 10)]
    segments = open_segments(make_shard_set(tmp_path / "set", videos), 4, 0, every_frames=3)
    drawn = {(o.source_id, o.start_frame + 3 * k) for o in map(segments.describe, range(600)) for k in range(3)}
    assert segments.count_steps() == len(drawn) == 27 + 3  # `short` has no segment of four frames, three apart


def test_videos_that_are_smaller_than_the_crop_are_told_when_sets_are_opened(tmp_path):
    """Of any set of a mixture, by the index alone: a segment of it may come after days."""
    large = make_shard_set(tmp_path / "large", [Video("wide", 30, size=(64, 72))])
    sizes = {"tall": (80, 40), "wide": (40, 72), "fits": (56, 56), "short": (16, 16)}
    videos = [Video(name, 9 if name == "short" else 30, size=size) for name, size in sizes.items()]
    mixed = make_shard_set(tmp_path / "mixed", videos)
    with pytest.raises(ShardSetError) as caught:
        open_segments([large, mixed], 10, 0, weights=[1000, 1], crop=56)
    assert f"{mixed}: 2 of 3 videos are smaller than the crop of 56x56 pixels (tall has 40x80)" in str(caught.value)
    for words in ("--set size=short:64", "--set env.image_size=56", "data.crop=null"):
        assert words in str(caught.value.fix)
    assert open_segments([large, mixed], 10, 0, weights=[1, 0], crop=56)[0].shape == (10, 56, 56, 3)  # never drawn
    assert open_segments(mixed, 10, 0, crop=40)[0].shape == (10, 40, 40, 3)  # the smallest is too short a video


@pytest.mark.parametrize("kind", ["mjpeg", "raw", "clips"])
def test_frames_are_picked_by_time(sets, kind):
    segments = open_segments(sets[kind], 5, 3, every_seconds=0.2)  # 12 fps: 2.4 frames, so every second one
    assert segments.common_stride() == 2
    for i in range(30):
        origin = segments.describe(i)
        shown, _ = read_numbers(segments[i])
        assert shown == list(range(origin.start_frame, origin.start_frame + 10, 2))
    assert set(segments.sources[0].videos) == set(open_segments(sets[kind], 9, 0).sources[0].videos)
    assert open_segments(sets[kind], 2, 0, every_seconds=0.05).common_stride() == 1
    with pytest.raises(ShardSetError, match=r"12 frames a second.*0.0833 s, and 0.01 s are nearer to none"):
        open_segments(sets[kind], 2, 0, every_seconds=0.01)
    with pytest.raises(ShardSetError, match="0 videos of 5 frames or more, 100.0 s apart,"):
        open_segments(sets[kind], 5, 0, every_seconds=100.0)
    with pytest.raises(ConfigError, match="every_seconds is 0\n.*above 0\n.*leave it out"):
        open_segments(sets[kind], 5, 0, every_seconds=0)


def test_wrong_arguments_are_refused(sets):
    for arguments, words in (
        ({"length": 0}, "length is 0\n.*1 or more\n.*set length"),
        ({"seed": -1}, "seed is -1\n.*0 or more\n.*set seed"),
        ({"weights": [1, 2]}, "2 weights for 1 shard sets\n.*one for each\n.*leave the weights out"),
        ({"weights": [0]}, r"weights \[0.0\]\n.*at least one above 0\n.*leave the weights out"),
        ({"num_videos": 0}, "num_videos is 0\n.*1 or more\n.*set num_videos"),
    ):
        with pytest.raises(ConfigError, match=words):
            open_segments(sets["mjpeg"], **{"length": 25, "seed": 0} | arguments)
    with pytest.raises(ConfigError, match="no shard set is given\n.*one or several\n.*--data"):
        open_segments([], 25, 0)
    with pytest.raises(ShardSetError, match="0 videos of 5000 frames"):
        open_segments(sets["mjpeg"], 5000, 0)
    with pytest.raises(ShardSetError, match="5 videos"):
        open_segments(sets["mjpeg"], 25, 0, num_videos=6)
    with pytest.raises(IndexError):
        open_segments(sets["mjpeg"], 25, 0)[-1]


def test_damage_is_named(tmp_path):
    folder = make_shard_set(tmp_path / "set", VIDEOS[:1])
    shard = folder / "numbers-000000.tar"
    data = bytearray(shard.read_bytes())
    start = data.index(b"\xff\xd8\xff")
    data[start : len(data) - 2000] = b"\0" * (len(data) - 2000 - start)
    shard.write_bytes(data)
    with pytest.raises(ShardSetError, match="cannot be decoded"):
        open_segments(folder, 25, 0)[0]
    shard.write_bytes(data[:3000])
    with pytest.raises(ShardSetError, match="ends before byte"):
        open_segments(folder, 25, 0)[0]
    shard.unlink()
    with pytest.raises(ShardSetError, match="cannot be read"):
        open_segments(folder, 25, 0)[0]
    (folder / "samples.parquet").write_bytes(b"old")
    with pytest.raises(ShardSetError, match="not the file that the manifest describes"):
        open_segments(folder, 25, 0)
    with pytest.raises(ShardSetError, match=r"has no manifest\.json"):
        open_segments(tmp_path / "absent", 25, 0)
