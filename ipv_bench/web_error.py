"""Why a file on a web server cannot be read."""

from __future__ import annotations


class WebError(Exception):
    """A file cannot be read.

    Attributes:
        absent: the server says that there is no such file.
        ranges: the server does not answer byte ranges.
        changed: it is another file than before.
    """

    def __init__(self, reason: str, *, absent: bool = False, ranges: bool = False, changed: bool = False) -> None:
        super().__init__(reason)
        self.absent, self.ranges, self.changed = absent, ranges, changed

    def after(self, failure: str) -> WebError:
        """The same, where another try followed on a failure."""
        return WebError(f"{failure}; then {self}", absent=self.absent, ranges=self.ranges, changed=self.changed)
