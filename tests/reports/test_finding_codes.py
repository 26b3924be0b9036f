"""The page of warnings and refusals names every code that a report can have, and no other."""

from __future__ import annotations

import ast
import re

from tests.experiments.runs_of_scripts import ROOT

PAGE = ROOT / "docs" / "reports" / "statistics.md"
LEVELS = ("note", "warning", "refusal")


def used() -> set[str]:
    """First arguments of `note`, `warning` and `refusal`, and the texts that stand where such a code is chosen."""
    found = set()
    for file in (ROOT / "reports").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in LEVELS and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def told() -> set[str]:
    text = PAGE.read_text().split("## Warnings and refusals")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \| (?:refusal|warning|note)", text, re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`(\w+)`", row)}


def test_every_finding_has_its_line_on_the_page() -> None:
    assert len(used()) > 50
    assert used() <= told(), sorted(used() - told())
    source = "".join(file.read_text() for file in (ROOT / "reports").rglob("*.py"))
    assert {code for code in told() if f'"{code}"' not in source} == set()
