"""Damage is found by facts, in any process, in any order: of copies of one damaged file all are refused."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.checked_video import CheckedVideo
from pipelines.decoding.damage_words import TABLE, meaning_of
from pipelines.decoding.decoder_log import Message, listening
from pipelines.decoding.frames import SourceInfo
from tests.pipelines.decoding.damage_maker import DAMAGE, FORMATS, NUM_FRAMES, make, textured_pictures
from tests.pipelines.ssv2_maker import file_hashes, prepare, quarantine, write_video

NUM_COPIES = 8


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("intact")
    return {name: make(folder, name) for name in FORMATS}


def verdict(path: Path) -> tuple[str, int]:
    """("ok" or the reason, frames)."""
    info = SourceInfo()
    try:
        frames = sum(frame is not None for frame in CheckedVideo(path, info, exact_times=False))
    except SourceFailure as failure:
        return failure.reason, info.num_frames_decoded
    return "ok", frames


@pytest.mark.parametrize("name", FORMATS)
def test_intact_files_are_whole(intact: dict[str, bytes], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(intact[name])
    assert verdict(tmp_path / name) == ("ok", NUM_FRAMES)


@pytest.mark.parametrize("name", FORMATS)
def test_text_behind_the_end_harms_nothing(intact: dict[str, bytes], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(intact[name] + b"downloaded by a tool that signs its files\n" * 3)
    assert verdict(tmp_path / name) == ("ok", NUM_FRAMES)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FORMATS)
def test_no_damaged_file_is_shortened_without_a_word(
    intact: dict[str, bytes], tmp_path: Path, name: str, damage: str
) -> None:
    (tmp_path / name).write_bytes(DAMAGE[damage](intact[name]))
    reason, _ = verdict(tmp_path / name)
    assert reason in {"corrupt", "truncated"}


JOINED_WHOLE = {"vp9.webm", "live.webm", "h264.mkv", "h264.ts", "mpeg2.mpg", "anim.gif", "raw.mjpeg"}
"""Formats of which readers show both of two joined files."""


@pytest.mark.parametrize("name", FORMATS)
def test_joined_files_are_whole_or_refused(intact: dict[str, bytes], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(2 * intact[name])
    reason, frames = verdict(path)
    assert (reason, frames) == ("ok", 2 * NUM_FRAMES) if name in JOINED_WHOLE else reason == "corrupt"
    path.write_bytes(intact[name] + DAMAGE["cut"](intact[name]))
    assert verdict(path)[0] in {"corrupt", "truncated"}


def test_joined_films_of_other_codecs_are_refused(intact: dict[str, bytes], tmp_path: Path) -> None:
    """Readers go on with the first one's decoder."""
    (tmp_path / "a.mkv").write_bytes(intact["vp9.webm"] + intact["h264.mkv"])
    assert verdict(tmp_path / "a.mkv")[0] == "corrupt"


def test_fragments_with_their_head_repeated_are_whole(tmp_path: Path) -> None:
    """As some programs download them: the head once more before each piece."""
    path, flags = tmp_path / "a.mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    options = {"codec": "libx264", "options": {"g": "4"}, "container_options": flags}
    data = write_video(path, textured_pictures(), **options).read_bytes()
    head = data[: data.index(b"moof") - 4]
    second = data.index(b"moof", data.index(b"moof") + 4) - 4
    path.write_bytes(data[:second] + head + data[second:])
    assert verdict(path) == ("ok", NUM_FRAMES)


def with_second_part(avi: bytes) -> bytes:
    """The pictures of an AVI once more in a second part, as in files above a gigabyte: `idx1` knows the first only."""
    start = avi.index(b"movi") - 8
    body = b"AVIX" + avi[start : start + 8 + int.from_bytes(avi[start + 4 : start + 8], "little")]
    return avi + b"RIFF" + len(body).to_bytes(4, "little") + body


def test_an_avi_of_several_parts_is_whole(intact: dict[str, bytes], tmp_path: Path) -> None:
    path, avi = tmp_path / "a.avi", intact["mjpeg.avi"]
    path.write_bytes(with_second_part(avi))
    assert verdict(path) == ("ok", 2 * NUM_FRAMES)
    path.write_bytes(with_second_part(avi)[:-3000])
    assert verdict(path)[0] == "truncated"
    index = avi.index(b"idx1")
    lists_too_few = avi[:index] + avi[index:].replace(b"00dc", b"01dc", 1)
    path.write_bytes(with_second_part(lists_too_few))
    assert verdict(path)[0] == "corrupt"


@pytest.mark.parametrize(("box", "place"), [(b"elst", 12), (b"stts", 16)])
def test_a_damaged_length_in_an_mp4_does_not_trim_the_film(
    intact: dict[str, bytes], tmp_path: Path, box: bytes, place: int
) -> None:
    """An edit list leaves out what lies behind its end; here one bit makes its length, or a picture's, another."""
    data = bytearray(intact["h264.mp4"])
    data[data.index(box) + place] ^= 0x40
    (tmp_path / "a.mp4").write_bytes(data)
    assert verdict(tmp_path / "a.mp4")[0] == "corrupt"


@pytest.fixture(scope="module")
def copies(intact: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight equal copies of each damaged file, and two good ones."""
    import simplejpeg

    source = tmp_path_factory.mktemp("copies")
    kinds = {"mjpeg.avi": "zeros", "anim.gif": "cut", "live.webm": "cut", "vp9.webm": "zeros", "h264.ts": "hole"}
    for name, damage in kinds.items():
        for number in range(NUM_COPIES):
            (source / f"bad_{number}_{name}").write_bytes(DAMAGE[damage](intact[name]))
    jpeg = simplejpeg.encode_jpeg(textured_pictures(1)[0], 90, "RGB", "420")
    for number in range(NUM_COPIES):
        folder = source / f"bad_{number}_pictures"
        folder.mkdir()
        (folder / "0.jpg").write_bytes(jpeg)
        (folder / "1.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (source / "good_1.webm").write_bytes(intact["vp9.webm"])
    (source / "good_2.avi").write_bytes(intact["mjpeg.avi"])
    return source


def run(source: Path, out: Path, workers: int, *options: str) -> dict[str, str]:
    """Source id → reason of all that is in the quarantine."""
    values = ("--set", "max_failure_rate=1", "--set", "shard_videos=6", *options)
    assert prepare(source, out, *values, name="folder", workers=workers) == 0
    return {entry["source_id"]: entry["reason"] for entry in quarantine(out).values()}


def test_every_copy_is_refused_by_any_number_of_workers(copies: Path, tmp_path: Path) -> None:
    one = run(copies, tmp_path / "one", 1)
    assert set(one) == {path.name for path in copies.iterdir() if path.name.startswith("bad_")}
    assert set(one.values()) == {"corrupt", "truncated"}
    run(copies, tmp_path / "two", 2)
    assert file_hashes(tmp_path / "one") == file_hashes(tmp_path / "two")


@pytest.mark.slow
def test_every_copy_is_refused_on_ray(copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # Ray reads it once; other tests have it so too
    run(copies, tmp_path / "here", 1)
    run(copies, tmp_path / "ray", 2, "--executor", "ray")
    assert file_hashes(tmp_path / "here") == file_hashes(tmp_path / "ray")


def test_the_second_decoder_refuses_the_same_files(copies: Path, tmp_path: Path) -> None:
    pytest.importorskip("decord")
    videos = tmp_path / "raw"
    videos.mkdir()
    for path in copies.iterdir():
        if path.name.startswith(("bad_0", "good_1")) and path.is_file():
            (videos / path.name).symlink_to(path)
    ours = run(videos, tmp_path / "pyav", 1)
    assert len(ours) == 5
    assert run(videos, tmp_path / "decord", 1, "--set", "decoder=decord") == ours


def test_equal_messages_are_all_heard_in_a_process_that_heard_them_before() -> None:
    for _ in range(3):
        with listening() as log:
            for _ in range(4):
                av.logging.log(av.logging.ERROR, "h264", "error while decoding MB 1 2")
            assert log.take() == [Message("h264", "error while decoding MB 1 2")] * 4
            assert log.take() == []
            assert log.last


@pytest.mark.parametrize(
    ("component", "text", "seen", "expected"),
    [
        ("h264", "mmco: unref short failure", True, "harmless"),
        ("h264", "number of reference frames (0+5) exceeds max (4; probably corrupt input)", True, "harmless"),
        ("h264", "SEI type 5 size 2016 truncated at 88", True, "harmless"),
        ("h264", "error while decoding MB 11 7, bytestream -5", True, "corrupt"),
        ("h264", "non-existing PPS 0 referenced", False, "start"),
        ("h264", "non-existing PPS 0 referenced", True, "corrupt"),
        ("hevc", "Could not find ref with POC 34", False, "start"),
        ("hevc", "Could not find ref with POC 34", True, "corrupt"),
        ("mpeg2video", "Invalid frame dimensions 0x0.", False, "start"),
        ("mpeg4", "warning: first frame is no keyframe", True, "harmless"),
        ("mjpeg", "invalid TIFF header in Exif data", True, "harmless"),
        ("vp9", "Not all references are available", True, "corrupt"),
        ("matroska,webm", "0x00 at pos 4660 (0x1234) invalid as first byte of an EBML number", True, "corrupt"),
        ("matroska,webm", "File ended prematurely at pos. 22 (0x16)", True, "truncated"),
        ("mov,mp4,m4a,3gp,3g2,mj2", "stream 0, offset 0x30: partial file", True, "truncated"),
        ("asf", "packet_obj_size -418552477 invalid", True, "corrupt"),
        ("aac", "channel element 0.0 is not allocated", True, "harmless"),
        ("mpegts", "something new", True, "harmless"),
    ],
)
def test_what_messages_mean(component: str, text: str, seen: bool, expected: str) -> None:
    decoder = component if component in {"h264", "hevc", "mpeg2video", "mpeg4", "mjpeg", "vp9"} else "h264"
    assert meaning_of(Message(component, text), decoder, seen) == expected


def test_every_row_of_the_table_says_why() -> None:
    assert all(words.why and words.meaning for words in TABLE)
