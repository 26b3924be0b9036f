"""Crop, scaling, colour and rotation of decoded pictures."""

from __future__ import annotations

import struct
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.geometry import FrameScaler, bilinear_plain, centre_square, target_size
from pipelines.decoding.open_frames import open_frames
from pipelines.decoding.orientation import OF_EXIF
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
        ((-1, 0, 0, 1), ["green", "red", "white", "blue"]),  # a front camera
        ((1, 0, 0, -1), ["white", "blue", "green", "red"]),
        ((0, 1, 1, 0), ["red", "white", "blue", "green"]),
        ((0, -1, -1, 0), ["blue", "green", "red", "white"]),
        ((0, 0, 0, 0), ["red", "green", "blue", "white"]),  # some recorders leave it empty
    ],
)
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_the_display_matrix_is_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], expected: list[str], decoder: str
) -> None:
    """All eight elements. Phones record sideways: (0, 1, -1, 0) means a quarter turn clockwise."""
    if decoder == "decord":
        pytest.importorskip("decord")
    path = write_video(tmp_path / "a.mp4", [corners(96, 128)] * 3, codec="libx264")
    rotate_mp4(path, matrix)
    frames = read_all(path, size="short:64", decoder=decoder)
    assert frames.shape[1:3] == ((85, 64) if matrix[1] else (64, 85))
    assert quarters(frames[0]) == expected


def write_packets(path: Path, codec: str, packets: list[bytes], pix_fmt: str) -> Path:
    """Pictures of 96x128 pixels as they are, 10 per second; raw MJPEG is their bytes one after another."""
    if path.suffix == ".mjpeg":
        path.write_bytes(b"".join(packets))
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 128, pix_fmt
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 10), stream, True
            container.mux(packet)
    return path


def jpeg(picture: np.ndarray, orientation: int) -> bytes:
    exif, file = Image.Exif(), BytesIO()
    exif[0x010F], exif[0x0112] = "Maker", orientation
    Image.fromarray(picture).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("number", sorted(OF_EXIF))
@pytest.mark.parametrize("ending", ["mjpeg", "avi", "mov", "mkv"])
def test_exif_in_a_video_s_frames_counts_and_hides_nothing(tmp_path: Path, ending: str, number: int) -> None:
    path = write_packets(tmp_path / f"a.{ending}", "mjpeg", [jpeg(corners(96, 128), number)] * 4, "yuvj420p")
    frames = read_all(path, size="short:64")
    assert frames.shape == ((4, 85, 64, 3) if number > 4 else (4, 64, 85, 3))
    assert quarters(frames[3]) == quarters(OF_EXIF[number].apply(corners(96, 128)))


def test_exif_is_read_past_where_the_size_changes(tmp_path: Path) -> None:
    packets = [jpeg(corners(96, 128), 6), jpeg(corners(64, 64), 3), jpeg(corners(96, 128), 1)]
    path = write_packets(tmp_path / "a.mjpeg", "mjpeg", packets, "yuvj420p")
    found = [quarters(frame) for frame in read_all(path, size="64x64")]
    assert found == [quarters(OF_EXIF[number].apply(corners(64, 64))) for number in (6, 3, 1)]


def test_pictures_of_tiff_in_a_video(tmp_path: Path) -> None:
    """They carry EXIF of their own; those that the video decoder shows as black are refused."""
    paths = []
    for compression in ("tiff_lzw", "jpeg"):
        file = BytesIO()
        Image.fromarray(corners(96, 128)).save(file, "TIFF", compression=compression)
        paths.append(write_packets(tmp_path / f"{compression}.mov", "tiff", [file.getvalue()] * 4, "rgb24"))
    frames = read_all(paths[0], size="short:64")
    assert len(frames) == 4
    assert quarters(frames[3]) == ["red", "green", "blue", "white"]
    with pytest.raises(SourceFailure, match="coded picture 0: a TIFF with JPEG's data"):
        read_all(paths[1])


def test_orientations_form_a_group() -> None:
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for first in OF_EXIF.values():
        np.testing.assert_array_equal(first.inverse().apply(first.apply(picture)), picture)
        for second in OF_EXIF.values():
            np.testing.assert_array_equal(first.then(second).apply(picture), second.apply(first.apply(picture)))


@pytest.mark.parametrize("number", sorted(OF_EXIF))
def test_a_turned_video_has_the_pixels_of_the_upright_one(number: int) -> None:
    """Cut and scaled before it is turned, a frame gives what cutting and scaling the shown picture gives."""
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    orientation = OF_EXIF[number]
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    for crop in ("none", "centre-square"):
        scaler = FrameScaler("short:16", crop, "area")
        turned = scaler(frame, 0.8, orientation)
        aspect = 1 / 0.8 if orientation.transposed else 0.8
        shown = scaler.scale_rgb(orientation.apply(picture), aspect)
        assert turned.shape == shown.shape
        assert np.abs(turned.astype(int) - shown).max() <= 1


def test_fields_of_a_moving_picture_are_averaged_together(tmp_path: Path) -> None:
    """White upper and black lower fields are grey at a sixth of the height, not a comb."""
    comb = np.zeros((120, 160, 3), np.uint8)
    comb[::2] = 255
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        options = {"flags": "+ildct+ilme", "qscale": "1", "top": "1"}
        stream = container.add_stream("mpeg2video", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(comb, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    for options in ({}, {"crop": "centre-square"}, {"decoder": "decord"}):
        if "decoder" in options:
            pytest.importorskip("decord")
        stored = read_all(path, size="20x20", **options)
        assert np.abs(stored.astype(int) - 127).max() <= 12, options


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_square_is_square_as_shown(tmp_path: Path, turned: bool, decoder: str) -> None:
    """64 x 64 pixels that are twice as wide as high: the shown square is 32 pixels wide."""
    if decoder == "decord":
        pytest.importorskip("decord")
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[:, 16:48] = corners(64, 32)
    path = write_video(tmp_path / "a.mp4", [picture] * 2, codec="libx264", options={"aspect": "2:1"})
    if turned:
        rotate_mp4(path, (0, 1, -1, 0))
    frames = read_all(path, crop="centre-square", size="short:32", decoder=decoder)
    assert frames.shape[1:3] == (32, 32)
    expected = ["white", "red", "green", "blue"] if turned else ["red", "green", "blue", "white"]
    assert quarters(frames[0]) == expected


def test_decord_is_darker_where_colours_are_subsampled(tmp_path: Path) -> None:
    """Its conversion to RGB truncates: the number that `inspect` and docs/pipelines.md state."""
    pytest.importorskip("decord")
    generator = np.random.default_rng(0)
    picture = generator.integers(40, 215, (24, 32, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    path = write_video(tmp_path / "a.webm", [picture] * 3)
    ours, theirs = read_all(path), read_all(path, decoder="decord")
    assert ours.shape == theirs.shape
    difference = theirs.astype(int) - ours
    assert np.abs(difference).mean() < 1.6
    assert -1.5 < difference.mean() < -0.5


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
