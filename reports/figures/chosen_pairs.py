"""Which runs stand in UWM's figures: one for each data set and variant, and what is left out is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ipv_bench.joined_sets import told_sets
from reports.readers.analyses import Analysis

SET_TITLES: Mapping[str, str] = {"ssv2": "Something-Something v2", "ego4d": "Ego4D"}
MOST = 8
"""Runs in a figure, at most."""
LONGEST = 60
"""Characters of a variant in a title."""


@dataclass(frozen=True)
class ChosenPairs:
    """Analyses of pairs that are shown.

    Attributes:
        shown: title → analysis. A title is the data sets', numbered where sets of one name hold other videos, and where
            several variants of a method stand on the same sets, what each has that not all have.
        repeats: how many were left out for another one of their data sets and variant.
        more: how many data sets and variants were left out because a figure has no room.
    """

    shown: Mapping[str, Analysis]
    repeats: int = 0
    more: int = 0

    def only(self, wanted: Callable[[Analysis], bool]) -> ChosenPairs:
        """Those that a figure can use; the others are not counted as left out."""
        return ChosenPairs({title: one for title, one in self.shown.items() if wanted(one)}, self.repeats, self.more)

    def words(self) -> str:
        """Which runs these are, and how many others there are."""
        said = [f"{title}: {told_run(one)}." for title, one in self.shown.items()]
        if self.repeats:
            said.append(f"Left out: {self.repeats} of the same data and variant (other seeds, presets, fewer updates).")
        if self.more:
            said.append(f"Left out for want of room: {self.more} other variants.")
        return " ".join(said)


def choose(found: Sequence[Analysis]) -> ChosenPairs:
    """One analysis for each data set and variant: of most updates, and of these of the lowest seed.

    A variant (FICC, an ablation) is never shown for another one, however long it was trained.
    """
    groups: dict[tuple[str, str], list[Analysis]] = {}
    titles = _titles_of_sets(found)
    for one in found:
        groups.setdefault((titles[_contents(one)], _settings(one)), []).append(one)
    chosen = {key: min(ones, key=_preference) for key, ones in groups.items()}
    plainest = sorted(chosen, key=lambda key: (len(key[1]), key))  # a method as it is comes before its variants
    kept = sorted(plainest[:MOST], key=lambda key: (key[0], plainest.index(key)))
    shown = {_title(key, kept): chosen[key] for key in kept}
    return ChosenPairs(shown, len(found) - len(groups), len(groups) - len(kept))


def _contents(analysis: Analysis) -> tuple[str, ...]:
    """Names of the data sets and what is in them: recordings of two tasks are both called `episodes`."""
    hashes = (str(entry.get("inventory_sha256") or "") for entry in analysis.record.shard_sets)
    return (*analysis.sets, *hashes)


def _titles_of_sets(found: Sequence[Analysis]) -> dict[tuple[str, ...], str]:
    """Contents → the data sets as a title, numbered where other contents have the same names."""
    titles: dict[tuple[str, ...], str] = {}
    for one in found:
        key = _contents(one)
        if key not in titles:
            title = told_sets(SET_TITLES.get(name, name) for name in one.sets)
            alike = sum(other[: len(one.sets)] == tuple(one.sets) and len(other) == len(key) for other in titles)
            titles[key] = f"{title} ({alike + 1}, other contents)" if alike else title
    return titles


def _settings(analysis: Analysis) -> str:
    run = analysis.record.models[0]
    return " ".join(part for part in (run.display_name or run.method, run.variant) if part)


def _preference(analysis: Analysis) -> tuple[int, int, str]:
    run = analysis.record.models[0]
    return -run.step, run.seed, str(analysis.folder)


def _title(key: tuple[str, str], shown: Sequence[tuple[str, str]]) -> str:
    sets, settings = key
    rivals = [set(other.replace(" ", ",").split(",")) for place, other in shown if place == sets]
    if len(rivals) == 1:
        return sets
    shared = set.intersection(*rivals)
    own = [part for part in settings.replace(" ", ",").split(",") if part not in shared]
    words = ",".join(own) or "as it is"
    return f"{sets}, {words if len(words) <= LONGEST else words[: LONGEST - 1] + '…'}"


def told_run(analysis: Analysis) -> str:
    """Which run it is of: method, variant, seed and updates."""
    run = analysis.record.models[0]
    return f"{_settings(analysis)}, seed {run.seed}, {run.step:,} updates"
