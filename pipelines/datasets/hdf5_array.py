"""One array of an HDF5 file that somebody else made.

The HDF5 library is large, written in C, and follows links to other files; what breaks it breaks the process. So the
file is opened in a process of its own, with bounded memory and time, which accepts one plain array and writes it to its
stdout as `.npy`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ipv_bench.bounded_arrays import read_npy
from ipv_bench.errors import InputError

MAX_BYTES = 1 << 30
"""Of the array as float64; Human3.6M's joints have 100 MB."""
_MEMORY_BYTES, _CPU_SECONDS, _SECONDS = 6 << 30, 120, 300
_REFUSED = 3


def read_array(path: Path, name: str) -> NDArray[np.float64]:
    """The numbers of the array `name` at the top of an HDF5 file.

    Raises:
        InputError: it cannot be opened, has no such array in itself (links to other files are not followed), holds no
            numbers, or more than a gigabyte, or the HDF5 library fails over it.
    """
    command = [sys.executable, "-P", "-m", __name__, str(path.absolute()), name]
    with tempfile.TemporaryFile() as out:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise _unusable(path, name, f" cannot be read in {_SECONDS} seconds") from None
        if done.returncode == _REFUSED:
            raise _unusable(path, name, f": {done.stderr.decode(errors='replace').strip()[-300:]}")
        if done.returncode:
            raise _unusable(path, name, f" breaks the HDF5 library (exit status {done.returncode})")
        out.seek(0)
        return read_npy(out.read(), path.name).astype(np.float64)


def _unusable(path: Path, name: str, words: str) -> InputError:
    return InputError(
        f"{path.name}{words}",
        expected=f"an HDF5 file with the array `{name}` of numbers in itself, at most a gigabyte of float64",
        fix=f"copy or download {path} again",
    )


def _write_array(path: str, name: str) -> None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            link = file.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"has no array `{name}`" if link is None else f"`{name}` is a link to elsewhere")
            array = file[name]
            if not isinstance(array, h5py.Dataset):
                raise ValueError(f"has no array `{name}`")
            if array.external or array.is_virtual:
                raise ValueError(f"`{name}` lies in other files")
            if array.dtype.kind not in "fiu" or array.shape is None:
                raise ValueError(f"`{name}` holds {array.dtype}, expected numbers")
            if 8 * np.prod([float(side) for side in array.shape]) > MAX_BYTES:
                raise ValueError(f"`{name}` declares {array.shape}, more than a gigabyte")
            values = np.asarray(array, np.float64)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, OverflowError, MemoryError) as error:
        words = str(error).splitlines() or [type(error).__name__]
        print(words[0] if isinstance(error, ValueError) else f"cannot be read: {words[0]}", file=sys.stderr)
        sys.exit(_REFUSED)
    np.lib.format.write_array(sys.stdout.buffer, values, allow_pickle=False)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _write_array(*sys.argv[1:3])
