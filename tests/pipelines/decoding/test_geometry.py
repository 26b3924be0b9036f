"""Crop, scaling, colour and rotation of decoded pictures."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.decoding.geometry import FrameScaler, bilinear_plain, centre_square, target_size
from pipelines.decoding.open_frames import open_frames
from tests.pipelines.ssv2_maker import write_video


def read_all(path: Path, **options: object) -> np.ndarray:
    item = SourceItem("x", path.name, path.stat().st_size, VideoFile(path.name))
    frames = open_frames(item, path.parent, PrepareConfig.model_validate(options))
    return np.stack([frame.picture for frame in frames if frame is not None])


def corners(height: int, width: int) -> np.ndarray:
    """Red, green, blue and white quarters, from the top left clockwise with white at the bottom left."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, width // 2 :] = (0, 0, 255)
    picture[height // 2 :, : width // 2] = (255, 255, 255)
    return picture


def quarters(picture: np.ndarray) -> list[str]:
    """Names of the four corners' colours, clockwise from the top left."""
    names = {(True, False, False): "red", (False, True, False): "green", (False, False, True): "blue"}
    places = (picture[8, 8], picture[8, -8], picture[-8, -8], picture[-8, 8])
    return [names.get(tuple(bool(value > 128) for value in place), "white") for place in places]


@pytest.mark.parametrize(
    ("size", "height", "width", "expected"),
    [("64x64", 240, 427, (64, 64)), ("short:256", 1080, 1920, (256, 455)), ("native", 31, 57, (31, 57))],
)
def test_target_size(size: str, height: int, width: int, expected: tuple[int, int]) -> None:
    assert target_size(size, height, width) == expected


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (240, 427), (427, 240), (64, 64)])
def test_centre_square_lies_inside_and_starts_at_even_pixels(height: int, width: int) -> None:
    left, top, right, bottom = centre_square(height, width)
    assert right - left == bottom - top == min(height, width)
    assert left % 2 == top % 2 == 0
    assert abs((left + right) - width) <= 3
    assert abs((top + bottom) - height) <= 3


def test_the_centre_square_of_a_video_is_cut_before_scaling(tmp_path: Path) -> None:
    picture = np.full((64, 192, 3), 255, np.uint8)
    picture[:, 64:128] = corners(64, 64)
    path = write_video(tmp_path / "a.mkv", [picture] * 2, codec="ffv1", pix_fmt="yuv420p")
    frames = read_all(path, crop="centre-square")
    assert quarters(frames[0]) == ["red", "green", "blue", "white"]
    np.testing.assert_allclose(frames[0][8, 8], (255, 0, 0), atol=4)


@pytest.mark.parametrize("colour_range", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_colours_follow_the_stream_s_matrix_and_range(tmp_path: Path, colour_range: str, matrix: str) -> None:
    """Against ffmpeg's full-size conversion with the tags given explicitly."""
    picture = np.full((48, 64, 3), (200, 60, 30), np.uint8)
    spaces = {"bt709": (av.video.reformatter.Colorspace.ITU709, 1), "smpte170m": (5, 6)}
    ranges = {"tv": 1, "pc": 2}
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv444p"
        stream.codec_context.colorspace = spaces[matrix][1]
        stream.codec_context.color_range = ranges[colour_range]
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv444p", dst_colorspace=int(spaces[matrix][0]), dst_color_range=ranges[colour_range]
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    stored = read_all(path)[0]
    np.testing.assert_allclose(stored.reshape(-1, 3).mean(0), (200, 60, 30), atol=2.5)


def rotate_mp4(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix into the track header of an MP4 file."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version and flags, times, layer, volume
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), ["red", "green", "blue", "white"]),
        ((0, 1, -1, 0), ["white", "red", "green", "blue"]),
        ((-1, 0, 0, -1), ["blue", "white", "red", "green"]),
        ((0, -1, 1, 0), ["green", "blue", "white", "red"]),
    ],
)
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_the_display_matrix_is_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], expected: list[str], decoder: str
) -> None:
    """Phones record sideways: (0, 1, -1, 0) means a quarter turn clockwise."""
    if decoder == "decord":
        pytest.importorskip("decord")
    path = write_video(tmp_path / "a.mp4", [corners(96, 128)] * 3, codec="libx264")
    rotate_mp4(path, matrix)
    frames = read_all(path, size="short:64", decoder=decoder)
    assert frames.shape[1:3] == ((85, 64) if matrix[0] == 0 else (64, 85))
    assert quarters(frames[0]) == expected


def test_decord_differs_from_pyav_by_less_than_two_grey_levels_on_average(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 255, (24, 32, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    path = write_video(tmp_path / "a.webm", [picture] * 3)
    ours, theirs = read_all(path), read_all(path, decoder="decord")
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).mean() < 2


def test_bilinear_plain_does_not_average() -> None:
    """Of a fine checkerboard antialiasing leaves grey; four neighbours at whole distances leave the picture."""
    checkers = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    np.testing.assert_array_equal(bilinear_plain(checkers, 64, 64), checkers)
    third = bilinear_plain(checkers[:63, :63], 21, 21)
    np.testing.assert_array_equal(third, checkers[1:63:3, 1:63:3])
    averaged = FrameScaler("16x16", "none", "area").scale_rgb(checkers)
    assert np.abs(averaged.astype(int) - 127).max() <= 2


def test_boxes_are_cut_exactly() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[31:63, 17:49] = corners(32, 32)
    cut = FrameScaler("32x32", "none", "area").crop_and_scale(picture, (17, 31, 49, 63))
    np.testing.assert_array_equal(cut, corners(32, 32))


def test_frames_by_time(tmp_path: Path) -> None:
    """10 frames per second to 5: every second one; a slower source keeps each frame once."""
    item_options = {"fps": 5.0, "size": "64x64"}
    fast = write_video(tmp_path / "fast.webm", [corners(48, 64)] * 20, fps=10)
    slow = write_video(tmp_path / "slow.webm", [corners(48, 64)] * 6, fps=2)
    item = SourceItem("x", "fast.webm", 1, VideoFile("fast.webm"))
    frames = open_frames(item, fast.parent, PrepareConfig.model_validate(item_options))
    assert [frame.position for frame in frames if frame is not None] == list(range(0, 20, 2))
    assert read_all(slow, **item_options).shape[0] == 6
