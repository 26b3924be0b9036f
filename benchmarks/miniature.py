"""The paper's claim in miniature: do videos of other bodies in other looks help a small agent to learn?

    python benchmarks/miniature.py --gate       first the gate: DreamerV2 above random with the factors as chosen
    python benchmarks/miniature.py --pilot      the pilots of all methods, on other seeds
    python benchmarks/miniature.py              the whole experiment, once the gate is passed; run it again to go on
    python benchmarks/miniature.py --remaining  what is still to be made, one a line, and the CPU-hours it takes
    python benchmarks/miniature.py --summary    only read what is kept: print the table, write the report to --report
    python benchmarks/miniature.py --summary --page docs/miniature.md    put that table on its page
    python benchmarks/miniature.py --quick      a tiny one from nothing, in a folder that is removed: that it runs

Videos of two domains of DMC Remastered, without actions, pre-train each method; agents then learn a task in the third
domain. What is kept of a run (`run.json`, `evaluations.jsonl`, `cpu.json`; of a pre-trained model `metrics.jsonl` and,
below 10 MB, its checkpoint) goes to benchmarks/results/miniature/runs/ as soon as it ends, to be committed; what is
there is not made again, on any machine, and refused where it was made under other settings than today's. What fails
is told at the end, with exit status 1; the rest is made. With --minutes M nothing is started after so long, and what
runs is stopped with its state saved. docs/miniature.md has the protocol, which was fixed before the runs were looked
at. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from cpu_seconds import CountingWorkspace
from miniature_page import write_page
from miniature_protocol import GATE, PILOT, QUICK, WHOLE, check_kept, estimated_hours, list_remaining
from miniature_runs import QuickWorkspace, experiment
from miniature_summary import files_of, require_gate, summary, write_report
from ordered_work import as_far_as_it_goes


def main() -> None:
    """Run, or go on with, the experiment; then print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-miniature"), help="workspace of the experiment")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--gate", action="store_true", help="only the gate's pilot")
    parser.add_argument("--pilot", action="store_true", help="only the pilots")
    parser.add_argument("--remaining", action="store_true", help="only list what is not kept")
    parser.add_argument("--summary", action="store_true", help="only read what is kept")
    parser.add_argument("--report", type=Path, help="write the report of what is kept to this folder")
    parser.add_argument("--page", type=Path, help="put the tables of what is kept between the marks of this page")
    parser.add_argument("--quick", action="store_true", help="a tiny one, in a folder that is removed")
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            scale = replace(QUICK, kept=Path(folder) / "kept" / "runs")
            experiment(scale, QuickWorkspace(Path(folder) / "work"), 0)
            reports = [write_report(scale, Path(folder) / name) for name in ("one", "two")]
            same = files_of(reports[0]) == files_of(reports[1])
            print(json.dumps({"benchmark": "miniature", "quick": True, "two_reports_equal": same, **summary(scale)}))
        return
    scale = GATE if options.gate else PILOT if options.pilot else WHOLE
    if options.remaining:
        check_kept(scale)
        list_remaining(scale)
        return
    status = 0
    if not options.summary:
        if scale is WHOLE:
            require_gate()
        print(f"{estimated_hours(scale):.1f} CPU-hours are left to be made", file=sys.stderr)
        space = CountingWorkspace(options.out, options.minutes)
        status = as_far_as_it_goes(partial(experiment, scale, space, options.jobs))
    check_kept(scale)  # of --summary too: runs of other settings are not this experiment's
    print(json.dumps({"benchmark": "miniature", "gate": options.gate, "pilot": options.pilot, **summary(scale)}))
    if options.report:  # last: whatever it says, the table is there
        write_report(scale, options.report)
    if options.page:
        write_page(scale, options.page)
    sys.exit(status)


if __name__ == "__main__":
    main()
