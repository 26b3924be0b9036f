"""Floors and skies for DMC Remastered: drawn by a procedure, or read from pictures.

The original shows 383 floor and 119 sky photographs, whose licence does not allow passing them on. The default here is
as many procedural pictures, each a function of its number alone; pictures of the `labmaze` package (which comes with
dm-control) and a folder of one's own, such as the original's, can be taken instead.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import SourceError
from ipv_bench.seeding import numpy_generator

Image = NDArray[np.uint8]
Colour = tuple[float, float, float]

FLOOR_SIZE = 300
SKY_SIZE = 128
NUM_FLOORS, NUM_SKIES = 383, 119
"""As many as the original has."""

CACHED_PICTURES = 64
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


class TextureBank(Protocol):
    """Floors and skies by number.

    Attributes:
        name: stands in the environment's fingerprint; another name means other pictures.
        num_floors: how many floors there are.
        num_skies: how many skies there are.
    """

    name: str
    num_floors: int
    num_skies: int

    def floor(self, number: int) -> Image:
        """Floor `number`, (300, 300, 3); it is laid out as tiles."""

    def sky(self, number: int) -> Image:
        """Sky `number`, (128, 128, 3), shown on all six sides."""


def open_textures(assets: str | None) -> TextureBank:
    """The bank that `env.assets` names.

    Args:
        assets: None: procedural; `labmaze`: that package's pictures; else a folder with `floors/` and `skies/`.

    Raises:
        SourceError: the folder has no such pictures.
    """
    if assets is None:
        return ProceduralTextures()
    return labmaze_textures() if assets == "labmaze" else folder_textures(Path(assets))


class ProceduralTextures:
    """Pictures computed from their numbers: noise in natural palettes, bricks, tiles; gradients, clouds and hills."""

    name = "procedural-1"
    num_floors, num_skies = NUM_FLOORS, NUM_SKIES

    def floor(self, number: int) -> Image:
        """See `TextureBank.floor`."""
        return _procedural_floor(number)

    def sky(self, number: int) -> Image:
        """See `TextureBank.sky`."""
        return _procedural_sky(number)


class PictureTextures:
    """Floors and skies from picture files.

    Args:
        name: stands in the fingerprint.
        floors: files of the floors.
        skies: files of the skies.
    """

    def __init__(self, name: str, floors: Sequence[Path], skies: Sequence[Path]) -> None:
        self.name, self._floors, self._skies = name, list(floors), list(skies)
        self.num_floors, self.num_skies = len(self._floors), len(self._skies)

    def floor(self, number: int) -> Image:
        """See `TextureBank.floor`."""
        return _read_picture(self._floors[number], FLOOR_SIZE)

    def sky(self, number: int) -> Image:
        """See `TextureBank.sky`."""
        return _read_picture(self._skies[number], SKY_SIZE)


def labmaze_textures() -> PictureTextures:
    """The floors, walls and skies (without ground and zenith) of the labmaze package."""
    root = Path(str(resources.files("labmaze"))) / "assets"
    floors = sorted(root.glob("style_*/*.png"))
    skies = sorted(path for path in root.glob("sky_*/*.png") if path.stem not in ("up", "dn"))
    return PictureTextures(f"labmaze-{metadata.version('labmaze')}", floors, skies)


def folder_textures(folder: Path) -> PictureTextures:
    """Pictures of `folder/floors` and `folder/skies` (PNG or JPEG, any depth), sorted by path.

    Raises:
        SourceError: one of the two is missing or holds no picture.
    """
    found = {kind: _pictures(folder / kind) for kind in ("floors", "skies")}
    for kind, files in found.items():
        if not files:
            raise SourceError(
                f"env.assets: no pictures in {folder / kind}",
                expected=f"PNG or JPEG files in {folder}/floors and {folder}/skies",
                fix="name another folder, `labmaze`, or leave env.assets out for procedural textures",
            )
    digest = hashlib.sha256()
    for file in found["floors"] + found["skies"]:
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return PictureTextures(f"folder-{digest.hexdigest()[:12]}", found["floors"], found["skies"])


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)


@lru_cache(2 * CACHED_PICTURES)
def _read_picture(file: Path, size: int) -> Image:
    from PIL import Image as Pillow  # comes with matplotlib
    from PIL import UnidentifiedImageError

    try:
        with Pillow.open(file) as picture:
            return np.asarray(picture.convert("RGB").resize((size, size), Pillow.Resampling.LANCZOS))
    except (UnidentifiedImageError, OSError) as error:
        raise SourceError(
            f"env.assets: {file} cannot be read: {error}", expected="a PNG or JPEG", fix="remove or replace the file"
        ) from None


@lru_cache(CACHED_PICTURES)
def _procedural_floor(number: int) -> Image:
    generator = numpy_generator(number, 0, "DMCR floor")
    kinds, weights = zip(*((kind, kind.count) for kind in _FLOOR_KINDS), strict=True)
    kind = kinds[generator.choice(len(kinds), p=np.array(weights) / sum(weights))]
    picture = _palette_picture(generator, FLOOR_SIZE, kind.colours(generator), kind.coarsest, kind.finest)
    if kind.joints:
        picture = _with_joints(generator, picture)
    return _as_bytes(picture)


@lru_cache(CACHED_PICTURES)
def _procedural_sky(number: int) -> Image:
    generator = numpy_generator(number, 0, "DMCR sky")
    hue = generator.uniform(0, 1) if generator.uniform() < 0.4 else generator.normal(0.58, 0.04)
    top = _colour(hue, generator.uniform(0.25, 0.8), generator.uniform(0.4, 0.9))
    bottom = _colour(hue + generator.normal(0, 0.1), generator.uniform(0.05, 0.5), generator.uniform(0.6, 1))
    height = np.linspace(0, 1, SKY_SIZE)[:, None, None]  # 0 above, 1 below
    picture = (1 - height) * np.array(top) + height * np.array(bottom)  # (S, 1, 3)
    cover = np.clip(_noise(generator, SKY_SIZE, 3, 96) * 2.5 - generator.uniform(0.6, 2.0), 0, 1)[..., None]
    white = np.array(_colour(generator.uniform(0, 1), generator.uniform(0, 0.15), generator.uniform(0.75, 1)))
    picture = picture * (1 - 0.8 * cover) + white * 0.8 * cover  # (S, S, 3)
    horizon = generator.uniform(0.45, 0.7)
    for distance in range(generator.integers(1, 4)):
        line = horizon + 0.09 * distance - generator.uniform(0.05, 0.3) * (_ridge(generator) - 0.3)
        below = height[..., 0] > line[None, :]  # (S, S)
        colours = _natural(generator, (0.0, 0.45), (0.15, 0.6), (0.12, 0.6))
        picture = np.where(below[..., None], _palette_picture(generator, SKY_SIZE, colours, 4, 64), picture)
    return _as_bytes(picture)


class _FloorKind:
    """A kind of floor: its share among the original's 383, palette, and cells per side of coarsest and finest noise."""

    def __init__(
        self,
        count: int,
        hue: tuple[float, float],
        saturation: tuple[float, float],
        coarsest: int,
        finest: int,
        joints: bool = False,
    ) -> None:
        self.count, self.coarsest, self.finest, self.joints = count, coarsest, finest, joints
        self.colours: Callable[[np.random.Generator], NDArray[np.float64]] = lambda generator: _natural(
            generator, hue, saturation, (0.15, 0.9)
        )


_FLOOR_KINDS = (
    _FloorKind(138, (0.18, 0.38), (0.3, 0.8), 8, 128),  # grass
    _FloorKind(79, (0.03, 0.12), (0.2, 0.6), 4, 128),  # soil
    _FloorKind(55, (0.0, 1.0), (0.0, 0.15), 3, 64),  # concrete
    _FloorKind(55, (0.98, 1.1), (0.2, 0.7), 4, 64, joints=True),  # brick
    _FloorKind(37, (0.05, 0.17), (0.1, 0.5), 6, 96),  # ground
    _FloorKind(19, (0.0, 1.0), (0.3, 1.0), 3, 48),  # nature
)


def _noise(generator: np.random.Generator, size: int, coarsest: int, finest: int) -> NDArray[np.float64]:
    """Fractal noise in [0, 1], (size, size), that repeats without a seam."""
    total, weight, cells = np.zeros((size, size)), 1.0, coarsest
    while cells <= finest:
        spread = _interpolation(size, cells)  # (size, cells)
        total += weight * (spread @ generator.uniform(-1, 1, (cells, cells)) @ spread.T)
        weight, cells = weight * 0.6, cells * 2
    low, high = total.min(), total.max()
    scaled: NDArray[np.float64] = (total - low) / (high - low)
    return scaled


@lru_cache(32)
def _interpolation(size: int, cells: int) -> NDArray[np.float64]:
    """Matrix (size, cells) that spreads periodic grid values over pixels with smooth steps."""
    position = np.arange(size) / size * cells
    left = position.astype(int)
    part = position - left
    part = part * part * (3 - 2 * part)
    matrix = np.zeros((size, cells))
    matrix[np.arange(size), left] = 1 - part
    matrix[np.arange(size), (left + 1) % cells] += part
    return matrix


def _palette_picture(
    generator: np.random.Generator, size: int, colours: NDArray[np.float64], coarsest: int, finest: int
) -> NDArray[np.float64]:
    """Noise shown in a palette of colours (K, 3), as (size, size, 3) in [0, 1]."""
    noise = _noise(generator, size, coarsest, finest)
    steps = np.linspace(0, 1, 256)
    palette = np.stack([np.interp(steps, np.linspace(0, 1, len(colours)), channel) for channel in colours.T], axis=1)
    picture: NDArray[np.float64] = palette[(noise * 255).astype(np.uint8)]
    return picture


def _with_joints(generator: np.random.Generator, picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of bricks or tiles with joints between them, each brick a little lighter or darker."""
    size = len(picture)
    rows, columns, shifted = int(generator.choice([4, 6, 10])), int(generator.choice([3, 5, 6])), generator.integers(2)
    y, x = np.mgrid[0:size, 0:size] / size
    row = (y * rows).astype(int)
    across = (x * columns + 0.5 * shifted * (row % 2)) % columns
    shade = generator.uniform(0.75, 1.2, (rows, columns))[row, across.astype(int)]
    joint = ((y * rows) % 1 < 0.1) | (across % 1 < 0.1 * columns / rows)
    mortar = generator.uniform(0.25, 0.8)
    bricks: NDArray[np.float64] = np.where(joint[..., None], mortar, picture * shade[..., None])
    return bricks


def _ridge(generator: np.random.Generator) -> NDArray[np.float64]:
    """Heights in [0, 1] of a line of hills, (SKY_SIZE,)."""
    return _noise(generator, SKY_SIZE, int(generator.integers(1, 4)), 32)[0]


def _natural(
    generator: np.random.Generator,
    hue: tuple[float, float],
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> NDArray[np.float64]:
    """Three near colours from dark to light, (3, 3)."""
    centre = generator.uniform(*hue)
    values = np.sort(generator.uniform(*value, 3))
    return np.array([_colour(centre + generator.normal(0, 0.02), generator.uniform(*saturation), v) for v in values])


def _colour(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def _as_bytes(picture: NDArray[np.float64]) -> Image:
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
