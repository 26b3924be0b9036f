"""What comes in from outside is looked at once, at the door: shapes, dtypes and ranges of arrays.

Broadcasting accepts almost anything: rewards (B, T, 1) train on the batch's mean, images that are already in 0…1 become
black. So nothing is guessed or converted here; what does not fit is refused with what was found and what was expected.
Legend: `B` batch, `T` time, `N` environments, `A` action size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ipv_bench.errors import ConfigError

Array = NDArray[Any] | Tensor

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
ACTION_SLACK = 1e-5
"""How far an action may lie beyond [-1, 1]: rounding of another library's clipping."""


def check_update_batch(
    batch: Mapping[str, Any], size: int, action_dim: int, min_length: int, *, terminal: bool = False
) -> None:
    """The batch of an agent's update.

    Numbers that are not finite pass: such an update is skipped and counted, and ten in a row stop the run.

    Args:
        batch: image, action, reward and is_first; is_terminal where it is there; other fields are not looked at.
        size: height and width of the images.
        action_dim: A.
        min_length: smallest T that the model can learn from.
        terminal: is_terminal must be there.

    Raises:
        ConfigError: a field is absent, or has another shape, dtype or range.
    """
    needed = ("image", "action", "reward", "is_first", *(("is_terminal",) if terminal else ()))
    for name in needed:
        if name not in batch:
            raise ConfigError(
                f"the batch has no {name!r}, only {sorted(batch)}",
                expected=", ".join(needed),
                fix=f"add {name}, with entries for the same (B, T) steps",
            )
    image = batch["image"]
    check_array("image", image, ("B", "T", size, size, 3), ("uint8",))
    times = tuple(image.shape[:2])
    if times[1] < min_length:
        raise ConfigError(
            f"the batch's windows have T = {times[1]} steps (image {tuple(image.shape)})",
            expected=f"T ≥ {min_length}, in images (B, T, {size}, {size}, 3)",
            fix=f"cut windows of {min_length} steps or more; shorter episodes cannot be used",
        )
    check_array("action", batch["action"], (*times, action_dim), FLOATS)
    check_actions(batch["action"])
    check_array("reward", batch["reward"], times, (*FLOATS, *INTEGERS))
    check_flags("is_first", batch["is_first"], times)
    if "is_terminal" in batch:
        check_flags("is_terminal", batch["is_terminal"], times)


def check_observation(obs: Mapping[str, Any], size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """One observation or a batch of them, as `Agent.act` takes it.

    Returns:
        image (N, H, W, 3) and is_first (N,), with N = 1 for a single observation.

    Raises:
        ConfigError: a field is absent, or has another shape, dtype or range.
    """
    for name in ("image", "is_first"):
        if name not in obs:
            raise ConfigError(
                f"the observation has no {name!r}, only {sorted(obs)}",
                expected="image and is_first",
                fix=f"add {name}" + (": true where an episode starts" if name == "is_first" else ""),
            )
    image, first = np.asarray(obs["image"]), np.asarray(obs["is_first"])
    if image.ndim == 3:
        image, first = image[None], first[None] if first.ndim == 0 else first
    check_array("image", image, ("N", size, size, 3), ("uint8",))
    check_flags("is_first", first, (len(image),))
    return image, first.astype(bool)


def check_frames(frames: Array, size: int) -> None:
    """Frames (..., size, size, 3), uint8; anything may stand before the three axes.

    Raises:
        ConfigError: another shape or dtype; with a hint where they are of another size.
    """
    found = tuple(frames.shape)
    if len(found) >= 3 and found[-1] == 3 and found[-3:-1] != (size, size):
        raise ConfigError(
            f"the videos have {found[-2]}x{found[-3]} pixels, and the model takes image.size {size}",
            expected=f"{size}x{size}",
            fix="prepare the shard set in that size, or change image.size",
        )
    leading = [f"axis {number}" for number in range(len(found) - 3)]
    check_array("the array of frames", frames, (*leading, size, size, 3), ("uint8",))


def check_length(length: int, fewest: int) -> None:
    """Segments have the frames that a model needs.

    Raises:
        ConfigError: they have fewer.
    """
    if length < fewest:
        raise ConfigError(
            f"the segments have T = {length} frames",
            expected=f"T ≥ {fewest}: the model learns from pairs of frames",
            fix=f"take segments of {fewest} frames or more (data.length)",
        )


def to_tensor(value: Array) -> Tensor:
    """An array that was let in, as a tensor; views that torch cannot look through (negative strides) are copied."""
    return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


def check_array(name: str, value: Any, shape: Sequence[int | str], dtypes: Sequence[str]) -> None:
    """Shape and dtype of one array; an axis given by a letter may have any length but zero.

    Raises:
        ConfigError: they differ.
    """
    if not isinstance(value, np.ndarray | Tensor):
        raise ConfigError(
            f"{name} is a {type(value).__name__}",
            expected=f"an array or tensor {_text(shape)}",
            fix=f"stack it into one: np.asarray({name})",
        )
    found, dtype = tuple(value.shape), _dtype(value)
    fits = len(found) == len(shape) and all(
        size > 0 if isinstance(wanted, str) else size == wanted for size, wanted in zip(found, shape, strict=False)
    )
    if not fits or dtype not in dtypes:
        raise ConfigError(
            f"{name} is {dtype} {found}",
            expected=f"{' or '.join(dtypes)} {_text(shape)}",
            fix="bring its axes into that order and size" if dtype in dtypes else f"convert it to {dtypes[0]}",
        )


def check_actions(action: Array) -> None:
    """Actions lie in [-1, 1].

    Raises:
        ConfigError: some do not.
    """
    largest = float(np.abs(action).max() if isinstance(action, np.ndarray) else action.abs().max())
    if largest > 1 + ACTION_SLACK:
        raise ConfigError(
            f"actions reach {largest:.4g} in absolute value",
            expected="numbers in [-1, 1]",
            fix="scale the simulator's actions to that range, as models.envs does",
        )


def check_flags(name: str, value: Any, shape: Sequence[int | str]) -> None:
    """Yes or no: booleans, or numbers that are all 0 or 1.

    Raises:
        ConfigError: another shape, dtype or value.
    """
    check_array(name, value, shape, ("bool", *FLOATS, *INTEGERS))
    if _dtype(value) != "bool" and bool(((value != 0) & (value != 1)).any()):
        raise ConfigError(
            f"{name} has values other than 0 and 1",
            expected="booleans, or 0 and 1",
            fix="convert it to bool, and see that no other field stands in its place",
        )


def _dtype(value: Array) -> str:
    return str(value.dtype).removeprefix("torch.")


def _text(shape: Sequence[int | str]) -> str:
    return f"({', '.join(str(size) for size in shape)}{',' if len(shape) == 1 else ''})"
