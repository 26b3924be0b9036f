"""The doctor on this machine, and on machines with one thing broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipv_bench import system_libraries


def doctor(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ipv_bench", "doctor", *args]
    env = os.environ | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, dict]:
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_this_machine_is_found_fit() -> None:
    done = doctor("--json")
    found = checks(done)
    assert done.returncode == 0, done.stdout
    assert found["codec vp9"]["state"] == found["offscreen rendering"]["state"] == "ok"
    assert found["torch"]["state"] == "ok"


def test_missing_rendering_and_a_wrong_package_are_named_with_their_fixes(tmp_path: Path) -> None:
    info = tmp_path / "pandas-3.1.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pandas\nVersion: 3.1.1\n")
    broken = {"__EGL_VENDOR_LIBRARY_DIRS": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    done = doctor("--json", **broken)
    found = checks(done)
    assert done.returncode == 4
    assert "offscreen rendering" in done.stderr
    assert found["offscreen rendering"]["state"] == "missing"
    assert "apt-get install" in found["offscreen rendering"]["fix"]
    assert found["pandas"]["state"] == "wrong"
    assert "3.1.1" in found["pandas"]["found"]
    assert "pandas<3" in found["pandas"]["fix"]


def test_the_table_has_a_fix_below_each_defect_and_status_4(monkeypatch, capsys) -> None:
    from ipv_bench import cli
    from ipv_bench import doctor as room

    fine = Check("disk", "ok", "80 GiB")
    broken = Check("extra [ray]", "wrong", "ray 1.0", "pip install 'ray>=2.50'")
    optional = Check("GPU", "missing", "none", optional=True)
    monkeypatch.setattr(room, "examine", lambda: [fine, broken, optional])
    assert cli.run(["doctor"]) == 4
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert lines[0].split() == ["ok", "disk", "80", "GiB"]
    assert lines[1].startswith("wrong   extra [ray]")
    assert lines[2].strip() == "→ pip install 'ray>=2.50'"
    assert lines[3].endswith("(optional)")
    assert "1 of 3 checks failed: extra [ray]" in output.err


@pytest.mark.parametrize("is_root", [True, False])
def test_missing_libraries_stop_the_install_with_the_one_command(monkeypatch, capsys, is_root: bool) -> None:
    monkeypatch.setattr(system_libraries, "missing_packages", lambda: ["libegl1", "libgl1-mesa-dri"])
    monkeypatch.setattr(system_libraries.os, "geteuid", lambda: 0 if is_root else 1000)
    monkeypatch.setenv("NO_APT", "1")
    assert system_libraries.main() == 2
    error = capsys.readouterr().err
    assert "apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri" in error
    assert ("sudo" in error) is not is_root


def test_a_library_that_cannot_be_loaded_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(system_libraries, "LIBRARIES", {"libnot-there.so.9": "libnot-there9"})
    assert system_libraries.missing_packages() == ["libnot-there9"]
