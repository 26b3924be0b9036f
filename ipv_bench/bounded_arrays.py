"""`.npy` and `.npz` files that somebody else made: nothing is unpickled, and the header must fit the file's size."""

from __future__ import annotations

import io
import math
import os
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ipv_bench.bounded_file import ErrorKind, unreadable
from ipv_bench.errors import InputError

Header = tuple[tuple[int, ...], bool, np.dtype[Any]]

_READERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
# numpy reads the header's mapping by ast.literal_eval and tokenize, which end in these for texts made to break them.
_HEADER_ERRORS = (
    ValueError, EOFError, OSError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, MemoryError,
    SyntaxError, tokenize.TokenError,
)  # fmt: skip


_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What `zipfile` raises for archives that are damaged, encrypted or packed in an unknown way (both RuntimeError)."""


def read_header(file: IO[bytes], where: str, *, error: ErrorKind = InputError, fix: str = "") -> Header:
    """Shape, Fortran order and element type of the `.npy` array that begins at `file`'s position.

    Raises:
        error: no `.npy` header, Python objects inside, or a negative or overflowing size.
    """
    try:
        version = npy_format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"format {version[0]}.{version[1]}")
        shape, fortran, dtype = _READERS[version](file)
    except _HEADER_ERRORS as found:
        if isinstance(found, OSError) and found.errno:
            raise unreadable(where, found, error=error, fix=fix) from found
        words = str(found).splitlines() or [type(found).__name__]
        raise error(f"{where} is no .npy file: {words[0][:200]}", expected="a plain array", fix=fix) from None
    if dtype.hasobject:
        raise error(f"{where} holds Python objects", expected="numbers; pickles are never read", fix=fix)
    # type(): True passes isinstance. Sides of 0 are left out of the product: numpy refuses (0, 2**62, 2**62).
    sane = all(type(side) is int and side >= 0 for side in shape) and len(shape) <= 32
    if not sane or not dtype.itemsize or math.prod(side or 1 for side in shape) * dtype.itemsize >= 1 << 62:
        raise error(f"{where} declares {str(dtype)[:40]} {str(shape)[:80]}", expected="an array of numbers", fix=fix)
    return shape, fortran, dtype


def read_npy(
    source: str | Path | bytes,
    where: str = "",
    *,
    error: ErrorKind = InputError,
    mapped: bool = False,
    fix: str = "",
) -> NDArray[Any]:
    """The array of an `.npy` file; its size must be exactly what its header declares.

    Args:
        source: the file, or its bytes.
        where: for messages; the path by default.
        error: kind of error to raise.
        mapped: map the file into memory, read-only, instead of reading it (a path only).
        fix: what the user can do.

    Raises:
        error: it is absent, no regular file, no `.npy` file, holds objects, or is shorter or longer than it declares.
    """
    where = where or str(source)
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), len(source), where, error, fix)
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise error(f"{where} is no regular file", expected="an .npy file", fix=fix)
            if not mapped:
                return _read(file, status.st_size, where, error, fix)
            shape, fortran, dtype = _fitting_header(file, status.st_size, where, error, fix)
            if not math.prod(shape) * dtype.itemsize:  # nothing to map
                return np.zeros(shape, dtype)
            order: Any = "F" if fortran else "C"
            return np.memmap(file, dtype=dtype, shape=shape, order=order, mode="r", offset=file.tell())
    except OSError as found:
        raise unreadable(where, found, error=error, fix=fix) from found
    except ValueError as found:
        raise error(f"{where} cannot be read: {found}", expected="the path of a file", fix=fix) from None


def _fitting_header(file: IO[bytes], size: int, where: str, error: ErrorKind, fix: str) -> Header:
    shape, fortran, dtype = read_header(file, where, error=error, fix=fix)
    declared = math.prod(shape) * dtype.itemsize
    if file.tell() + declared != size:
        raise error(
            f"{where} has {size:,} bytes",
            expected=f"{file.tell() + declared:,}, as its header declares ({dtype} {shape})"[:200],
            fix=fix,
        )
    return shape, fortran, dtype


def _read(file: IO[bytes], size: int, where: str, error: ErrorKind, fix: str) -> NDArray[Any]:
    shape, fortran, dtype = _fitting_header(file, size, where, error, fix)
    return _filled(file, shape, fortran, dtype, where, error, fix)


def _filled(
    file: IO[bytes],
    shape: tuple[int, ...],
    fortran: bool,
    dtype: np.dtype[Any],
    where: str,
    error: ErrorKind,
    fix: str,
) -> NDArray[Any]:
    count = math.prod(shape)
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise error(f"{where} ends before its array does", expected="a file that is whole", fix=fix)
    if not data:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(bytearray(data), dtype, count)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def read_npz(
    path: str | Path | IO[bytes],
    *,
    where: str = "",
    names: Collection[str] | None = None,
    error: ErrorKind = InputError,
    limit: int = 1 << 32,
    fix: str = "",
) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by name.

    Args:
        path: the file, or an open binary file.
        where: for messages; the path by default.
        names: read these alone, those of them that are there; None reads all.
        error: kind of error to raise.
        limit: largest size of the arrays that are read together, in bytes: a small file can declare a huge one.
        fix: what the user can do.

    Raises:
        error: it is no `.npz` file, is damaged or encrypted, holds objects or other files, or is larger than `limit`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    file_name = where or str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if names is None or m.filename.removesuffix(".npy") in names]
            if sum(member.file_size for member in members) > limit:
                raise error(f"{file_name} declares more than {limit:,} bytes", expected="less", fix=fix)
            for member in members:
                name, place = member.filename.removesuffix(".npy"), f"{file_name}: {member.filename[:80]!r}"
                if name == member.filename or name in arrays:
                    raise error(f"{place} is no array, or there twice", expected="<name>.npy, each once", fix=fix)
                with archive.open(member) as file:
                    arrays[name] = _read(file, member.file_size, place, error, fix)
                    if file.read(1):
                        raise error(f"{place} is longer than it declares", expected="the array alone", fix=fix)
    except _DAMAGE as found:
        words = str(found)[:200]
        raise error(f"{file_name} is no .npz file, or damaged: {words}", expected="a whole archive", fix=fix) from None
    return arrays


def npz_headers(
    path: str | Path, names: Collection[str], *, error: ErrorKind = InputError, fix: str = ""
) -> dict[str, Header | str]:
    """What an `.npz` file declares of some arrays, without reading them.

    Args:
        path: the file.
        names: of the arrays; those that are absent are left out.
        error: kind of error to raise.
        fix: what the user can do.

    Returns:
        Name → header, or what is wrong with it in words (Python objects, no array).

    Raises:
        error: it is no `.npz` file, or damaged.
    """
    headers: dict[str, Header | str] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename or name not in names:
                    continue
                with archive.open(member) as file:
                    try:
                        headers[name] = read_header(file, name)
                    except InputError as found:
                        headers[name] = found.found
    except _DAMAGE as found:
        words = str(found)[:200]
        raise error(f"{path} is no .npz file, or damaged: {words}", expected="a whole archive", fix=fix) from None
    return headers
