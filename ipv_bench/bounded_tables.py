"""Parquet tables that somebody else made: the columns that are expected, no gaps, valid text, a bounded size."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ipv_bench.bounded_file import ErrorKind, read_bytes, unreadable
from ipv_bench.errors import InputError

_WHOLE = "a whole Parquet file"
MAX_ROWS = 100_000_000
MAX_TABLE_BYTES = 16 << 30
LIMITS: Mapping[str, Any] = {
    "thrift_string_size_limit": 64 << 20,
    "thrift_container_size_limit": 4 << 20,
    "page_checksum_verification": True,
}
"""Arguments of `ParquetFile` for a file that somebody else made."""
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError)
"""What pyarrow raises for such a file; kinds of column that it cannot read are an `ArrowException` too."""


def read_table(
    source: str | Path | bytes, schema: pa.Schema, where: str = "", *, error: ErrorKind = InputError, fix: str = ""
) -> pa.Table:
    """The columns of `schema`, in its order and its types, without gaps.

    Args:
        source: a Parquet file, or its bytes.
        schema: columns that must be there; others are left out.
        where: for messages; the path by default.
        error: kind of error to raise.
        fix: what the user can do.

    Raises:
        error: no Parquet file, a column is absent, of another kind or has gaps, text is no UTF-8, or it is too large.
    """
    where = where or str(source)
    data = source if isinstance(source, bytes) else read_bytes(source, error=error, fix=fix)
    try:
        file = pq.ParquetFile(io.BytesIO(data), **LIMITS)
        meta = file.metadata
        size = sum(meta.row_group(number).total_byte_size for number in range(meta.num_row_groups))
        if meta.num_rows > MAX_ROWS or size > MAX_TABLE_BYTES:
            raise error(
                f"{where} declares {meta.num_rows:,} rows and {size:,} bytes",
                expected=f"at most {MAX_ROWS:,} rows and {MAX_TABLE_BYTES:,} bytes",
                fix=fix,
            )
        absent = [name for name in schema.names if name not in file.schema_arrow.names]
        if absent:
            raise error(f"{where} has no column {', '.join(absent)}", expected=", ".join(schema.names), fix=fix)
        table = file.read(columns=schema.names, use_threads=False).select(schema.names).cast(schema)
        table.validate(full=True)  # invalid UTF-8 would end in an exception far from here
    except ARROW_ERRORS as found:
        words = str(found).splitlines() or [type(found).__name__]
        raise error(f"{where} is no readable Parquet table: {words[0][:300]}", expected=_WHOLE, fix=fix) from None
    gaps = [name for name in schema.names if table[name].null_count]
    if gaps:
        raise error(f"{where} has gaps in column {', '.join(gaps)}", expected="a value in every row", fix=fix)
    return table


def column_names(path: str | Path, *, error: ErrorKind = InputError, fix: str = "") -> list[str]:
    """Names of the columns of a Parquet file, from its footer alone.

    Raises:
        error: it is no Parquet file.
    """
    try:
        with pq.ParquetFile(str(path), **LIMITS) as file:
            return list(file.schema_arrow.names)
    except ARROW_ERRORS as found:
        if isinstance(found, OSError) and found.errno:  # the disk's word; pyarrow calls damage an OSError, too
            raise unreadable(path, found, error=error, fix=fix) from found
        words = str(found).splitlines() or [type(found).__name__]
        raise error(f"{path} is no readable Parquet table: {words[0][:300]}", expected=_WHOLE, fix=fix) from None
