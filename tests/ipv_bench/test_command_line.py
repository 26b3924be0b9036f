"""The command line: its table, its help, its exit statuses, and what it refuses."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ipv_bench import cli
from models.analysis.analyses import ANALYSES

OPTIONS = {
    "doctor": {"--json"},
    "sample": {"--dataset", "--videos", "--seed"},
    "prepare": {
        *("--source", "--out", "--profile", "--workers", "--executor", "--limit"),
        *("--dry-run", "--retry-failed", "--strict", "--set"),
    },
    "verify": {"--decode", "--source", "--json"},
    "inspect": {"--contact-sheet", "--json"},
    "pretrain": {"--preset", "--config", "--set", "--data", "--run", "--seed", "--dry-run"},
    "finetune": {"--preset", "--config", "--set", "--task", "--init", "--run", "--seed", "--dry-run"},
    "evaluate": {"--episodes", "--seed", "--set", "--video"},
    "record": {"--policy", "--episodes", "--out", "--seed", "--set"},
    "adapt": {"--data", "--run", "--seed", "--set", "--dry-run"},
    "import-checkpoint": {"--out"},
    "report": {
        *("--out", "--figures", "--config", "--strict", "--allow-mixed"),
        *("--missing-commands", "--resamples", "--seed"),
    },
    "analyze": set(),
    "sweep": {"--on", "--jobs", "--dry-run", "--json"},
    "export": {"--to", "--out", "--set"},
    "trace": {"--json"},
    "demo": {"--out"},
}
ANALYZE = {"--data", "--out", "--config", "--set", "--seed"}
COMMON = {"--help", "--quiet", "--debug"}
HEAVY = ("torch", "numpy", "pandas", "av", "mujoco", "matplotlib", "pydantic")


def run(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ipv_bench", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


def test_the_table_of_commands_is_the_documented_one() -> None:
    assert set(cli.COMMANDS) == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_command_has_just_the_documented_options_and_help_for_each(name: str) -> None:
    context = click.Context(cli.cli)
    command = cli.cli.get_command(context, name)
    assert command is not None
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    common = {"--help"} if isinstance(command, click.Group) else COMMON
    assert {name for option in options for name in option.opts} == OPTIONS[name] | common
    assert all(option.help for option in options)
    assert command.help


def test_every_analysis_has_the_same_options_and_help_for_each() -> None:
    group = cli.cli.get_command(click.Context(cli.cli), "analyze")
    assert isinstance(group, click.Group)
    assert set(group.commands) == set(ANALYSES)
    for command in group.commands.values():
        options = [p for p in command.get_params(click.Context(command)) if isinstance(p, click.Option)]
        assert {name for option in options for name in option.opts} == ANALYZE | COMMON
        assert all(option.help for option in options)
        assert command.help


@pytest.mark.parametrize("name", ["", *OPTIONS, "analyze predict"])
def test_help_answers_without_heavy_imports(name: str) -> None:
    code = (
        "import sys; from ipv_bench.cli import run; "
        f"status = run({[*name.split(), '--help']}); "
        f"print('LOADED', [m for m in {HEAVY} if m in sys.modules], status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED [] 0"
    assert "Usage: ipv-bench" in done.stdout


def test_an_unknown_command_suggests_the_nearest() -> None:
    done = run("prepar")
    assert done.returncode == 2
    assert "did you mean 'prepare'?" in done.stderr


def test_a_wrong_option_names_the_help() -> None:
    done = run("doctor", "--jason")
    assert done.returncode == 2
    assert "--json" in done.stderr
    assert "ipv-bench doctor --help" in done.stderr


def test_a_foreign_package_in_front_of_ours_is_named(tmp_path: Path) -> None:
    foreign = tmp_path / "models"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("")
    done = run("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert str(foreign / "__init__.py") in done.stderr


def test_an_internal_error_has_status_1_and_a_traceback_only_with_debug(monkeypatch, capsys) -> None:
    @click.command()
    @cli.common_options
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(cli.COMMANDS, "broken", "tests.ipv_bench.test_command_line:broken")
    monkeypatch.setattr(sys.modules[__name__], "broken", broken, raising=False)
    assert cli.run(["broken"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert cli.run(["broken", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_has_status_130(monkeypatch, capsys) -> None:
    @click.command()
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "stopped", "tests.ipv_bench.test_command_line:stopped")
    monkeypatch.setattr(sys.modules[__name__], "stopped", stopped, raising=False)
    assert cli.run(["stopped"]) == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, "Input/output error"), "a file cannot be read: Input/output error\n  expected: a disk"),
        (OSError(errno.ESTALE, "Stale file handle", "runs/x"), "runs/x: Stale file handle\n  expected: a disk"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a", None, "b"),
            "b: Permission denied\n  expected: a file",
        ),
    ],
)
def test_what_the_system_says_of_a_file_is_no_internal_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError, words: str
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", broken)
    assert cli.run(["doctor"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {words}")
    assert "to do:    " in message
