"""A disk that answers with errors, for files below one place: what the system says of it, without a broken one."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CALLS = {"looked at": ("stat", "lstat"), "listed": ("scandir", "listdir"), "opened": ("open",)}


def fail(
    patch: pytest.MonkeyPatch, place: Path, *, what: tuple[str, ...] = tuple(CALLS), number: int = errno.EIO
) -> None:
    """From now on `place` and what lies below it cannot be looked at, listed or opened.

    Args:
        patch: takes it back.
        place: file or folder.
        what: keys of `CALLS`.
        number: what the system says.
    """

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | bytes | os.PathLike) and Path(os.fsdecode(path)).is_relative_to(place):
                raise OSError(number, os.strerror(number), os.fsdecode(path))
            return real(path, *arguments, **options)

        return call

    for name in (name for key in what for name in CALLS[key]):
        patch.setattr(os, name, failing(getattr(os, name)))
    if "opened" in what:
        patch.setattr(builtins, "open", failing(builtins.open))
        patch.setattr(io, "open", failing(io.open))
