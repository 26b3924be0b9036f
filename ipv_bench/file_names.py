"""A name that a file gives to another file is a name: letters, digits, `_`, `-`, one dot; never a path.

Manifests, indexes, tables, tars, archives, run records and checkpoints come from other people. What they call a file is
checked here, by one rule, before it becomes part of a path; and every path that is made of such a name stays inside its
folder, links considered. Nothing else in this project joins a folder with a name that was read from a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from ipv_bench.errors import InputError, IpvBenchError

NAME_RULE = "letters, digits, _ and - (at most 100)"
FILE_NAME_RULE = "a name of letters, digits, _ and -, with one dot at most (at most 150 characters)"
FOLDER_NAME_RULE = "a name of letters, digits and _ - . , = + @ that does not begin with a dot (at most 200)"
RELATIVE_PATH_RULE = "a path inside the folder: no leading /, no .., no control characters"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,130}(\.[A-Za-z0-9_-]{1,19})?")
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_@+,=-][A-Za-z0-9_@+,=.-]{0,199}")
_LONGEST_PART, _LONGEST_PATH = 255, 4000  # bytes; what Linux takes


def shown(value: object, limit: int = 80) -> str:
    """A foreign value for a message: short, in quotes, without control characters or lone surrogates."""
    if value is None or isinstance(value, bool | int | float):
        return str(value)[:limit] if not isinstance(value, int) or -(2**64) < value < 2**64 else "a huge number"
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return repr(value[:limit]) + ("…" if len(value) > limit else "")


def is_name(value: object) -> bool:
    """Whether a value fits the rule for names of data sets, methods and tracks: no dot, no separator."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_file_name(value: object) -> bool:
    """Whether a value fits the rule for file names: one dot at most, no separator, not empty."""
    return isinstance(value, str) and _FILE_NAME.fullmatch(value) is not None


def folder_name(value: object, where: str, error: type[IpvBenchError] = InputError) -> str:
    """`value` when it may name a folder of a run: as file names, also with `.`, `,`, `=`, `+` and `@` inside.

    Raises:
        error: it holds a separator or another character, begins with a dot, or is longer than 200.
    """
    if not isinstance(value, str) or not _FOLDER_NAME.fullmatch(value):
        raise error(f"{where} is {shown(value)}", expected=FOLDER_NAME_RULE, fix="do not use this file")
    return value


def checked_file_name(value: object, where: str, error: type[IpvBenchError] = InputError) -> str:
    """`value` when it is a file name.

    Args:
        value: what a file gives as the name of another one.
        where: that file, and the place in it.
        error: kind of error to raise.
    """
    if not is_file_name(value):
        raise error(f"{where} names the file {shown(value)}", expected=FILE_NAME_RULE, fix="do not use this file")
    return str(value)


def path_inside(folder: str | Path, name: object, where: str, error: type[IpvBenchError] = InputError) -> Path:
    """The path of the file `name` in `folder`.

    Args:
        folder: trusted: the user named it, or it was made by this function.
        name: what a file gives as the name of another one.
        where: that file, and the place in it.
        error: kind of error to raise.

    Raises:
        error: `name` is no file name, or a link of that name leads out of the folder.
    """
    return _stays_inside(Path(folder), Path(folder) / checked_file_name(name, where, error), where, error)


def relative_path_inside(
    folder: str | Path, path: object, where: str, error: type[IpvBenchError] = InputError, *, links: bool = False
) -> Path:
    """As `path_inside`, for a path of several parts with `/`, each of any characters but control characters.

    Args:
        links: whether links that lead out of the folder are followed; for raw releases, whose owner made the links.
    """
    if not is_relative_path(path):
        raise error(f"{where} names the path {shown(path)}", expected=RELATIVE_PATH_RULE, fix="do not use this file")
    joined = Path(folder) / str(path)
    return joined if links else _stays_inside(Path(folder), joined, where, error)


def is_relative_path(value: object) -> bool:
    """Whether a value is a path that stays inside the folder that it is joined to (links apart)."""
    if not isinstance(value, str) or not value or value.startswith("/") or not _is_plain_text(value):
        return False
    parts = PurePosixPath(value).parts
    encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
    return ".." not in parts and bool(parts) and all(len(part) <= _LONGEST_PART for part in encoded) and (
        sum(map(len, encoded)) + len(parts) <= _LONGEST_PATH
    )  # fmt: skip


def folder_inside(root: str | Path, folder: str | Path, error: type[IpvBenchError] = InputError) -> Path:
    """`folder`, when it is below `root` also after links are followed; its files may be deleted then.

    Raises:
        error: a link leads out of `root`.
    """
    return _stays_inside(Path(root), Path(folder), str(root), error)


def _stays_inside(folder: Path, path: Path, where: str, error: type[IpvBenchError]) -> Path:
    root, real = os.path.realpath(folder), os.path.realpath(path)
    if not real.startswith(root.rstrip("/") + "/"):
        raise error(
            f"{path} leads out of its folder, to {real}",
            expected=f"a file inside {folder}, as {where} says",
            fix="put the file itself in place of the link (`cp -L`)",
        )
    return path


def _is_plain_text(text: str) -> bool:
    return not any(ord(character) < 32 or ord(character) == 127 or 0xD800 <= ord(character) < 0xDC80
                   or 0xDCFF < ord(character) <= 0xDFFF for character in text)  # fmt: skip


def _name(value: str) -> str:
    if not is_name(value):
        raise ValueError(f"{shown(value)} is no name: {NAME_RULE}")
    return value


def _file_name(value: str) -> str:
    if not is_file_name(value):
        raise ValueError(f"{shown(value)} is no file name: {FILE_NAME_RULE}")
    return value


Name = Annotated[str, AfterValidator(_name)]
"""Field of a pydantic model that is read from a file: a name without dots."""
FileName = Annotated[str, AfterValidator(_file_name)]
"""Field of a pydantic model that is read from a file: a file name."""
