"""The errors of ipv-bench, in one tree.

    IpvBenchError                  exit status   raised when
    ├── UsageError                      2        a command, option, key or value is wrong
    │   ├── UnknownNameError            2        a name is not among the known ones; the nearest is suggested
    │   ├── ConfigError                 2        a config field is unknown, or its value has the wrong type or range
    │   ├── MissingDependencyError      2        an optional package or a system library is absent
    │   └── PluginError                 2        a plug-in does not load, lacks a member, or takes a name twice
    ├── InputError                      2        files that were given cannot be used
    │   ├── SourceError                 2        a raw release is missing, half extracted or not that data set
    │   ├── ShardSetError               2        a shard set is of another plan, version or is damaged
    │   ├── RunError                    2        a run folder is of another config, version or is damaged
    │   └── CheckpointError             2        a checkpoint is truncated, of another size, or not ours
    ├── OutputError                     2        the output folder cannot be written, or the disk is full
    ├── FailureLimitError               3        more items failed than `max_failure_rate` allows
    ├── FindingsError                   4        `verify` or another check found a defect; a warning and `--strict`
    ├── TrainingError                   1        training cannot go on (ten non-finite updates in a row)
    │   └── SimulationError             1        an environment gave NaN or a wrong shape, died or hung, repeatedly
    └── InterruptedRunError           130        SIGINT or SIGTERM arrived; the state is saved

The command line turns each into its message and its exit status; anything outside the tree is an internal error (1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class IpvBenchError(Exception):
    """What was found, what was expected, and what the user can do about it.

    Args:
        found: what is wrong, with the path, key or value that shows it.
        expected: what should have been there instead.
        fix: the command or change that helps.
    """

    exit_status = 1

    def __init__(self, found: str, *, expected: str = "", fix: str = "") -> None:
        super().__init__(found)
        self.found, self.expected, self.fix = found, expected, fix

    def __str__(self) -> str:
        lines = [self.found]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  to do:    {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.found, self.expected, self.fix)


def _rebuild(kind: type[IpvBenchError], found: str, expected: str, fix: str) -> IpvBenchError:
    error = kind.__new__(kind)
    IpvBenchError.__init__(error, found, expected=expected, fix=fix)
    return error


class UsageError(IpvBenchError):
    """A command, option, key or value is wrong."""

    exit_status = 2


class UnknownNameError(UsageError):
    """A name is not among the known ones.

    Args:
        kind: what the name stands for ("preset", "task", ...).
        name: the name that was given.
        known: the names that exist.
        without: what to do where none exists.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, without: str = "leave the name out") -> None:
        names = sorted(known)
        near = nearest_name(name, names)
        shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
        super().__init__(
            f"unknown {kind} {name!r}",
            expected=f"one of {shown}" if names else f"no name: there is no {kind.removesuffix(':')}",
            fix=f"did you mean {near!r}?" if near else "name one that is there" if names else without,
        )


class ConfigError(UsageError):
    """A config field is unknown, or its value has the wrong type or range."""


class MissingDependencyError(UsageError):
    """An optional package or a system library is absent; the message names what installs it."""


class PluginError(UsageError):
    """A plug-in of another package cannot be loaded, lacks a member, or takes a name that is taken."""


class InputError(IpvBenchError):
    """Files that were given cannot be used."""

    exit_status = 2


class SourceError(InputError):
    """A raw release is missing, half extracted or not that data set."""


class ShardSetError(InputError):
    """A shard set is of another plan, of a newer format version, or damaged."""


class RunError(InputError):
    """A run folder is of another config, of a newer format version, or damaged."""


class CheckpointError(InputError):
    """A checkpoint is truncated, of another model size, or not ours."""


class OutputError(IpvBenchError):
    """The output folder cannot be written, or its disk is full."""

    exit_status = 2


class FailureLimitError(IpvBenchError):
    """More items failed than `max_failure_rate` allows: the job probably points at the wrong thing."""

    exit_status = 3


class FindingsError(IpvBenchError):
    """`verify` found a defect, or `--strict` was given and there was a quarantine or a warning."""

    exit_status = 4


class TrainingError(IpvBenchError):
    """Training cannot go on."""


class SimulationError(TrainingError):
    """An environment gave numbers that are not finite or of a wrong shape, or its process died or hung."""


class InterruptedRunError(IpvBenchError):
    """SIGINT or SIGTERM arrived; the state is saved and the same command continues."""

    exit_status = 130


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when none is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None
