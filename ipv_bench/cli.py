"""The command line: a table of commands that load on use, and errors turned into exit statuses."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ipv_bench import __version__
from ipv_bench.errors import InterruptedRunError, IpvBenchError, UsageError
from ipv_bench.patience import be_patient, give_up
from ipv_bench.streams import printable, steady_streams

COMMANDS = {
    "doctor": "ipv_bench.doctor_cli:doctor",
    "sample": "pipelines.cli:sample",
    "prepare": "pipelines.cli:prepare",
    "verify": "pipelines.cli:verify",
    "inspect": "pipelines.cli:inspect",
    "pretrain": "models.cli:pretrain",
    "finetune": "models.cli:finetune",
    "evaluate": "models.cli:evaluate",
    "record": "models.cli:record",
    "adapt": "models.cli:adapt",
    "import-checkpoint": "models.cli:import_checkpoint",
    "analyze": "models.cli:analyze",
    "report": "reports.cli:report",
    "sweep": "ipv_bench.sweep_cli:sweep",
    "export": "ipv_bench.export_cli:export",
    "trace": "ipv_bench.trace_cli:trace",
    "demo": "ipv_bench.demo_cli:demo",
}
"""Command → import path of its click command. The modules import click and `ipv_bench` only."""

ROOMS = ("pipelines", "models", "reports")

Command = TypeVar("Command", bound=Callable[..., Any])


class _LazyGroup(click.Group):
    """Loads a command's module when the command is asked for, so that `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from ipv_bench.errors import UnknownNameError

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UnknownNameError("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ipv-bench")
def cli() -> None:
    """In-the-wild Pre-training from Videos: raw videos to shards, shards to agents, runs to figures."""


def common_options(command: Command) -> Command:
    """Give a command `--quiet` and `--debug`; both are handled here and not passed on."""

    def set_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        from ipv_bench.progress import set_quiet as apply

        apply(value)

    def set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.find_root().meta["ipv_bench.debug"] = value
        _state["debug"] = value

    quiet = click.option("--quiet", is_flag=True, expose_value=False, callback=set_quiet, help="Print errors only.")
    debug = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=set_debug,
        help="Show the traceback of an error.",
    )
    return quiet(debug(command))


_state = {"debug": False}

_OF_DISKS = (
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
    errno.EREMOTEIO,
    errno.ENOMEDIUM,
    errno.ETIMEDOUT,
)
"""What the system says while a file is read whose disk, or the way to it, is at fault; reading names no file."""


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status (see `ipv_bench.errors`).

    The status tells of the work alone: a stdout that is closed, full or read by `head` changes nothing.
    """
    with steady_streams():
        return _run(args)


def _run(args: Sequence[str] | None) -> int:
    _state["debug"] = False
    be_patient()
    previous = _heed_signals() if _in_main_thread() else {}
    try:
        _refuse_foreign_rooms()
        result = cli.main(list(args) if args is not None else None, prog_name="ipv-bench", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except IpvBenchError as error:
        return _fail(str(error), error.exit_status)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"\n  to do:    `{context.command_path} --help` lists the options" if context else ""
        return _fail(error.format_message() + hint, 2)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; run the same command again to go on", InterruptedRunError.exit_status)
    except ModuleNotFoundError as error:
        missing = _missing_module(error)
        return _fail(str(missing), missing.exit_status) if missing else _internal_error(error)
    except MemoryError as error:
        return _fail(_too_much(str(error)), 1)
    except Exception as error:  # noqa: BLE001  (the last line of defence: everything else is our own bug)
        if isinstance(error, OSError) and (found := _systems_word(error)) is not None:
            return _fail(str(found), found.exit_status)
        if "allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError":  # torch's
            return _fail(_too_much(str(error).splitlines()[0][:300]), 1)
        return _internal_error(error)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def main() -> None:
    """Entry point of the `ipv-bench` program."""
    sys.exit(run())


def _internal_error(error: Exception) -> int:
    text = f"internal error: {type(error).__name__}: {error}"
    return _fail(text + ("" if _state["debug"] else "\n  to do:    run again with --debug and report the traceback"), 1)


def _too_much(words: str) -> str:
    fix = "ask for less (smaller batches, frames or segments, fewer workers), or use a machine that has more"
    return f"the memory is not enough: {words or 'no more could be had'}\n  to do:    {fix}"


def _systems_word(error: OSError) -> IpvBenchError | None:
    """What the system says of a file is no bug; of a disk that is away it may name none. None for other errors."""
    from ipv_bench.bounded_file import LASTING, unreadable
    from ipv_bench.errors import InputError

    if isinstance(error, ConnectionError) or not error.errno:
        return None
    if error.filename:
        lasting = "see whether it is there and may be read and written, then run the same command again"
        found = unreadable("", error, fix=lasting)
        return InputError(found.found.replace(" cannot be read: ", ": ", 1), expected=found.expected, fix=found.fix)
    return unreadable("a file", error) if error.errno not in LASTING and error.errno in _OF_DISKS else None


def _missing_module(error: ModuleNotFoundError) -> IpvBenchError | None:
    from ipv_bench.extras import missing_module

    return missing_module(error)


def _fail(message: str, status: int) -> int:
    if _state["debug"]:
        sys.stderr.write(printable(traceback.format_exc()))
    sys.stderr.write(f"error: {printable(message)}\n")
    sys.stderr.flush()
    return status


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


def _heed_signals() -> dict[int, Any]:
    """Let SIGTERM end a command as Ctrl-C does, where the caller does not ignore that; returns the handlers before.

    Loops that save state first install their own.
    """
    heeded = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        heeded.append(signal.SIGINT)
    return {number: signal.signal(number, _on_stop) for number in heeded}


def _on_stop(signum: int, frame: object) -> None:
    give_up()  # or threads that wait for a server would keep the process for up to a minute
    raise KeyboardInterrupt


def _refuse_foreign_rooms() -> None:
    """Stop when another package named `models`, `reports` or `pipelines` stands in front of ours."""
    here = Path(__file__).resolve().parent.parent
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != here:
            raise UsageError(
                f"Python finds a foreign package {room!r} at {origin or 'a folder without __init__.py'}",
                expected=f"ours, in {here / room}",
                fix="run from another folder, or take that package's folder out of PYTHONPATH",
            )
