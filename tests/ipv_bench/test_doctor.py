"""The doctor on this machine, and on machines with one thing broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipv_bench import doctor_packages, system_libraries
from ipv_bench.doctor_check import Check
from ipv_bench.doctor_plugins import plugins


def doctor(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ipv_bench", "doctor", *args]
    env = os.environ | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, dict]:
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_this_machine_is_found_fit() -> None:
    done = doctor("--json")
    found = checks(done)
    assert done.returncode == 0, done.stdout
    assert found["codec vp9"]["state"] == found["offscreen rendering"]["state"] == "ok"
    assert found["numpy"]["state"] == found["extra [train]"]["state"] == "ok"
    assert "torch" in found["extra [train]"]["found"]


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


METADATA = """Metadata-Version: 2.1
Name: {name}
Version: 1.0
"""


def foreign_package(folder: Path, name: str, entries: str, module: str = "") -> None:
    """A package with entry points, as pip leaves it: a module and a dist-info folder."""
    (folder / f"{name}.py").write_text(module)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format(name=name.replace("_", "-")))
    (info / "entry_points.txt").write_text(entries)


def test_plug_ins_of_other_packages_are_listed_and_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = """
class Reader:
    name = "mine"
    def accepts(self, path): return False
    def read(self, path, options): raise NotImplementedError
READER = Reader()
SUITE = object()
"""
    good = "[ipv_bench.readers]\nmine = good_logs:READER\n[ipv_bench.suites]\nworlds = good_logs:SUITE\n"
    bad = "[ipv_bench.datasets]\nssv2 = bad_data:X\nours = bad_data:X\n"
    foreign_package(tmp_path, "good_logs", good, reader)
    foreign_package(tmp_path, "bad_data", bad, "raise RuntimeError('half made')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    found = {check.name: check for check in plugins()}
    assert found["log reader mine"] == Check("log reader mine", "ok", "good-logs 1.0 (good_logs:READER)")
    assert found["task suite worlds"].is_defect
    assert "lacks name, tasks" in found["task suite worlds"].found
    assert found["data set ours"].is_defect
    assert "RuntimeError: half made" in found["data set ours"].found
    assert found["data set ours"].fix == "mend or uninstall bad-data"
    assert found["data set ssv2"].is_defect
    assert found["data set ssv2"].found == "bad-data 1.0 gives it (bad_data:X), and ipv-bench does too"


def test_each_extra_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not installed is no defect; one of a wrong version is."""
    info = tmp_path / "ipv_bench-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: ipv-bench\nVersion: 0.1.0\nRequires-Dist: numpy>=1.26\n"
        "Provides-Extra: ray\nRequires-Dist: not-a-package>=2; extra == 'ray'\n"
        "Provides-Extra: s3\nRequires-Dist: click>=999; extra == 's3'\n"
        "Provides-Extra: decord\nRequires-Dist: decord; python_version < '3' and extra == 'decord'\n"
        "Provides-Extra: dev\nRequires-Dist: pytest>=2; extra == 'dev'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert [(check.name, check.state) for check in doctor_packages.base()] == [("numpy", "ok")]
    found = {check.name: check for check in doctor_packages.extras()}
    assert list(found) == [f"extra [{name}]" for name in ("decord", "ray", "s3", "dev")]
    assert found["extra [ray]"].state == "missing"
    assert found["extra [ray]"].found == "without not-a-package, for jobs on a Ray cluster"
    assert found["extra [ray]"].fix.endswith("[ray]'")
    assert found["extra [s3]"].is_defect
    assert "click>=999" not in found["extra [s3]"].fix
    assert found["extra [s3]"].found.endswith("but >=999 is needed")
    assert "no builds for Python" in found["extra [decord]"].fix
    assert [name for name, check in found.items() if check.is_defect] == ["extra [s3]"]


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
    assert "the fix that stands beside each of them" in output.err


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
