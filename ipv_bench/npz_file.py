"""`.npz` files whose bytes depend on their arrays alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def npz_bytes(arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> bytes:
    """The bytes of an `.npz` file that `numpy.load` reads: ordered by name, without dates; equal arrays, equal bytes.

    Args:
        arrays: name → array of numbers; Python objects are refused.
        compressed: deflate the arrays (then the bytes depend on the zlib version too).
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(arrays):
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr = 3, 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            array = io.BytesIO()
            np.lib.format.write_array(array, np.ascontiguousarray(arrays[name]), (1, 0), allow_pickle=False)
            archive.writestr(member, array.getvalue())
    return buffer.getvalue()
