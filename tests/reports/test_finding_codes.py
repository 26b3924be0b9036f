"""The page of warnings and refusals names every code that a report can have, and no other."""

from __future__ import annotations

import ast
import re

from tests.experiments.runs_of_scripts import ROOT

PAGE = ROOT / "docs" / "reports" / "statistics.md"
MAKERS = ("note", "warning", "refusal", "say")
ELSEWHERE = {
    "reports/scores/health.py": {"mixed_metrics", "short_runs"},
    "reports/readers/run_format1.py": {"episodes_not_learned_from", "ends_not_learned"},
}
"""Files in which a code is chosen apart from the call that makes the finding → these codes."""


def used() -> set[str]:
    """First arguments of the calls that make findings, and the codes that are chosen apart from them."""
    found, apart = set(), set()
    for file in sorted((ROOT / "reports").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
                elif isinstance(first, ast.Name) and first.id == "code":
                    apart.add(file.relative_to(ROOT).as_posix())
    assert apart == ELSEWHERE.keys()
    for name, codes in ELSEWHERE.items():
        text = (ROOT / name).read_text()
        assert all(f'"{code}"' in text for code in codes)
    return found.union(*ELSEWHERE.values())


def told() -> set[str]:
    text = PAGE.read_text().split("## Warnings and refusals")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \| (?:refusal|warning|note)", text, re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`(\w+)`", row)}


def test_every_finding_has_its_line_on_the_page() -> None:
    assert len(used()) > 50
    assert used() <= told(), sorted(used() - told())
    source = "".join(file.read_text() for file in (ROOT / "reports").rglob("*.py"))
    assert {code for code in told() if f'"{code}"' not in source} == set()
