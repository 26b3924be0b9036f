"""One link of a chain: what it is, whether it was checked, and what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ipv_bench.errors import InputError, IpvBenchError

State = Literal["ok", "not here", "not recorded", "broken"]
"""`ok`: its files are here, and are those that the link above records. `not here`: recorded, and not on this machine.
`not recorded`: nothing says which file it was. `broken`: the files here are others than the recorded ones."""

Kind = Literal[
    "report", "figure", "run", "log", "analysis", "checkpoint", "published files", "shard set", "shard", "source"
]


@dataclass
class Link:
    """One link.

    Attributes:
        kind: what it is.
        name: where it is, or what the record calls it.
        state: see `State`.
        words: what is known of it, in one line.
        facts: the same for programs: hashes, counts, paths; JSON values.
        problem: found, expected and what to do, when it is broken.
        made_from: the links below.
    """

    kind: Kind
    name: str
    state: State = "ok"
    words: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    problem: IpvBenchError | None = None
    made_from: list[Link] = field(default_factory=list)

    def broken(self, problem: IpvBenchError) -> Link:
        """The same link, which does not hold; the first problem is kept."""
        self.state, self.problem = "broken", self.problem or problem
        return self


class Links:
    """The links of one chain, each made once: thirty runs that start from one model lead to one link."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Link] = {}
        self._open: set[tuple[str, str]] = set()

    def once(self, kind: Kind, place: str, make: Callable[[], Link]) -> Link:
        """The link of this kind at this place.

        Args:
            kind: of the link.
            place: what tells it from others of its kind, such as a real path.
            make: makes it, when it is met for the first time.
        """
        key = (kind, place)
        if key in self._open:
            problem = InputError(
                f"the {kind} {place} leads back to itself", expected="a chain that ends at source files",
                fix="restore the record (run.json) from a backup: it was changed",
            )  # fmt: skip
            return Link(kind, place).broken(problem)
        if key not in self._made:
            self._open.add(key)
            try:
                self._made[key] = make()
            finally:
                self._open.discard(key)
        return self._made[key]

    def is_open(self, kind: Kind, place: str) -> bool:
        """Whether this link is being made: the one that is made now is below it."""
        return (kind, place) in self._open


def all_links(top: Link) -> list[Link]:
    """Every link from `top` down, once, a link before what it was made from."""
    seen: dict[int, Link] = {}
    waiting = [top]
    while waiting:
        link = waiting.pop()
        if id(link) not in seen:
            seen[id(link)] = link
            waiting += reversed(link.made_from)
    return list(seen.values())


def broken_links(top: Link) -> Iterator[Link]:
    """Those that do not hold."""
    return (link for link in all_links(top) if link.state == "broken")


def text_of(record: Mapping[str, Any], key: str) -> str:
    """A text out of a record that somebody else may have written; empty where there is none."""
    value = record.get(key)
    return value if isinstance(value, str) else ""
