"""Writes docs/faults.md from the kept results: what was tried, and what became of it.

python -m tests.faults.what_it_survives
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE, TEMPLATE, RESULTS = HERE.parents[1] / "docs" / "faults.md", HERE / "what_it_survives.md", HERE / "results"
SOAK = HERE.parents[1] / "benchmarks" / "results" / "soak_finetune.json"


def crash_rows(results: dict[str, Any]) -> list[str]:
    """Lines of the table of crash points."""
    rows = []
    for result in results.values():
        calls = ", ".join(f"{count} {kind}" for kind, count in sorted(result["calls"].items(), key=lambda one: -one[1]))
        survived = result["tried"] - len(result["failures"])
        points = f"{result['tried']} of {result['points']}"
        rows.append(f"| {result['what']} | {calls} | {points} | {survived} of {result['tried']} |")
    return rows


def full_disk_rows(results: dict[str, Any]) -> list[str]:
    """Lines of the table of full disks."""
    return [
        f"| {result['what']} | {result['tried']} of {result['points']} | "
        f"{result['tried'] - len(result['failures'])} of {result['tried']} |"
        for result in results.values()
    ]


def kill_rows(results: dict[str, Any]) -> list[str]:
    """Lines of the table of random kills."""
    rows = []
    for name, facts in sorted(results.items()):
        if name.startswith("ray"):
            killed = ", ".join(f"{count} {what}" for what, count in facts["killed"].items())
            rows.append(f"| `prepare --executor ray` on three nodes, seed {name.split()[1]} | {killed} | same bytes |")
        else:
            rows.append(
                f"| `pretrain` on two ranks, in update 6 | rank {facts['killed_rank']} | the other rank ends with exit "
                f"status {facts['other_rank_ended_with']} and says why; started again: equal to an uninterrupted run |"
            )
    return rows


def fuzz_row(result: dict[str, Any]) -> str:
    """A line of the table of damaged videos."""
    outcomes = result["outcomes"]
    quarantined = {what.split(": ")[1]: n for what, n in outcomes.items() if what.startswith("quarantined")}
    reasons = ", ".join(f"{what} {count}" for what, count in sorted(quarantined.items(), key=lambda one: -one[1]))
    wrong = len(result["wrong_number_of_frames"])
    columns = [result["decoder"], result["files"], f"{sum(quarantined.values())} ({reasons})"]
    columns += [outcomes.get("same", 0), outcomes.get("pictures", 0), wrong]
    return "| " + " | ".join(map(str, columns)) + " |"


def intact_line(result: dict[str, Any]) -> str:
    """What became of the files without damage."""
    refused = [path.removeprefix("intact_") for path, what in result["intact"].items() if what != "same"]
    taken = len(result["intact"]) - len(refused)
    words = f"`{result['decoder']}` takes {taken} of the {len(result['intact'])} intact files"
    return words + (f"; it refuses {', '.join(refused)}." if refused else ".")


def soak_lines(result: dict[str, Any]) -> list[str]:
    """What an hour of fine-tuning used."""
    names = {"megabytes": "resident memory, MB", "files": "open files", "threads": "threads"}
    table = ["| | growth | peak | children: growth | children: peak |", "|---|---|---|---|---|"]
    for key, words in names.items():
        own, peak = result["growth"][key], result["peak"][key]
        child, child_peak = result["growth"][f"child_{key}"], result["peak"][f"child_{key}"]
        table.append(f"| {words} | {own:g} | {peak:g} | {child:g} | {child_peak:g} |")
    words = (
        f"{result['minutes']:g} minutes, {result['agent_steps']:,} agent steps on a busy machine, "
        "a checkpoint every minute,\n"
        "environments in processes of their own, a replay that drops episodes; ended with SIGTERM (exit status "
        f"{result['exit_status']}).\nGrowth: median of the last fifth of the samples minus that of the second fifth."
    )
    return [words, "", *table]


def page() -> str:
    """The whole page."""
    crash = json.loads((RESULTS / "crash_points.json").read_text())
    kills = json.loads((RESULTS / "kills.json").read_text())
    fuzzed = [json.loads((RESULTS / f"fuzz_{decoder}.json").read_text()) for decoder in ("pyav", "decord")]
    full_disk = json.loads((RESULTS / "full_disk.json").read_text())
    return TEMPLATE.read_text().format(
        full_disk="\n".join(full_disk_rows(full_disk)),
        crash_points="\n".join(crash_rows(crash)),
        kills="\n".join(kill_rows(kills)),
        fuzz="\n".join(map(fuzz_row, fuzzed)),
        intact="\n".join(map(intact_line, fuzzed)),
        soak="\n".join(soak_lines(json.loads(SOAK.read_text()))),
    )


if __name__ == "__main__":
    PAGE.write_text(page())
