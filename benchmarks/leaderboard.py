"""docs/leaderboard.md from the result files of frozen protocols in benchmarks/results/protocol/.

    ipv-bench report runs --figures protocol:v1/cpu-night --out report     # writes report/protocol_v1_cpu-night.json
    cp report/protocol_v1_cpu-night.json benchmarks/results/protocol/cpu-night-<lab>-<date>.json
    python benchmarks/leaderboard.py                                       # writes the page

Files of one protocol are merged: a run that stands in several counts once, and scores are computed again from the runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ipv_bench.frozen_protocol import load_protocol, protocol_names  # noqa: E402
from reports.frozen.check import check_runs  # noqa: E402
from reports.frozen.checked_run import CheckedRuns  # noqa: E402
from reports.frozen.result import Entry, entries, result_table  # noqa: E402
from reports.readers.protocol_result import read_result  # noqa: E402
from reports.readers.registry import read_sources  # noqa: E402
from reports.tables.tables import to_markdown  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "protocol"
PAGE = ROOT / "docs" / "leaderboard.md"

HEAD = """# Leaderboard of the frozen protocols

Written by `python benchmarks/leaderboard.py` from the result files in `benchmarks/results/protocol/`; a test holds
the page to them. What a protocol fixes and how to take part: [protocol.md](protocol.md). An entry is **complete** when
all of its runs are there. Partial ones stand below those, say how many runs they have, and are no result yet. An
interval is that of ipv-bench's reports: 95 %, stratified bootstrap over runs.
"""


def page(files: Sequence[Path]) -> str:
    """The page's text."""
    by_protocol: dict[str, list[Path]] = {}
    for path in sorted(files):
        by_protocol.setdefault(read_result(path).protocol, []).append(path)
    parts = [HEAD]
    for name in protocol_names():
        parts.append(_section(name, by_protocol.pop(name, [])))
    if by_protocol:
        raise SystemExit(f"result files of unknown protocols: {', '.join(by_protocol)}")
    return "\n".join(parts)


def _section(name: str, files: Sequence[Path]) -> str:
    protocol = load_protocol(name)
    meant = f"Meant for: {protocol.hardware}. So the frozen file says; [what runs take today](protocol.md)."
    lines = [f"## `{name}`", "", protocol.about.strip(), "", meant, ""]
    if not files:
        return "\n".join([*lines, "No result yet.", ""])
    checked = check_runs(name, read_sources(files))
    found = entries(checked)
    lines += [to_markdown(result_table(checked, found, "results")).partition("\n\n")[2].strip(), ""]
    lines += [*_facts(checked, found), "", f"Files: {', '.join(f'`{path.name}`' for path in files)}.", ""]
    return "\n".join(lines)


def _facts(checked: CheckedRuns, found: Sequence[Entry]) -> Iterable[str]:
    """What each entry was made on and with."""
    for entry in found:
        records = [one.run.record for one in entry.runs]
        machines = sorted({_machine(record.get("hardware") or {}) for record in records})
        versions = sorted({_versions(record.get("packages") or {}) for record in records})
        state = "complete" if entry.is_complete else f"**partial**: {len(entry.runs)} of {entry.wanted} runs"
        exact = sum(not record.get("exact", True) for record in records)
        more = f"; {exact} of the runs are not exact" if exact else ""
        more += f"; the protocol's {', '.join(entry.imposed)}, not its preset's" if entry.imposed else ""
        more += f"; on {'; on '.join(entry.by_task)}" if entry.by_task else ""
        yield f"- `{entry.name}`: {state}; {' | '.join(machines)}; {' | '.join(versions)}{more}"
    for one in checked.deviating:
        fields = ", ".join(deviation.field for deviation in one.deviations)
        yield f"- not counted: {one.run.name} ({fields})"


def _machine(hardware: dict[str, object]) -> str:
    where = hardware.get("gpu") or hardware.get("cpu") or "unknown machine"
    return f"{where}, {hardware.get('torch_threads', '?')} threads"


def _versions(packages: dict[str, str]) -> str:
    names = ("ipv-bench", "torch", "mujoco", "dm-control")
    return ", ".join(f"{name} {packages[name]}" for name in names if name in packages)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    options.page.write_text(page(sorted(options.results.glob("*.json"))))
    print(options.page)


if __name__ == "__main__":
    main()
