"""Whatever stdout is, the work is finished and the exit status says what happened to it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipv_bench.addresses import public_address, public_values, without_credentials
from ipv_bench.cli import run
from ipv_bench.streams import SteadyStream, printable

COMMAND = f'{sys.executable} -m ipv_bench sample "$OUT" --dataset rlbench --videos 2'


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("| true; exit ${PIPESTATUS[0]}", ""),
        ("> /dev/full", "warning: the output cannot be written (No space left on device); the work goes on\n"),
        (">&-", ""),
        ("<&- >&- 2>&-", ""),
        ("> /dev/null 2> /dev/full", ""),
    ],
)
def test_the_work_is_finished_whatever_becomes_of_the_output(tmp_path: Path, ending: str, words: str) -> None:
    out = tmp_path / "sämple"
    done = subprocess.run(
        ["bash", "-c", f"{COMMAND} {ending}"],
        env=os.environ | {"OUT": str(out), "PYTHONIOENCODING": "ascii"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, words)
    assert len(list(out.rglob("*.npz"))) == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_letters_gets_escapes(encoding: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ipv_bench", "inspect", str(tmp_path / "日本")],
        env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 2
    assert r"\u65e5\u672c has no manifest.json" in done.stderr


class Gone(io.StringIO):
    """A stream whose reader went away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_lost_stream_takes_everything_and_says_nothing() -> None:
    stream = SteadyStream(Gone(), 1)
    assert stream.write("x") == 1
    assert stream.write("y") == 1
    stream.flush()
    assert not stream.isatty()
    assert SteadyStream(None, 1).write("x") == 1


def test_a_forgotten_stream_closes_nothing_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    under = io.StringIO()
    stream = SteadyStream(under, 1)
    under.close()
    del stream
    assert SteadyStream(open_one := io.StringIO(), 1).close() is None
    assert not open_one.closed
    assert capsys.readouterr() == ("", "")


def test_foreign_text_does_not_speak_to_the_terminal() -> None:
    assert printable("a\x1b[2Jb\r\tc\nd\u202ee\udc80") == "a\\x1b[2Jb\\r\tc\nd\\u202ee\\udc80"


def test_a_read_only_output_is_an_output_error_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "demo", Path("/proc/demo")):
        assert run(["demo", "--out", str(out)]) == 2
        assert f"error: cannot write {out}" in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda *_: False)  # what the kernel tells those who are not root
    assert run(["demo", "--out", str(tmp_path / "locked")]) == 2
    assert f"cannot write {tmp_path / 'locked'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "state", ["null", "[]", "{", '{"version": 1, "done": 3}', '{"version": "x", "done": {"a": []}}']
)
def test_a_foreign_demo_record_is_refused(tmp_path: Path, state: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo.json").write_text(state)
    assert run(["demo", "--out", str(tmp_path)]) == 2
    assert "demo.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("https://me:secret@host/set", "https://host/set"),
        ("https://me:se@cret@host:8443/set?sig=secret#secret", "https://host:8443/set"),
        ("https://me:se/cret@host/set", "https://host/set"),
        ("s3://key:secret@bucket/prefix", "s3://bucket/prefix"),
        ("https://[::1]:80/set?X-Amz-Signature=secret", "https://[::1]:80/set"),
        ("https://host/@user/set", "https://host/@user/set"),
        ("https://host", "https://host"),
        ("data/shards/ssv2", "data/shards/ssv2"),
    ],
)
def test_addresses_are_shown_without_credentials(address: str, public: str) -> None:
    assert public_address(address) == public
    assert without_credentials(f"a {address!r}, b") == f"a {public!r}, b"
    assert public_values({"config": {"data": [address, 3]}}) == {"config": {"data": [public, 3]}}


def test_secrets_of_the_environment_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    assert without_credentials("the server said wJalrXUtnFEMI is wrong") == "the server said *** is wrong"
