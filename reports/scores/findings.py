"""What a reader of the report must know about the data: notes, warnings and refusals, as typed records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["note", "warning", "refusal"]
"""note: nothing is wrong, but it was done; warning: the numbers may mislead; refusal: it was not pooled or not used."""


@dataclass(frozen=True)
class Finding:
    """One statement about the data.

    Attributes:
        level: how serious it is; `--strict` turns warnings and refusals into exit status 4.
        code: a stable short name of the kind of finding, such as "few_seeds".
        text: what was found, in one sentence, with the numbers.
        fix: what the user can do; empty when nothing has to be done.
        subjects: the runs, tasks or files that it is about, in order.
    """

    level: Level
    code: str
    text: str
    fix: str = ""
    subjects: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For `report.json`."""
        return {
            "level": self.level,
            "code": self.code,
            "text": self.text,
            "fix": self.fix,
            "subjects": list(self.subjects),
        }


def note(code: str, text: str, fix: str = "", subjects: Iterable[str] = ()) -> Finding:
    """A finding that needs no action."""
    return Finding("note", code, text, fix, tuple(subjects))


def warning(code: str, text: str, fix: str = "", subjects: Iterable[str] = ()) -> Finding:
    """A finding by which the numbers may mislead."""
    return Finding("warning", code, text, fix, tuple(subjects))


def refusal(code: str, text: str, fix: str = "", subjects: Iterable[str] = ()) -> Finding:
    """A finding by which runs were left out or not pooled."""
    return Finding("refusal", code, text, fix, tuple(subjects))


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Refusals, then warnings, then notes; equal ones once; within a level by code and text."""
    rank = {"refusal": 0, "warning": 1, "note": 2}
    return sorted(dict.fromkeys(findings), key=lambda finding: (rank[finding.level], finding.code, finding.text))


def few_of_a_kind(findings: Iterable[Finding], at_most: int = 3) -> list[Finding]:
    """Findings of one code as one, where there are more than `at_most`: the first, with the subjects of all.

    Refusals are kept one by one: each names a file and its own reason.
    """
    kinds: dict[tuple[Level, str], list[Finding]] = {}
    for finding in dict.fromkeys(findings):
        kinds.setdefault((finding.level, finding.code), []).append(finding)
    kept: list[Finding] = []
    for (level, code), same in kinds.items():
        if level == "refusal" or len(same) <= at_most:
            kept += same
            continue
        subjects = tuple(dict.fromkeys(subject for finding in same for subject in finding.subjects))
        kept.append(Finding(level, code, f"{same[0].text} (and {len(same) - 1} more like this)", same[0].fix, subjects))
    return kept


def needs_attention(findings: Iterable[Finding]) -> bool:
    """Whether `--strict` has to fail."""
    return any(finding.level != "note" for finding in findings)
