"""What a container says of itself, so that a shortened or damaged file cannot pass for a shorter video."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Structure:
    """Facts of a container, read without any decoder.

    Attributes:
        num_packets: coded pictures of each video track, in the file's order; empty where the container does not say,
            -1 where it does not say for a track.
        num_pictures: at least so many coded pictures begin in the stream of each id; empty in other formats.
        crops: what each video track says is to be cut off its pictures, in words, in the file's order; "" for nothing.
        is_complete: every element was checked, so that what the container's reader says adds nothing.
        fault: ("truncated" or "corrupt", what is wrong); None when everything fits together.
    """

    num_packets: list[int] = field(default_factory=list)
    num_pictures: dict[int, int] = field(default_factory=dict)
    crops: list[str] = field(default_factory=list)
    is_complete: bool = False
    fault: tuple[Literal["truncated", "corrupt"], str] | None = None


class StructureError(Exception):
    """The container does not hold together.

    Args:
        reason: "truncated" when the file ends too early, else "corrupt".
        message: what was found, and where.
    """

    def __init__(self, reason: Literal["truncated", "corrupt"], message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


def cut_off(size_bytes: int, needed: int) -> StructureError:
    """The error for a file that ends before its container says.

    Args:
        size_bytes: of the file.
        needed: bytes that the container announces.
    """
    return StructureError("truncated", f"{size_bytes} bytes of {needed}")


def broken(what: str, position: int) -> StructureError:
    """The error for a structure that does not hold together.

    Args:
        what: is wrong.
        position: byte in the file.
    """
    return StructureError("corrupt", f"{what} at byte {position}")
