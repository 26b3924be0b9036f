"""`names:` patterns of the report's config: one line that says where in a path the method, task and seed stand.

    names: "{suite}_{task}/{method}/{seed}"
    names: "{task}__{method}__{seed}__{}"
    names: "{}/{seed}{method=dreamerv3}"

A pattern describes the end of a log's path, folder by folder. `{method}`, `{variant}`, `{suite}`, `{task}` and `{seed}`
stand for a part of a folder's or file's name, `{}` for anything, and `{method=sac}` sets what no path says. An earlier
placeholder takes as little as it can; `{seed}` takes digits, or a folder's whole name when it stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from ipv_bench.errors import ConfigError

FIELDS = ("method", "variant", "suite", "task", "seed")
_PLACEHOLDER = re.compile(r"\{([^{}=]*)(?:=([^{}]*))?\}")


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """The pattern as a regular expression, and the fields that it sets.

    Raises:
        ConfigError: an unknown or repeated placeholder, or none at all.
    """
    constants: dict[str, str] = {}
    parts: list[str] = []
    seen: list[str] = []
    end = 0
    for found in _PLACEHOLDER.finditer(pattern):
        parts.append(re.escape(pattern[end : found.start()]))
        end = found.end()
        name, value = found.group(1).strip(), found.group(2)
        if name and name not in FIELDS:
            raise ConfigError(
                f"names: {pattern!r} has the placeholder {{{name}}}",
                expected=", ".join(f"{{{field}}}" for field in FIELDS) + ", or {} for anything",
                fix="write {} in its place, or the name of one of these",
            )
        if name:
            seen.append(name)
        if name and value is not None:
            constants[name] = value
        else:
            parts.append(_expression(name, alone=_stands_alone(pattern, found)))
    parts.append(re.escape(pattern[end:]))
    if not seen or len(seen) != len(set(seen)):
        raise ConfigError(
            f"names: {pattern!r} has {'no placeholder' if not seen else 'a placeholder twice'}",
            expected='a pattern such as "{task}/{method}/{seed}"',
            fix="name what each part of the path is, once; {} is anything",
        )
    return re.compile("(?:^|.*/)" + "".join(parts).lstrip("/") + "$", re.DOTALL), constants


def _stands_alone(pattern: str, found: re.Match[str]) -> bool:
    before = _PLACEHOLDER.sub(lambda one: "" if one.group(2) is not None else one.group(0), pattern[: found.start()])
    after = _PLACEHOLDER.sub(lambda one: "" if one.group(2) is not None else one.group(0), pattern[found.end() :])
    return before.endswith("/") | (not before) and after.startswith("/") | (not after)


def _expression(name: str, *, alone: bool) -> str:
    if name == "seed":
        return "(?P<seed>[^/]+)" if alone else r"(?P<seed>-?\d+)"
    return f"(?P<{name}>[^/]+?)" if name else "[^/]*?"


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that cannot be meant.

    Raises:
        ConfigError: see above.
    """
    _compiled(pattern)


def match_names(patterns: Iterable[str], subjects: Iterable[str]) -> dict[str, str] | None:
    """The fields that the first fitting pattern finds in the first fitting subject; None when none fits.

    Args:
        patterns: as in the config.
        subjects: spellings of one log's path (with and without the file's name), or a run's name.
    """
    every = list(subjects)
    for pattern in patterns:
        expression, constants = _compiled(pattern)
        for subject in every:
            found = expression.match(subject)
            if found:
                return {**{name: text.strip() for name, text in found.groupdict().items() if text}, **constants}
    return None
