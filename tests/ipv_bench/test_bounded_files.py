"""One function per format reads foreign files or refuses them by name and place; nothing else comes out of it."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ipv_bench.bounded_arrays import read_npy, read_npz
from ipv_bench.bounded_csv import parse_number, parse_whole, read_csv, spreadsheet_cell
from ipv_bench.bounded_file import is_disk_fault, read_bytes
from ipv_bench.bounded_json import parse_json, read_json, read_json_lines
from ipv_bench.bounded_tables import read_table
from ipv_bench.bounded_yaml import parse_yaml, read_yaml
from ipv_bench.errors import RunError
from tests.hostile_files import HOSTILE_ARRAYS, HOSTILE_JSON, HOSTILE_YAML, npy


@pytest.mark.parametrize("kind", HOSTILE_JSON)
def test_json_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(HOSTILE_JSON[kind])
    with pytest.raises(RunError, match="state.json") as caught:
        read_json(path, error=RunError)
    assert len(str(caught.value)) < 500
    str(caught.value).encode()


def test_json_says_where_and_what_was_expected() -> None:
    with pytest.raises(RunError, match=r"log line 2: '9{24}'… is a whole number of 5000 digits\n.*at most 64 bits"):
        parse_json(HOSTILE_JSON["5,000 digits"], "log", error=RunError)
    with pytest.raises(RunError, match=r"x holds null\n  expected: an object"):
        parse_json("null", "x", error=RunError, expect=dict)
    with pytest.raises(RunError, match="byte 0xff in line 2"):
        parse_json(b'{"a":\n"\xff"}', "x", error=RunError)
    assert parse_json(b'\xef\xbb\xbf{"a": [18446744073709551615, "\\ud83d\\ude00"]}', "x") == {"a": [2**64 - 1, "😀"]}
    assert parse_json("[Infinity]", "x", nan=True) == [float("inf")]


def test_a_log_ends_with_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a"')
    assert [line["a"] for line in read_json_lines(path)] == [1, 2]
    path.write_bytes(b'{"a": 1}\nnull\n{"a": 2}\n')
    with pytest.raises(RunError, match="line 2 holds null"):
        list(read_json_lines(path, error=RunError))
    with pytest.raises(RunError, match="absent"):
        list(read_json_lines(tmp_path / "none", error=RunError))


@pytest.mark.parametrize("kind", HOSTILE_YAML)
def test_yaml_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(HOSTILE_YAML[kind])
    with pytest.raises(RunError, match="config.yaml is not YAML") as caught:
        read_yaml(path, error=RunError)
    assert len(str(caught.value)) < 700


def test_a_key_that_is_said_twice_in_yaml_is_refused_and_one_in_two_mappings_is_not() -> None:
    for text in ("a: 1\nb: 2\na: 3", "x: {a: 1, a: 2}", "- {'a': 1, a: 2}"):
        with pytest.raises(RunError, match="'a' is said twice"):
            parse_yaml(text, "x", error=RunError)
    merged = parse_yaml("x: &x {a: 1}\ny: &y {b: 2}\nz:\n  <<: *x\n  <<: *y", "x")["z"]
    assert merged == {"a": 1, "b": 2}
    assert parse_yaml("a: {a: 1}\nb: [{a: 2}, {a: 3}]\n1: x\n'1': y", "x")["a"] == {"a": 1}


def test_yaml_with_aliases_and_merges_is_read() -> None:
    assert parse_yaml("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}", "x") == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": {"b": 1, "e": 2},
    }


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path, tmp_path / "absent", "a\0b"):
        for read in (read_bytes, read_npy):
            with pytest.raises(RunError):
                read(path, error=RunError)
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(RunError, match="at most 10"):
        read_bytes(tmp_path / "large", limit=10, error=RunError)


@pytest.mark.parametrize("kind", HOSTILE_ARRAYS)
def test_arrays_are_refused_by_name_in_memory_and_mapped(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "frames.npy"
    path.write_bytes(HOSTILE_ARRAYS[kind])
    for source, mapped in ((path, False), (path, True), (HOSTILE_ARRAYS[kind], False)):
        with pytest.raises(RunError, match="frames.npy"):
            read_npy(source, "frames.npy", error=RunError, mapped=mapped)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were_saved(order: str, tmp_path: Path) -> None:
    values = np.asarray(np.arange(24, dtype=">i4").reshape(2, 3, 4), order=order)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", x=values, y=np.zeros((0, 3), np.float16))
    for found in (read_npy(tmp_path / "a.npy"), read_npy(tmp_path / "a.npy", mapped=True)):
        assert found.dtype == values.dtype
        assert np.array_equal(found, values)
    arrays = read_npz(tmp_path / "a.npz")
    assert np.array_equal(arrays["x"], values)
    assert arrays["y"].shape == (0, 3)


def test_archives_that_declare_more_than_they_may_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "a.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (5000000,)}", bytes(5_000_000))
        )
    assert path.stat().st_size < 50_000
    with pytest.raises(RunError, match="declares more than"):
        read_npz(path, limit=1 << 20, error=RunError)
    whole = path.read_bytes()
    for contents in (b"", b"PK\x05\x06", whole[:-30], whole[:100] + b"xxxx" + whole[104:]):
        path.write_bytes(contents)
        with pytest.raises(RunError, match="bomb.npz") as caught:
            read_npz(path, error=RunError, fix="make it again")
        assert caught.value.expected
        assert caught.value.fix == "make it again"


def test_numbers_in_text(tmp_path: Path) -> None:
    assert parse_number(" -1.5e3 ", "x") == -1500
    assert parse_whole("1e6", "x") == 1_000_000
    assert np.isnan(parse_number("nan", "x", finite=False))
    for text in ("", "1_0", "0x10", "nan", "1e999", "9" * 5000, "٣", "1,5", "--1"):
        with pytest.raises(RunError, match="a.csv line 2"):
            parse_number(text, "a.csv line 2", error=RunError)
        with pytest.raises(RunError, match="a.csv line 2"):
            parse_whole(text, "a.csv line 2", error=RunError)
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbf# note\na,b\n\n1,"x\ny"\n')
    assert list(read_csv(tmp_path / "a.csv", comments="#")) == [(2, ["a", "b"]), (5, ["1", "x\ny"])]
    (tmp_path / "b.csv").write_text("a\n" + "x" * 200_000)
    with pytest.raises(RunError, match="b.csv line 2 is not CSV"):
        list(read_csv(tmp_path / "b.csv", error=RunError))


def test_formulas_become_text_and_negative_numbers_stay() -> None:
    for text in ("=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "\t=1", "\r=1", "=", "-", "＝1"):
        assert spreadsheet_cell(text) == "'" + text
    for text in ("-1.5", "+3", "-1e-05", "-inf", "contextwm", "", "3", "-.5"):
        assert spreadsheet_cell(text) == text


SCHEMA = pa.schema([("key", pa.string()), ("shard", pa.int32())])


def parquet(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def test_tables_have_the_columns_that_are_expected_without_gaps() -> None:
    good = pa.table({"shard": pa.array([0, 1], pa.int64()), "more": [1, 2], "key": ["a", "ä"]})
    assert read_table(parquet(good), SCHEMA, "samples").to_pydict() == {"key": ["a", "ä"], "shard": [0, 1]}
    invalid = pa.array([b"\xff", b"a"], pa.binary()).cast(pa.large_binary()).view(pa.large_string())
    bad = {
        "no column key": good.drop(["key"]),
        "gaps in column shard": good.set_column(0, "shard", pa.array([0, None], pa.int32())),
        "is no readable Parquet table": good.set_column(0, "shard", pa.array([0, 2**40])),
        "is no readable": good.set_column(2, "key", invalid),
    }
    for words, table in bad.items():
        with pytest.raises(RunError, match=f"samples .*{words}" if words.startswith("gaps") else words):
            read_table(parquet(table), SCHEMA, "samples", error=RunError)
    for data in (b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", parquet(good)[:-1]):
        with pytest.raises(RunError, match="samples is no readable Parquet.*\n.*a whole Parquet file\n.*make it again"):
            read_table(data, SCHEMA, "samples", error=RunError, fix="make it again")


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file that even root cannot read")
@pytest.mark.parametrize("read", [read_bytes, read_json, read_npy, lambda path, **k: list(read_json_lines(path, **k))])
def test_a_disk_that_answers_with_an_error_is_told_from_a_damaged_file(tmp_path: Path, read: Any) -> None:
    """What helps against a damaged file (delete it, fetch it again) would lose one that is whole."""
    path = tmp_path / "file"
    path.symlink_to("/proc/self/mem")  # its first byte cannot be read
    with pytest.raises(RunError, match="file cannot be read: Input/output error") as caught:
        read(path, error=RunError, fix="delete it")
    assert is_disk_fault(caught.value)
    assert caught.value.expected == "a disk that can be read"
    assert "network file system" in caught.value.fix
    with pytest.raises(RunError, match="cannot be read|absent") as absent:
        read(tmp_path / "absent", error=RunError, fix="delete it")
    assert not is_disk_fault(absent.value)
    assert absent.value.fix == "delete it"
    with pytest.raises(RunError, match="cannot be read|absent") as unhelped:
        read(tmp_path / "absent" / "file", error=RunError)
    assert unhelped.value.expected
