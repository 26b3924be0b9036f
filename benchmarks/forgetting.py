"""Do runs that learned stay good? The default command, ten seeds: late scores against the best ones.

    python benchmarks/forgetting.py             the ten runs, resumable: run it again to go on
    python benchmarks/forgetting.py --remaining the seeds that are still to be run; nothing is started
    python benchmarks/forgetting.py --summary   only read the runs that are kept

`make pretrain finetune` (tiny, contextwm, dmc/cheetah_run) scored 217 in the middle and 21 at the end. Here each seed's
mean of its last three evaluations stands beside its best one. What is kept of a run (`run.json`, `evaluations.jsonl`)
is copied to benchmarks/results/forgetting/runs/ when it ends, to be committed; a seed that is there is not run again.
The same is read of the kept runs of learning.py and miniature.py, which were made for other questions (`elsewhere`).
`runs-before/` beside it holds runs of settings before, `runs-tried/` of changes that did not do it (`mode-*`: today's
settings, scored by the most likely actions). Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from kept_model import OtherModelError, check_one_model
from kept_record import check_alike, check_settings, is_kept, keep_files
from one_command import command
from ordered_work import as_far_as_it_goes, side_by_side
from planned_config import finetuning_config

from ipv_bench.run_record import read_jsonl, read_record

PRESET, METHOD, TASK = "tiny", "contextwm", "dmc/cheetah_run"
MODEL = f"runs/pretrain/ssv2/{METHOD}/seed0"
SEEDS = tuple(range(10))
LAST = 3
SHARE, ENOUGH = 0.6, 8
"""Kept its skill: late mean at least this share of the best evaluation; wanted in so many of the ten seeds."""
KEPT = Path(__file__).parent / "results" / "forgetting"
KEPT_FILES = ("run.json", "evaluations.jsonl")


def main() -> None:
    """Run, or go on with, the ten seeds; then print how much each kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-forgetting"), help="workspace of the experiment")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--summary", action="store_true", help="only read what is kept")
    parser.add_argument("--remaining", action="store_true", help="only list the seeds that are not there")
    options = parser.parse_args()
    if options.remaining:
        print(*remaining())
        return
    check_kept()
    status = 0 if options.summary else as_far_as_it_goes(partial(experiment, options.out, options.jobs))
    check_kept()
    print(
        json.dumps(
            {
                "benchmark": "forgetting",
                "now": summary("runs"),
                "before": summary("runs-before"),
                "tried": summary("runs-tried"),
                "elsewhere": elsewhere(),
            }
        )
    )
    sys.exit(status)


def experiment(out: Path, jobs: int) -> None:
    """Sample data, the pre-trained model, and the seeds that are not kept yet; nothing where all are."""
    missing = remaining()
    if not missing:
        return
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "data/shards/ssv2/manifest.json").exists():
        command(out, "sample", "data/raw/ssv2", "--dataset", "ssv2")
        command(out, "prepare", "ssv2")
    command(out, "pretrain", "--preset", PRESET, "--set", f"method={METHOD}")
    try:
        check_one_model(out / MODEL, kept_runs())
    except OtherModelError as error:
        raise SystemExit(str(error)) from None
    side_by_side(jobs, {f"runs/seed{seed}": partial(one_seed, out, seed) for seed in missing})


def check_kept() -> None:
    """What is kept was made under today's settings, from one model.

    Raises:
        SystemExit: it was not; says which, in what, and what to do.
    """
    folders = kept_runs()
    for folder in folders:
        check_settings(folder, finetuning_config(PRESET, TASK, (f"method={METHOD}",)))
    check_alike(folders, same_model=True)


def kept_runs() -> list[Path]:
    """Folders of the runs that are kept whole, of the seeds of today."""
    folders = (KEPT / "runs" / f"seed{seed}" for seed in SEEDS)
    return [folder for folder in folders if is_kept(folder, KEPT_FILES)]


def remaining() -> list[int]:
    """Seeds that are not kept yet."""
    return [seed for seed in SEEDS if not is_kept(KEPT / "runs" / f"seed{seed}", KEPT_FILES)]


def one_seed(out: Path, seed: int) -> None:
    """Make, or go on with, one run, and keep its record and evaluations; the record last: it says that all is there."""
    folder = Path("runs") / f"seed{seed}"
    command(
        out, "finetune", "--preset", PRESET, "--task", TASK, "--seed", str(seed), "--set", f"method={METHOD}",
        "--init", MODEL, "--run", str(folder),
    )  # fmt: skip
    if read_record(out / folder).status == "finished":
        keep_files(out / folder, KEPT / folder, KEPT_FILES)


def summary(name: str) -> dict[str, Any]:
    """Per run: its evaluations' means, the best, the late mean, and the share; prints a table."""
    runs = {}
    for path in sorted((KEPT / name).glob("*/evaluations.jsonl")):
        if not is_kept(path.parent, KEPT_FILES):
            continue  # it was being copied when the script was ended
        means, late = means_of(path)
        runs[path.parent.name] = {
            "best": round(max(means), 1), "late": round(late, 1), "share": round(late / max(means), 3),
            "evaluations": [round(mean, 1) for mean in means],
        }  # fmt: skip
        print(f"{name:12} {path.parent.name:28} best {max(means):6.1f}  last {LAST} {late:6.1f}  "
              f"share {late / max(means):.2f}", file=sys.stderr)  # fmt: skip
    kept = sum(run["share"] >= SHARE for run in runs.values())
    return {"runs": runs, "kept": kept, "of": len(runs), "wanted": f"{ENOUGH} of {len(SEEDS)}"}


def means_of(path: Path) -> tuple[list[float], float]:
    """The mean of each evaluation of a log, and that of the last ones."""
    means = [sum(line["returns"]) / len(line["returns"]) for line in read_jsonl(path)]
    return means, sum(means[-LAST:]) / len(means[-LAST:])


def elsewhere() -> dict[str, Any]:
    """Kept runs of other experiments by line, `learning dmc/cheetah_run/prelar`: the share of each that it kept of its
    best evaluation, and how many reach what is wanted here."""
    found: dict[str, Any] = {}
    for name in ("learning", "miniature"):
        root = KEPT.parent / name / "runs"
        for path in sorted(root.glob("dm*/*/*/seed*/evaluations.jsonl")):
            if not is_kept(path.parent, KEPT_FILES):
                continue  # as in `summary`
            means, late = means_of(path)
            line = f"{name} {path.parents[1].relative_to(root)}"
            found.setdefault(line, {"shares": []})["shares"].append(round(late / max(means), 3))
    for line, told in found.items():
        told |= {"kept": sum(share >= SHARE for share in told["shares"]), "of": len(told["shares"])}
        print(f"{line:46} {told['kept']} of {told['of']}: {told['shares']}", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
