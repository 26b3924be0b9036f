"""Extras: what a missing one says, before anything is imported or done, and the command that fits this copy."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from ipv_bench import cli, extras
from ipv_bench.errors import MissingDependencyError
from models.envs.registry import extra_of, suite_of

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch):
    """Hides packages, as on a machine where they were never installed."""

    def hide(*names: str) -> None:
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


COMMANDS = [
    ("pretrain", "train"),
    ("pretrain --dry-run", "train"),
    ("pretrain --data s3://bucket/set", "train,s3"),
    ("pretrain --set data.sets=[https://host/set]", "train,s3"),
    ("pretrain --set training.wandb=project", "train,tracking"),
    ("finetune --task dmc/cheetah_run", "train,dmc"),
    ("finetune --task dmcr/walker_run", "train,dmc"),
    ("finetune --task metaworld/reach --dry-run", "train,metaworld"),
    ("finetune --task carla/clear_noon", "train,carla"),
    ("finetune --task highway/highway", "train,driving"),
    ("finetune --task metaworld-remastered/reach", "train,metaworld"),
    ("evaluate runs/none", "train"),
    ("import-checkpoint variables.pt", "train"),
    ("analyze predict runs/none", "train"),
    ("analyze predict runs/none --data s3://bucket/set", "train,s3"),
    ("demo", "train,dmc"),
    ("prepare ssv2 --executor ray", "ray"),
    ("prepare ssv2 --set decoder=decord", "decord"),
    ("prepare ssv2 --set decoder=decord --dry-run", "decord"),
    ("verify s3://bucket/set", "s3"),
    ("inspect https://host/set", "s3"),
]


@pytest.mark.parametrize(("line", "names"), COMMANDS)
def test_a_missing_extra_is_said_first_with_its_command(
    line: str, names: str, hidden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden(*(module for extra in extras.EXTRAS.values() for module in extra.modules))
    monkeypatch.chdir(tmp_path)
    assert cli.run(line.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert f"{sys.executable} -m pip install -e '{ROOT}[{names}]'" in error
    for extra in names.split(","):
        assert f"`{extra}`" in error
        assert all(module in error for module in extras.EXTRAS[extra].modules)
    assert not list(tmp_path.iterdir())


def test_robosuite_is_sent_to_an_environment_of_its_own_with_the_reason(
    hidden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden("robosuite")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    assert cli.run(["finetune", "--task", "robosuite/lift", "--set", "method=dreamerv2"]) == 2
    error = capsys.readouterr().err
    assert "needs robosuite, which is not installed" in error
    assert f"-m venv .venv-robosuite && .venv-robosuite/bin/pip install -c '{ROOT}/constraints-robosuite.txt'" in error
    assert f"-e '{ROOT}[train,robosuite]'" in error
    assert "mink 0.0.5, which wants numpy below 2" in error
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["robosuite; python_version < '3.13' and extra == 'robosuite'"]
    )
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert "use Python 3.11 or 3.12" in extras.no_builds("robosuite")


def test_saying_so_takes_no_heavy_import() -> None:
    """The measure of "at once" that holds on any machine: what was imported."""
    hide = "sys.modules.update(dict.fromkeys(('torch', 'safetensors', 'ray', 'decord', 'obstore', 'dm_control')))"
    code = (
        f"import sys; {hide}; from ipv_bench.cli import run; "
        "lines = ['pretrain', 'import-checkpoint x', 'demo', 'prepare ssv2 --executor ray', 'verify s3://a/b', "
        "'prepare ssv2 --set decoder=decord', 'finetune --task dmc/cheetah_run']; "
        "assert [run(line.split()) for line in lines] == [2] * len(lines); "
        "heavy = {'av', 'pyarrow', 'pandas', 'matplotlib', 'mujoco', 'scipy', 'rliable'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("to do:") == 7


def test_an_installed_extra_is_not_asked_for_again(hidden) -> None:
    hidden("torch")
    with pytest.raises(MissingDependencyError, match="needs torch, which is not installed") as caught:
        extras.require("this", "dmc", "train")
    assert "[train]" in caught.value.fix
    assert "dmc" not in caught.value.fix
    extras.require("this", "dmc")


def test_a_folder_of_that_name_is_not_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B leaves a folder `wandb` where it ran."""
    (tmp_path / "not_installed_here").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert extras.missing_modules(("not_installed_here", "click")) == ["not_installed_here"]


def test_a_missing_package_of_the_base_is_no_internal_error(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from ipv_bench.cli import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "'pyarrow' is not installed" in done.stderr
    assert f"pip install -e '{ROOT}'" in done.stderr


class Copy:
    """An installed copy: no checkout, and metadata that says where it came from."""

    def __init__(self, direct_url: object) -> None:
        self.text = None if direct_url is None else json.dumps(direct_url)

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.text


REQUIRES = [
    "numpy>=1.26",
    "torch>=2.4; extra == 'train'",
    "safetensors>=0.4.3; extra == 'train'",
    "decord>=0.6; python_version < '3' and extra == 'decord'",
]
COMMIT = "0123456789abcdef"


@pytest.mark.parametrize(
    ("direct_url", "command"),
    [
        ({"url": "file://{folder}/my%20files/ipv_bench-0.1.0-py3-none-any.whl", "archive_info": {}},
         "'{folder}/my files/ipv_bench-0.1.0-py3-none-any.whl[train]'"),
        ({"url": "file://{folder}/my%20files", "dir_info": {}}, "'{folder}/my files[train]'"),
        ({"url": "file://{folder}/thrown/away.whl", "archive_info": {}}, "'torch>=2.4' 'safetensors>=0.4.3'"),
        ({"url": "https://host/ipv.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
         "'ipv-bench[train] @ git+https://host/ipv.git@" + COMMIT + "'"),
        ({"url": "https://host/ipv_bench-0.1.0-py3-none-any.whl", "archive_info": {}},
         "'ipv-bench[train] @ https://host/ipv_bench-0.1.0-py3-none-any.whl'"),
        (None, "'torch>=2.4' 'safetensors>=0.4.3'"),
        ("damaged", "'torch>=2.4' 'safetensors>=0.4.3'"),
    ],
)  # fmt: skip
def test_the_command_fits_how_this_copy_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct_url: object, command: str
) -> None:
    (tmp_path / "my files").mkdir()
    (tmp_path / "my files" / "ipv_bench-0.1.0-py3-none-any.whl").write_bytes(b"")
    if isinstance(direct_url, dict):
        direct_url = direct_url | {"url": direct_url["url"].format(folder=tmp_path)}
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site-packages" / "ipv_bench" / "extras.py"))
    monkeypatch.setattr(metadata, "distribution", lambda name: Copy(direct_url))
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    wanted = command.format(folder=tmp_path)
    assert extras.install_command("train") == f"{sys.executable} -m pip install {wanted}"


def test_an_extra_without_builds_for_this_python_says_so(hidden, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden("decord")
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setattr(extras, "extra_names", lambda: ["train", "decord"])
    with pytest.raises(MissingDependencyError) as caught:
        extras.require("decoder=decord", "decord")
    assert "no builds for Python" in caught.value.fix
    assert "pip" not in caught.value.fix


def test_it_names_the_pythons_that_have_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    marker = "python_version < '3.13' and extra == 'carla'"
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=1.26", f"carla==0.9.16; {marker}"])
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    assert extras.no_builds("carla") == "its packages have no builds for Python 3.13; use Python 3.11 or 3.12"


def test_dm_control_comes_in_a_second_step_where_labmaze_has_no_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    python = f"{sys.executable} -m pip install"
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert extras.install_command("train", "dmc") == (
        f"{python} -e '{ROOT}[train,dmc]' && {python} --no-deps 'dm-control>=1.0.28,<1.0.29'"
    )
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    assert extras.install_command("train", "dmc") == f"{python} -e '{ROOT}[train,dmc]'"


def test_the_table_is_that_of_pyproject() -> None:
    groups = PROJECT["optional-dependencies"]
    assert {*extras.EXTRAS, "all", "dev"} == set(groups)
    together = [name for name, extra in extras.EXTRAS.items() if not extra.apart]
    assert groups["all"] == [f"ipv-bench[{','.join(together)}]"]
    second = [text.partition(";")[0] for text in groups["dmc"] if text.startswith("dm-control")]
    assert extras.WITHOUT_DEPENDENCIES[3, 13] == {"dmc": tuple(second), "all": tuple(second)}


def test_every_suite_of_ours_names_an_extra() -> None:
    extra = {
        "dmc/cheetah_run": "dmc", "dmcr/cheetah_run": "dmc", "metaworld/reach": "metaworld",
        "carla/clear_noon": "carla", "highway/highway": "driving", "metaworld-remastered/reach": "metaworld",
        "robosuite/lift": "robosuite",
    }  # fmt: skip
    assert {task: extra_of(suite_of(task)) for task in extra} == extra
