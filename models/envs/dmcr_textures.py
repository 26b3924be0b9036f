"""Floors and skies for DMC Remastered: drawn by a procedure, or read from pictures.

The original shows 383 floor and 119 sky photographs, whose licence does not allow passing them on. The default here is
as many procedural pictures, each a function of its number alone; pictures of the `labmaze` package (which comes with
dm-control) and a folder of one's own, such as the original's, can be taken instead.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ipv_bench.bounded_file import read_bytes
from ipv_bench.errors import MissingDependencyError, SourceError
from ipv_bench.seeding import numpy_generator
from models.envs.noise import interpolation, noise

Image = NDArray[np.uint8]

FLOOR_SIZE = 300
SKY_SIZE = 128
"""An image of 64 pixels sees half of one of the sky's six sides."""

NUM_FLOORS, NUM_SKIES = 383, 119
"""As many as the original has."""

CACHED_PICTURES = 128
MAX_PICTURE_BYTES = 256 << 20
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
        # Drawn at half the size and doubled: an image of 64 pixels shows one tile on about 20 of them.
        return _procedural_floor(number).repeat(2, axis=0).repeat(2, axis=1)

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
    """The floors, walls and skies (without ground and zenith) of the labmaze package.

    Raises:
        MissingDependencyError: there is no labmaze, as on Python 3.13.
    """
    try:
        root = Path(str(resources.files("labmaze"))) / "assets"
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "env.assets is labmaze, and that package is not installed",
            expected="labmaze, which has builds for Python 3.11 and 3.12",
            fix="leave env.assets out for procedural textures, or name a folder of pictures",
        ) from error
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
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + _picture_sha256(file))
    return PictureTextures(f"folder-{digest.hexdigest()[:12]}", found["floors"], found["skies"])


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)


def _picture_sha256(file: Path) -> bytes:
    fix = "take the picture out of the folder that env.assets names"
    return hashlib.sha256(read_bytes(file, error=SourceError, limit=MAX_PICTURE_BYTES, fix=fix)).digest()


@lru_cache(CACHED_PICTURES)
def _read_picture(file: Path, size: int) -> Image:
    from PIL import Image as Pillow  # comes with matplotlib
    from PIL import UnidentifiedImageError

    try:
        with Pillow.open(file) as picture:
            return np.asarray(picture.convert("RGB").resize((size, size), Pillow.Resampling.LANCZOS))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise SourceError(
            f"env.assets: {file} cannot be read: {error}", expected="a PNG or JPEG", fix="remove or replace the file"
        ) from None


@lru_cache(NUM_FLOORS)
def _procedural_floor(number: int) -> Image:
    generator = numpy_generator(number, 0, "DMCR floor")
    shares = np.array([kind.count for kind in _FLOOR_KINDS])
    kind = _FLOOR_KINDS[generator.choice(len(shares), p=shares / shares.sum())]
    colours = _natural(generator, kind.hue, kind.saturation, (0.15, 0.9))
    picture = _palette_picture(generator, FLOOR_SIZE // 2, colours, kind.coarsest, kind.finest)
    return _with_joints(generator, picture) if kind.joints else picture


@lru_cache(NUM_SKIES)
def _procedural_sky(number: int) -> Image:
    generator = numpy_generator(number, 0, "DMCR sky")
    hue = generator.uniform(0, 1) if generator.uniform() < 0.4 else generator.normal(0.58, 0.04)
    top = _colour(hue, generator.uniform(0.25, 0.8), generator.uniform(0.4, 0.9))
    bottom = _colour(hue + generator.normal(0, 0.1), generator.uniform(0.05, 0.5), generator.uniform(0.6, 1))
    # Channels first, (3, S, S): numpy is several times slower where the innermost axis has three elements.
    height = np.linspace(0, 1, SKY_SIZE, dtype=np.float32)[:, None]  # (S, 1), 0 above, 1 below
    gradient = top[:, None, None] * (1 - height) + bottom[:, None, None] * height  # (3, S, 1)
    cover = np.clip(noise(generator, SKY_SIZE, 3, 64) * 2.5 - np.float32(generator.uniform(0.6, 2.0)), 0, 1)
    white = _colour(generator.uniform(0, 1), generator.uniform(0, 0.15), generator.uniform(0.75, 1))
    picture = _as_bytes(gradient + 0.8 * cover * (white[:, None, None] - gradient))
    horizon = generator.uniform(0.45, 0.7)
    for distance in range(generator.integers(1, 4)):
        line = horizon + 0.09 * distance - generator.uniform(0.05, 0.3) * (_ridge(generator) - 0.3)
        colours = _natural(generator, (0.0, 0.45), (0.15, 0.6), (0.12, 0.6))
        hill = _palette_picture(generator, SKY_SIZE, colours, 4, 32).transpose(2, 0, 1)
        np.copyto(picture, hill, where=height > line[None, :])
    return np.ascontiguousarray(picture.transpose(1, 2, 0))


@dataclass(frozen=True)
class _FloorKind:
    """A kind of floor.

    Attributes:
        count: how many of the original's 383 are of this kind.
        hue: of its palette, turns of the colour wheel.
        saturation: of its palette.
        coarsest: cells per side of the coarsest noise.
        finest: cells per side of the finest noise, at most.
        joints: it is laid of bricks or tiles.
    """

    count: int
    hue: tuple[float, float]
    saturation: tuple[float, float]
    coarsest: int
    finest: int
    joints: bool = False


_FLOOR_KINDS = (
    _FloorKind(138, (0.18, 0.38), (0.3, 0.8), 8, 64),  # grass
    _FloorKind(79, (0.03, 0.12), (0.2, 0.6), 4, 64),  # soil
    _FloorKind(55, (0.0, 1.0), (0.0, 0.15), 3, 64),  # concrete
    _FloorKind(55, (0.98, 1.1), (0.2, 0.7), 4, 64, joints=True),  # brick
    _FloorKind(37, (0.05, 0.17), (0.1, 0.5), 6, 96),  # ground
    _FloorKind(19, (0.0, 1.0), (0.3, 1.0), 3, 48),  # nature
)


def _ridge(generator: np.random.Generator) -> NDArray[np.float32]:
    """Heights in [0, 1] of a line of hills, (SKY_SIZE,)."""
    total, weight, cells = np.zeros(SKY_SIZE, np.float32), 1.0, int(generator.integers(1, 4))
    while cells <= SKY_SIZE // 4:
        total += interpolation(SKY_SIZE, cells) @ generator.uniform(-weight, weight, cells).astype(np.float32)
        weight, cells = weight * 0.6, cells * 2
    total -= total.min()
    return np.asarray(total / max(total.max(), np.float32(1e-6)))


def _palette_picture(
    generator: np.random.Generator, size: int, colours: NDArray[np.float64], coarsest: int, finest: int
) -> Image:
    """Noise shown in a palette of colours (K, 3), as (size, size, 3)."""
    values = noise(generator, size, coarsest, finest)
    steps = np.linspace(0, 1, 256)
    palette = np.stack([np.interp(steps, np.linspace(0, 1, len(colours)), channel) for channel in colours.T], axis=1)
    return _as_bytes(palette).take((values * 255).astype(np.uint8), axis=0)


def _with_joints(generator: np.random.Generator, picture: Image) -> Image:
    """Rows of bricks or tiles with joints between them, each brick a little lighter or darker."""
    place = np.arange(len(picture), dtype=np.float32)[:, None] / len(picture)
    rows, columns, shifted = int(generator.choice([4, 6, 10])), int(generator.choice([3, 5, 6])), generator.integers(2)
    y, x = place, place.T
    row = (y * rows).astype(int)
    across = (x * columns + 0.5 * shifted * (row % 2)) % columns  # (S, S)
    shade = generator.uniform(0.75, 1.2, (rows, columns)).astype(np.float32)[row, across.astype(int)]
    joint = ((y * rows) % 1 < 0.1) | (across % 1 < 0.1 * columns / rows)
    laid: Image = np.clip(picture * shade[..., None], 0, 255).astype(np.uint8)
    laid[joint] = int(255 * generator.uniform(0.25, 0.8))
    return laid


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


def _colour(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def _as_bytes(picture: NDArray[np.floating[Any]]) -> Image:
    return np.asarray(np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
