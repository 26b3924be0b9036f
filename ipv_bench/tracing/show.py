"""A chain for people, as a tree, and for programs, as JSON."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ipv_bench.tracing.link import Link, all_links, broken_links

MARKS = {"ok": "✓", "not here": "–", "not recorded": "?", "broken": "✗"}
SHORT_HASH = 12
"""Characters of a hash in the tree; JSON has all of them."""
MOST_SHOWN = 12
"""Links of one kind below one link that the tree shows when they hold; those that do not are all shown."""

_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def tree(top: Link) -> list[str]:
    """Lines of the tree, and at its end what was checked and what is broken."""
    lines = [*_lines(top, "", "", set()), "", _sum(top)]
    for link in broken_links(top):
        lines += ["", f"broken: {link.kind} {link.name}", *(f"  {line}" for line in str(link.problem).splitlines())]
    return lines


def _lines(link: Link, first: str, rest: str, seen: set[int]) -> Iterator[str]:
    state = "" if link.state == "ok" else f" [{link.state}]"
    again = id(link) in seen
    seen.add(id(link))
    yield f"{first}{MARKS[link.state]} {link.kind}  {_plain(_near(link.name))}{state}" + ("  (above)" if again else "")
    if again:
        return
    if link.words:
        bar = "│ " if link.made_from else "  "
        yield f"{rest}{bar}  {_HASH.sub(lambda found: found[1] + '…', _plain(link.words))}"
    below, left_out = _shown(link)
    for number, one in enumerate(below):
        last = number == len(below) - 1 and not left_out
        yield from _lines(one, rest + ("└ " if last else "├ "), rest + ("  " if last else "│ "), seen)
    if left_out:
        yield f"{rest}└ … and {', '.join(f'{count} more {kind}s' for kind, count in left_out.items())}, all as recorded"


def _near(name: str) -> str:
    """A path from where the user is, when it lies below."""
    return name.removeprefix(f"{os.getcwd()}/")


def _plain(text: str) -> str:
    """Text of somebody else's record on one line: it cannot draw links of its own."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _shown(link: Link) -> tuple[list[Link], Counter[str]]:
    """What stands below a link in the tree, and how many of each kind do not."""
    shown, kinds, left_out = [], Counter[str](), Counter[str]()
    for one in link.made_from:
        kinds[one.kind] += 1
        if kinds[one.kind] > MOST_SHOWN and one.state == "ok" and not any(broken_links(one)):
            left_out[one.kind] += 1
        else:
            shown.append(one)
    return shown, left_out


def _sum(top: Link) -> str:
    states = Counter[str](link.state for link in all_links(top))
    words = {"ok": "as recorded", "not here": "not here", "not recorded": "not recorded", "broken": "BROKEN"}
    return f"{states.total()} links: " + ", ".join(
        f"{states[state]} {words[state]}" for state in words if states[state]
    )


def as_json(top: Link) -> str:
    """Every link once, with its number; `made_from` are numbers of links."""
    links = all_links(top)
    numbers = {id(link): number for number, link in enumerate(links)}
    values = [_values(link, numbers) for link in links]
    broken = sum(link.state == "broken" for link in links)
    return json.dumps({"ok": not broken, "broken": broken, "links": values}, indent=1, sort_keys=True)


def _values(link: Link, numbers: dict[int, int]) -> dict[str, Any]:
    found = {
        "id": numbers[id(link)], "kind": link.kind, "name": link.name, "state": link.state, "words": link.words,
        "facts": link.facts, "made_from": [numbers[id(one)] for one in link.made_from],
    }  # fmt: skip
    if link.problem is not None:
        problem = link.problem
        found["problem"] = {"found": problem.found, "expected": problem.expected, "fix": problem.fix}
    return found
