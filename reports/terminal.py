"""What `ipv-bench report` prints: the aggregates, and what to watch out for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reports.page.contents import Contents
from reports.scores.findings import Finding
from reports.tables.tables import Table, cell_text
from reports.text import plain

SHOWN_ROWS = 30
SHOWN_FINDINGS = 10


def summary(contents: Contents, findings: Sequence[Finding]) -> str:
    """A small table of results, the first warnings, and what was written."""
    lines = []
    table = contents.tables.get("aggregates")
    if table is not None:
        lines.append(_as_text(_narrow(table)))
    lines += [plain(verdict, 300) for verdict in [*contents.latent_actions, *contents.verdicts][:SHOWN_ROWS]]
    serious = [finding for finding in findings if finding.level != "note"]
    lines += [f"{finding.level}: {plain(finding.text, 300)}" for finding in serious[:SHOWN_FINDINGS]]
    if len(serious) > SHOWN_FINDINGS:
        lines.append(f"… and {len(serious) - SHOWN_FINDINGS} more; all are on the page")
    counts = Counter(finding.level for finding in findings)
    said = ", ".join(
        f"{counts[level]} {level}{'s' if counts[level] != 1 else ''}" for level in ("warning", "refusal", "note")
    )
    lines.append(f"{len(contents.figures)} figures, {len(contents.tables)} tables; {said}")
    return "\n".join(lines)


def _narrow(table: Table) -> Table:
    """The columns that fit a terminal."""
    kept = [name for name in ("suite", "method", "tasks", "runs", "env steps", "IQM", "mean") if name in table.columns]
    places = [list(table.columns).index(name) for name in kept]
    return Table(table.name, table.title, kept, [[row[place] for place in places] for row in table.rows[:SHOWN_ROWS]])


def _as_text(table: Table) -> str:
    import io

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=Text(table.title), box=SIMPLE_HEAD, title_justify="left")
    for name in table.columns:
        shown.add_column(Text(name), justify="left" if name in ("suite", "method") else "right")
    for row in table.rows:
        shown.add_row(*(Text(plain(cell_text(cell))) for cell in row))
    buffer = io.StringIO()
    Console(file=buffer, width=110, color_system=None).print(shown)
    return buffer.getvalue().rstrip()
