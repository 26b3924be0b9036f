"""Why a file is of no known format: what it looks like, what it lacks, and the line of config that would help."""

from __future__ import annotations

from pathlib import Path

from ipv_bench.errors import InputError
from reports.readers.base import ReadOptions, first_bytes
from reports.readers.plain_csv import missing_columns
from reports.readers.text_table import is_table_name, table_header

_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors", ".pkl", ".zip")
NO_FORMAT = "no known format"


def near_miss(path: Path, options: ReadOptions, formats: str) -> InputError:
    """The error for a file that was named itself and that no reader accepts.

    Args:
        path: the file.
        options: what readers are asked for.
        formats: the names of all formats, for the message.
    """
    if is_table_name(path) and len(table_header(path)) > 1:
        return missing_columns(path, options)
    return InputError(
        f"{path} is of {why_not(path, options)}", expected=formats, fix="docs/reports/formats.md shows each"
    )


def why_not(path: Path, options: ReadOptions) -> str:
    """The reason in words, for the list of files that were not used."""
    if path.is_dir():
        return NO_FORMAT
    try:
        empty = path.stat().st_size == 0
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    if empty:
        return f"{NO_FORMAT} (empty)"
    if is_table_name(path):
        header = table_header(path)
        if len(header) > 1:
            lacking = missing_columns(path, options)
            return f"{NO_FORMAT}: {lacking.found.removeprefix(f'{path} has ')}; {lacking.fix}"
        return NO_FORMAT if path.suffix == ".txt" else f"{NO_FORMAT} (no header with several columns)"
    if path.suffix.lower() in _CHECKPOINTS:
        return f"{NO_FORMAT} (a checkpoint or archive)"
    start = first_bytes(path, 1 << 12).lstrip()
    if path.suffix == ".json" and start.startswith(b"{"):
        return f"{NO_FORMAT} (one JSON object: scores per run are a list of task, method, seed, xs, ys)"
    if path.suffix == ".jsonl":
        return f'{NO_FORMAT} (a log needs the name metrics.jsonl or scores.jsonl, and "step" in its lines)'
    return NO_FORMAT
