"""What the arrays and numbers of each kind of analysis look like: a report draws none that look otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.analysis_record import ANALYSIS_FILE, ARRAYS_FILE, AnalysisRecord
from ipv_bench.errors import InputError
from ipv_bench.file_names import shown

Side = str | int
"""A side's name (equal names are equally long), or its length."""
Shape = tuple[Side, ...]

PICTURE: Shape = ("height", "width", 3)
CLIP: Shape = ("frames", *PICTURE)
_KINDS = {"pictures": "u", "whole numbers": "iu", "numbers": "fiu"}
_FIX = "delete the folder and run the command that made it again"


@dataclass(frozen=True)
class Layout:
    """Arrays of one kind of analysis.

    Attributes:
        pictures: name → shape of arrays of bytes.
        numbers: name → shape of arrays of numbers.
        indices: name → (shape, side): whole numbers, each a place on that side.
        optional: names of those above that may be absent.
        intervals: keys in `numbers`, and in each model's numbers, that hold {point, low, high} where they are there.
        empty: whether nothing may be shown: numbers alone are an analysis, too.
    """

    pictures: Mapping[str, Shape] = field(default_factory=dict)
    numbers: Mapping[str, Shape] = field(default_factory=dict)
    indices: Mapping[str, tuple[Shape, str]] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    intervals: tuple[str, ...] = ()
    empty: bool = False


_PAIR_PICTURES = ("observation", "next_observation", "reconstruction", "next_reconstruction", "prediction")
_DISTANCES = [f"{of}_{measure}_to_{to}" for of in ("prediction", "action_prediction") for measure in ("mse", "lpips")
              for to in ("first", "next")]  # fmt: skip
LAYOUTS: Mapping[str, Layout] = {
    "predict": Layout(
        pictures={
            "shown_truth": ("shown", *CLIP), "shown_prediction": ("models", "shown", *CLIP),
            "shown_overlay": ("looking", "shown", *CLIP),
        },
        indices={"shown": (("shown",), "clips"), "attention_models": (("looking",), "models")},
        optional=frozenset({"shown_truth", "shown_prediction", "shown_overlay", "shown", "attention_models"}),
        empty=True,
    ),
    "attention": Layout(
        pictures={
            "truth": ("clips", *CLIP), "boxed": ("clips", *CLIP), "prediction": ("models", "clips", *CLIP),
            "overlay": ("looking", "clips", *CLIP),
        },
        numbers={"side": ()},
        indices={
            "looking": (("looking",), "models"), "columns": (("columns",), "frames"), "observed": ((), "frames"),
            "context": ((), "frames"),
        },
        intervals=("identity", "uniform", "centre", "peak"),
    ),
    "embed": Layout(
        numbers={"points": ("models", "states", 2), "state_0": ("states", "features")},
        indices={"label": (("states",), "labels")},
    ),
    "compose": Layout(
        pictures={
            "grid": ("models", "motions", "scenes", *CLIP), "grid_motion": ("motions", *CLIP),
            "grid_scene": ("scenes", *PICTURE),
        },
    ),
    "pairs": Layout(
        pictures=dict.fromkeys((*_PAIR_PICTURES, "action_prediction"), ("shown", *PICTURE)),
        numbers=dict.fromkeys(_DISTANCES, ("pairs",)),
        optional=frozenset({"action_prediction", *_DISTANCES[2:]}),
        empty=True,
    ),
}  # fmt: skip


def check_layout(record: AnalysisRecord, arrays: Mapping[str, NDArray[Any]], folder: Path) -> None:
    """Refuse an analysis that is not what the command of its kind writes; kinds that are unknown here are let in.

    Raises:
        InputError: an array is absent, of another kind or shape, or points at what is not there; or a number is none.
    """
    layout = LAYOUTS.get(record.kind)
    if layout is None:
        return
    where = folder / ARRAYS_FILE
    if not record.models:
        raise InputError(f"{folder / ANALYSIS_FILE} names no model", expected="at least one", fix=_FIX)
    sides: dict[str, int] = {"models": len(record.models), **_counted(record, folder)}
    for kind, shapes in (
        ("pictures", layout.pictures),
        ("numbers", layout.numbers),
        ("whole numbers", {name: shape for name, (shape, _) in layout.indices.items()}),
    ):
        for name, shape in shapes.items():
            if name in arrays:
                _check_array(f"{where}: {name}", arrays[name], kind, shape, sides, empty=layout.empty)
            elif name not in layout.optional:
                raise InputError(f"{where} has no array {name}", expected=f"{kind} {_words(shape)}", fix=_FIX)
    for name, (_, side) in layout.indices.items():
        if name in arrays and side not in sides:
            raise InputError(f"{folder / ANALYSIS_FILE} has no numbers.{side}", expected="a list", fix=_FIX)
        if name in arrays:
            _check_places(f"{where}: {name}", arrays[name], side, sides[side])
    _check_numbers(record, layout, folder / ANALYSIS_FILE)


def _counted(record: AnalysisRecord, folder: Path) -> dict[str, int]:
    """Lengths that the record's lists give."""
    lists = {"clips": "clips" if record.kind in ("predict", "attention") else "", "labels": "labels"}
    found = {}
    for side, key in lists.items():
        values = record.numbers.get(key) if key else None
        if values is None:
            continue
        members = isinstance(values, list) and all(isinstance(one, dict if side == "clips" else str) for one in values)
        if not members:
            raise InputError(
                f"{folder / ANALYSIS_FILE}: numbers.{key} is {shown(values)}", expected=f"a list of {side}", fix=_FIX
            )
        if record.kind == "predict" or side == "labels":
            found[side] = len(values)
    return found


def _check_array(
    where: str, array: NDArray[Any], kind: str, shape: Shape, sides: dict[str, int], *, empty: bool
) -> None:
    """Kind of the elements, number of sides, and sides that others have too; new ones are added to `sides`."""
    fits = array.dtype.kind in _KINDS[kind] and array.ndim == len(shape) and (kind != "pictures" or array.itemsize == 1)
    for side, length in zip(shape, array.shape if fits else (), strict=fits):
        expected = side if isinstance(side, int) else sides.setdefault(side, length)
        fits = fits and length == expected and (empty or length > 0)
    if fits and kind == "numbers" and not np.isfinite(array).all():
        raise InputError(
            f"{where} holds numbers that are not finite", expected="a model that has not diverged", fix=_FIX
        )
    if not fits:
        known = f" with {', '.join(f'{name} {sides[name]}' for name in shape if name in sides)}" if sides else ""
        raise InputError(
            f"{where} is {array.dtype} {array.shape}"[:300], expected=f"{kind} {_words(shape)}{known}", fix=_FIX
        )


def _words(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})" if shape else "(one)"


def _check_places(where: str, array: NDArray[Any], side: str, length: int) -> None:
    if np.any(array < 0) or np.any(array >= length):
        found = f"{where} holds {int(array.min())} to {int(array.max())}"
        raise InputError(found, expected=f"places among {length} {side}", fix=_FIX)


def _check_numbers(record: AnalysisRecord, layout: Layout, where: Path) -> None:
    models = record.numbers.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(values, dict) for values in models.values()):
        raise InputError(f"{where}: numbers.models is {shown(models)}", expected="model → its numbers", fix=_FIX)
    for owner, values in [("", record.numbers), *models.items()]:
        for key in layout.intervals:
            if values.get(key) is not None:
                _check_interval(f"{where}: {owner} {key}", values[key])
    if record.kind == "compose":
        for label, values in models.items():
            for what, parts in values.items():
                for part, value in parts.items() if isinstance(parts, dict) else ():
                    _check_interval(f"{where}: {label} {what} {part}", value)
    if record.kind == "pairs" and not record.verdicts:
        raise InputError(f"{where} has no verdict", expected="one, as `analyze pairs` writes it", fix=_FIX)


def _check_interval(where: str, value: Any) -> None:
    ends = [value.get(key) for key in ("point", "low", "high")] if isinstance(value, dict) else [""]
    if not all(end is None or (isinstance(end, int | float) and not isinstance(end, bool)) for end in ends):
        raise InputError(f"{where} is no interval", expected="numbers point, low and high", fix=_FIX)
