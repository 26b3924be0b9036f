"""Colours of scaled frames against area averages of the full-size RGB picture, computed here by the standards."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation, VideoReformatter

from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.gathers import SLOW_GATHER, avoid_gathers
from pipelines.decoding.geometry import FrameScaler

MEAN_ERROR, BIAS = 0.6, 0.2  # grey levels
SMALL = 32
POINT = (
    Interpolation.POINT
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
KR_KB = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
KR_KB |= dict.fromkeys((0, 2, 3, 5, 6, 12), (0.299, 0.114)) | {10: KR_KB[9]}
YCGCO = 8
PLANAR = {
    "yuv420p": 8, "yuv422p": 8, "yuv444p": 8, "yuv440p": 8, "yuv411p": 8, "yuv410p": 8, "yuvj420p": 8, "yuva420p": 8,
    "yuv420p10le": 10, "yuv422p10le": 10, "yuv444p12le": 12, "yuv420p16le": 16,
}  # fmt: skip
OTHERS = (
    *("nv12", "nv21", "nv16", "p010le", "p016le", "yuyv422", "uyvy422", "y210le", "vuya"),
    *("gray", "gray9le", "gray10le", "gray16le", "ya8", "monow", "monob"),
    *("rgb24", "bgra", "argb", "gbrp", "gbrp10le", "gbrap", "rgb48le", "rgba64le", "gbrpf32le", "rgb8", "rgb444le"),
    *("rgb555le", "rgb555be", "rgb565le", "rgb565be", "bgr555le", "bgr555be", "bgr565le", "bgr565be"),
)


def picture(height: int = 120, width: int = 160) -> np.ndarray:
    """Soft shapes with texture and some hard edges, uint8 (H, W, 3): what filming gives."""
    y, x = np.mgrid[0:height, 0:width]
    phases = np.array([0.0, 2.1, 4.2])
    waves = np.sin(x[..., None] / 9 + phases) + np.sin(y[..., None] / 7 - phases) + np.sin((x + y)[..., None] / 3) / 3
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    edges = 60 * ((x // 23 + y // 31) % 2)[..., None]
    return np.clip(100 + 35 * waves + noise + edges - 30, 0, 255).astype(np.uint8)


def area(full: np.ndarray, height: int = SMALL, width: int = SMALL) -> np.ndarray:
    """Exact means over the areas of the small picture's pixels, float (height, width, 3)."""

    def weights(size: int, wanted: int) -> np.ndarray:
        edges = np.arange(wanted + 1) * (size / wanted)
        low, high = np.maximum(edges[:-1, None], np.arange(size)), np.minimum(edges[1:, None], np.arange(size) + 1)
        return np.clip(high - low, 0, None) * (wanted / size)

    rows = np.tensordot(weights(full.shape[0], height), full.astype(float), 1)  # (height, W, 3)
    return np.tensordot(weights(full.shape[1], width), rows, ((1,), (1,))).transpose(1, 0, 2)


def coded(form: str, matrix: int = 2, colour_range: int = 0, source: np.ndarray | None = None) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture() if source is None else source, format="rgb24")
    frame = VideoReformatter().reformat(frame, format=form, interpolation=POINT)
    frame.colorspace, frame.color_range = matrix, colour_range
    return frame


def by_the_standard(frame: av.VideoFrame, bits: int) -> np.ndarray:
    """Full-size RGB of planar Y'CbCr by H.273, each colour sample valid for its block: float (H, W, 3)."""
    planes = []
    for plane in list(frame.planes)[:3]:
        values = np.frombuffer(plane, "<u2" if bits > 8 else np.uint8).reshape(plane.height, -1)
        values = values[:, : plane.width].astype(float)
        factors = -(-frame.height // plane.height), -(-frame.width // plane.width)
        planes.append(values.repeat(factors[0], 0).repeat(factors[1], 1)[: frame.height, : frame.width])
    luma, blue, red = planes
    scale = 1 << (bits - 8)
    if frame.color_range == 2 or frame.format.name.startswith("yuvj"):
        # ffmpeg takes 255 times a power of two for the white of full range beyond 8 bits, H.273 one less than 2^bits
        luma, blue, red = luma / (255 * scale), (blue / scale - 128) / 255, (red / scale - 128) / 255
    else:
        luma, blue, red = (luma / scale - 16) / 219, (blue / scale - 128) / 224, (red / scale - 128) / 224
    if frame.colorspace == YCGCO:
        rgb = [luma - blue + red, luma + blue, luma - blue - red]
    else:
        kr, kb = KR_KB[frame.colorspace]
        r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
        rgb = [r, (luma - kr * r - kb * b) / (1 - kr - kb), b]
    return np.clip(np.stack(rgb, -1), 0, 1) * 255


def check(small: np.ndarray, full: np.ndarray, where: object) -> None:
    error = small - area(full, *small.shape[:2])
    assert abs(error).mean() <= MEAN_ERROR, where
    assert abs(error.mean()) <= BIAS, where


@pytest.mark.parametrize("form", PLANAR)
def test_every_matrix_and_range_of_planar_formats(form: str) -> None:
    for matrix in (*KR_KB, YCGCO):
        for colour_range in (0, 1, 2):
            frame = coded(form, matrix, colour_range)
            full = by_the_standard(frame, PLANAR[form])
            scaled = FrameScaler(f"{SMALL}x{SMALL}", "none", "area")(frame)
            check(scaled, full, (form, matrix, colour_range))


@pytest.mark.parametrize("form", OTHERS)
def test_other_pixel_formats_against_their_own_full_size_picture(form: str) -> None:
    for matrix, colour_range in ((2, 0), (1, 1), (9, 2), (0, 0), (3, 0), (YCGCO, 1)):
        frame = coded(form, 2, colour_range)
        has_matrix = not frame.format.is_rgb and len(frame.format.components) >= 3
        if matrix == YCGCO and has_matrix:
            continue  # planar formats are compared with the standard above
        frame.colorspace = 2 if matrix in (0, 3, YCGCO) else matrix
        full = VideoReformatter().reformat(frame, format="rgb24", interpolation=POINT).to_ndarray()
        frame.colorspace = matrix
        scaler = FrameScaler(f"{SMALL}x{SMALL}", "none", "area")
        check(scaler(frame), full, (form, matrix, colour_range))


def test_white_of_16_bit_colours_stays_white() -> None:
    white = coded("rgb565le", source=np.full((40, 40, 3), 255, np.uint8))
    assert FrameScaler("8x8", "none", "area")(white).min() == 255


@pytest.mark.parametrize("matrix", [11, 14, 17, 77])
def test_a_matrix_without_a_known_way_to_rgb_is_refused_by_name(matrix: int) -> None:
    frame = coded("yuv420p", matrix)
    with pytest.raises(SourceFailure, match="no way from there to RGB") as error:
        FrameScaler("8x8", "none", "area")(frame)
    assert error.value.reason == "corrupt"


def test_what_the_scaler_refuses_is_the_source_s_fault_and_no_full_disk() -> None:
    frame = coded("bgr4")
    for call in (FrameScaler("8x8", "none", "area"), FrameScaler("8x8", "none", "area").rgb):
        with pytest.raises(SourceFailure, match="160x120 pixels of bgr4 cannot be turned into"):
            call(frame)


@pytest.mark.parametrize(("height", "width"), [(120, 160), (240, 426), (40, 300)])
def test_synthetic_stripes_keep_their_colours(height: int, width: int) -> None:
    """Stripes of equal brightness in 4:2:0: half of the colour resolution would mix neighbours."""
    stripes = np.where((np.arange(width) // 10 % 2)[None, :, None], (40, 80, 200), (200, 80, 40))
    stripes = np.ascontiguousarray(stripes.repeat(height, 0).astype(np.uint8))
    frame = coded("yuv420p", 2, 1, stripes)
    small = FrameScaler(f"{height // 10 or 1}x{width // 10 or 1}", "none", "area")(frame)
    error = small - area(by_the_standard(frame, 8), *small.shape[:2])
    assert abs(error).mean() <= 1.2


def test_boxes_and_crops_agree_with_whole_frames() -> None:
    """Whatever way a frame goes (whole, cut as a box, centred), its pixels mean the same."""
    frame = coded("yuv444p", 2, 1)
    scaler = FrameScaler("30x40", "none", "area")
    whole, full = scaler(frame), scaler.rgb(frame)
    boxed = scaler.crop_and_scale(full, (0, 0, 160, 120))
    assert abs(whole.astype(int) - boxed).max() <= 1
    square = FrameScaler("30x30", "centre-square", "area")
    assert abs(square(frame).astype(int) - square.scale_rgb(full)).max() <= 1


@pytest.mark.skipif("IPV_BENCH_CLIPS" not in os.environ, reason="IPV_BENCH_CLIPS names no folder of clips")
@pytest.mark.parametrize("name", ["cup.mp4", "tree.avi"])
def test_filmed_clips(name: str) -> None:
    scaler = FrameScaler("64x64", "none", "area")
    with av.open(str(Path(os.environ["IPV_BENCH_CLIPS"]) / name)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 50 == 0:
                full = VideoReformatter().reformat(frame, format="rgb24", interpolation=POINT).to_ndarray()
                check(scaler(frame), full, (name, number))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="gathers are of x86")
@pytest.mark.parametrize("form", ["yuv420p", "yuv444p", "yuv420p10le", "rgb24", "gray"])
def test_scaling_without_gathers_gives_the_same_pixels(form: str) -> None:
    library = ctypes.CDLL(av.buffer.__file__)
    frame = av.VideoFrame.from_ndarray(picture(240, 426), format="rgb24").reformat(format=form)
    sizes = ("64x64", "128x48", "240x432", "50x70")
    try:
        library.av_force_cpu_flags(library.av_get_cpu_flags() & ~SLOW_GATHER)
        with_gathers = [FrameScaler(size, "none", "area")(frame).copy() for size in sizes]
        avoid_gathers()
        assert library.av_get_cpu_flags() & SLOW_GATHER
        for size, pixels in zip(sizes, with_gathers, strict=True):
            assert np.array_equal(FrameScaler(size, "none", "area")(frame), pixels)
    finally:
        library.av_force_cpu_flags(-1)
