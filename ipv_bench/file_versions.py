"""Which version of each file on a server is read: the first one that was seen, of the size that the manifest names.

A set that is published anew under its old address while somebody reads it would give frames of another video, without
an error where they are stored raw: byte ranges have no checksum.
"""

from __future__ import annotations

from collections.abc import Mapping


class FileVersions:
    """What is known of each file: its size, and the server's tag of its contents. Safe to use from threads."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._tags: dict[str, str] = {}

    def expect(self, sizes: Mapping[str, int]) -> None:
        """Hear the sizes in bytes, by name."""
        self._sizes = dict(sizes)

    def difference(self, name: str, size: int | None, tag: str) -> str:
        """Why an answer is of another version than is known; empty where it is the same, or the first one.

        Args:
            name: of the file.
            size: of the whole file in bytes, as the server says; None: it does not.
            tag: the answer's ETag; empty: it has none.
        """
        if size is not None and self._sizes.setdefault(name, size) != size:
            return f"it has {size:,} bytes now, where {self._sizes[name]:,} are expected"
        tag = tag.removeprefix("W/")  # a proxy may weaken it on its way
        if tag and self._tags.setdefault(name, tag) != tag:
            return "it was changed on the server since it was first read (it has another ETag)"
        return ""
