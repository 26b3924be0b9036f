"""Typed reasons for source items that cannot be used."""

from __future__ import annotations

REASONS = {
    "corrupt": "the decoder refused the file or part of it, or handed out frames that it marked as damaged",
    "truncated": "the file ends before its container says",
    "empty_file": "the file has no bytes",
    "no_video_stream": "the file can be opened but holds no video (audio only, cover art)",
    "zero_frames": "there is a video stream, and no frame came out of it",
    "missing": "the release's lists name the item, and its files are not there",
    "bad_annotation": "label, joints or lists do not fit the item",
    "duplicate_id": "another item has the same id",
    "too_long": "its stream would pass 4 GiB, which the index of frame offsets cannot hold: set `clip_frames`",
    "unreadable": "the operating system could not read the file (permission, I/O error, symlink loop), or it "
    "vanished after the release was listed",
    "timeout": "the decoder used more CPU time than the limit, or gave no frame for too long",
    "crashed": "the decoder killed its process",
    "out_of_memory": "the decoder used more memory than the limit",
}
"""Reason → what it means."""

MACHINE_DEPENDENT = frozenset({"unreadable", "timeout", "crashed", "out_of_memory"})
"""Reasons that another machine or another moment might not give: tried once more, alone, before they are final."""


class SourceFailure(Exception):
    """A source item cannot be used.

    Args:
        reason: one of `REASONS`.
        message: the decoder's or the system's words, without paths of this machine.
    """

    def __init__(self, reason: str, message: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {message}")
        self.reason, self.message = reason, message
