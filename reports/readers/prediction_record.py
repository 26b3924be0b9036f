"""What tables and figures share about `analyze predict`."""

from __future__ import annotations

from typing import Any

from reports.readers.analyses import Analysis

COPY_NAME = "copying the last frame"
BLURRED_NAME = "a blurred copy of it"
"""Name of the baseline."""


def lines_of(analysis: Analysis) -> dict[str, Any]:
    """What was measured of each line, in the order in which the runs were named.

    Raises:
        KeyError: the record is not what `analyze predict` writes.
    """
    found = analysis.record.numbers["lines"]
    return {line: found[line] for line in dict.fromkeys(model.line for model in analysis.record.models)}
