"""A process that draws what it is sent on its standard input, until that is closed (`drawing.py` starts it)."""

from __future__ import annotations

import os
import sys
from typing import Any

from reports.figures.drawing import draw, read_message, write_message


def main() -> None:
    """Answer each (plan, formats) with its files, or with the error's text when it cannot be drawn."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not be taken for an answer
    while True:
        try:
            message: Any = read_message(sys.stdin.buffer)
        except EOFError:
            return
        try:
            files: object = draw(*message)
        except Exception as error:  # noqa: BLE001 - the parent draws it again and shows the error where it belongs
            files = repr(error)
        write_message(answers, files)


if __name__ == "__main__":
    main()
