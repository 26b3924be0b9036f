"""The preset `sample`, whole, on a CPU: ContextWM and the vanilla world model on drawn videos, three seeds each.

    python benchmarks/sample_model.py --jobs 2       the whole experiment, resumable: run it again to go on
    python benchmarks/sample_model.py --remaining    what is still to be made, and the CPU-hours it takes
    python benchmarks/sample_model.py --summary      only read what is kept
    python benchmarks/sample_model.py --summary --page docs/analysis.md    put the tables on their page
    python benchmarks/sample_model.py --quick        a tiny one, in a folder that is removed: that it runs

It asks whether a small model predicts videos that it has not seen with less error than a copy of their last frame, and
what a context path does for it. The videos that judge it are of a sample of their own: objects and backgrounds that it
never saw either. Asked later: the same of the videos that its own sample held out, whose looks it knows; and the same
of models that learned from as many videos of 25 samples, with 25 times as many looks. What is kept of a model
(`run.json`, `metrics.jsonl`, `cpu.json`, numbers of its analyses) goes to benchmarks/results/sample_model/ as soon as
it is made, to be committed; what is there is not made again, and refused where it is of other settings or videos. What
fails is told at the end, with exit status 1; the rest is made. docs/analysis.md has the result. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from analysed_models import Models, Question, check_kept, list_remaining, steps_of, summary
from cpu_seconds import CountingWorkspace
from ordered_work import Step, as_far_as_it_goes, do_in_order
from sample_model_page import KNOWN, tables, write_page

from ipv_bench.errors import UsageError
from ipv_bench.sample_record import read_sample_record


def without_attention(names: tuple[str, ...]) -> tuple[str, ...]:
    """Questions that a model without a context path can be asked."""
    return tuple(name for name in names if not name.startswith("attention"))


SHARDS, JUDGES = "data/shards/ssv2-1500", "data/shards/ssv2-judges"
LOOKS = tuple(f"data/shards/looks-{number:02d}" for number in range(25))
SAMPLES = {
    SHARDS: ("data/raw/ssv2-1500", 1500, 0), JUDGES: ("data/raw/ssv2-judges", 250, 1),
    **{shards: (f"data/raw/looks-{number:02d}", 60, 100 + number) for number, shards in enumerate(LOOKS)},
}  # fmt: skip
"""Shard set → its raw videos, how many, and the seed that they and their objects and backgrounds are drawn with."""
SECONDS_PER_UPDATE = {"contextwm": 0.115, "apv": 0.085}
"""Of a Zen 5 core; an older one took five times as long."""
RESULTS = Path(__file__).parent / "results" / "sample_model"
KINDS = ("predict", "compose", "embed", "attention")
TRUTHS = {shards: f"truth={raw}" for shards, (raw, _, _) in SAMPLES.items()}
ASKED = (*KINDS, *(kind + KNOWN for kind in KINDS))
OF_JUDGES = {
    "predict": Question("predict", JUDGES, ("split=all",)),
    **{kind: Question(kind, JUDGES, (TRUTHS[JUDGES], "split=all")) for kind in KINDS[1:]},
}
OF_KNOWN = {
    "predict" + KNOWN: Question("predict", SHARDS),
    **{kind + KNOWN: Question(kind, SHARDS, (TRUTHS[SHARDS], "split=null")) for kind in KINDS[1:]},
}
WHOLE = Models(
    "sample", RESULTS / "runs", (3, 4, 5), 6600, (), questions=OF_JUDGES | OF_KNOWN,
    asked={"contextwm": ASKED, "apv": without_attention(ASKED)}, data=(SHARDS,), pictures=(),
)  # fmt: skip
MANY_LOOKS = replace(
    WHOLE, name="sample-looks", kept=RESULTS / "runs-looks", questions=OF_JUDGES,
    asked={"contextwm": KINDS, "apv": without_attention(KINDS)}, data=LOOKS,
)  # fmt: skip
BOTH = (WHOLE, MANY_LOOKS)
QUICK = tuple(
    replace(
        models, seeds=(3,), updates=2, preset="tiny", data=models.data[:2],
        changes=("data.length=6", "data.batch_size=2", "data.workers=0", "validation.every=0"),
    )
    for models in BOTH
)  # fmt: skip


def main() -> None:
    """Run, or go on with, the experiment; then print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-sample-model"), help="workspace of the experiment")
    parser.add_argument("--jobs", type=int, default=2, help="models side by side")
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--remaining", action="store_true", help="only list what is not kept")
    parser.add_argument("--summary", action="store_true", help="only read what is kept")
    parser.add_argument("--page", type=Path, help="put the tables of all models between the marks of this page")
    parser.add_argument("--quick", action="store_true", help="a tiny one, in a folder that is removed")
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            few, many = (replace(models, kept=Path(folder) / models.kept.name) for models in QUICK)
            experiment((few, many), CountingWorkspace(Path(folder) / "work"), 0, most=64)
            print(tables(few, many), file=sys.stderr)
            print(json.dumps({"benchmark": "sample_model", "quick": True, **told(few, many)}))
        return
    if options.remaining:
        for models in BOTH:
            check_kept(models, models.sets_in(options.out))
        list_remaining(BOTH, SECONDS_PER_UPDATE)
        return
    status = 0
    if not options.summary:
        space = CountingWorkspace(options.out, options.minutes)
        status = as_far_as_it_goes(partial(experiment, BOTH, space, options.jobs))
    print(tables(*BOTH), file=sys.stderr)
    print(json.dumps({"benchmark": "sample_model", **told(*BOTH)}))
    if options.page:  # last: whatever it says, the tables were printed
        write_page(*BOTH, options.page)
    sys.exit(status)


def told(few: Models, many: Models) -> dict[str, Any]:
    """Verdicts of both groups of models, and which are missing."""
    return {**summary(few), "many_looks": summary(many)}


def experiment(groups: Sequence[Models], space: CountingWorkspace, jobs: int, *, most: int = 1500) -> None:
    """Videos, at most so many of each sample, shards, and the models that are not kept.

    Raises:
        SystemExit: kept models are of other settings or videos.
        FailedError: some of it failed; all that does not need it was made.
        OutOfTimeError: the minutes are over.
    """
    for models in groups:
        check_kept(models, models.sets_in(space.folder))
    missing = [models for models in groups if models.remaining()]
    wanted = dict.fromkeys(shards for models in missing for shards in models.sets())
    data = {shards: Step(partial(_make_shards, space, shards, most), name=shards) for shards in wanted}
    steps = [*data.values()]
    for models in missing:
        steps += steps_of(models, space, tuple(data[shards] for shards in models.sets()))
    do_in_order(jobs, steps)


def _make_shards(space: CountingWorkspace, shards: str, most: int) -> None:
    """Draw a sample where it is not there yet, and prepare it.

    Raises:
        UsageError: another one lies in its place.
    """
    raw, videos, seed = SAMPLES[shards]
    wanted = {"dataset": "ssv2", "videos": min(videos, most), "seed": seed}
    if not (space.folder / raw).is_dir():  # it is there whole, or not at all
        space.command("sample", raw, *(word for name, value in wanted.items() for word in (f"--{name}", str(value))))
    elif (found := read_sample_record(space.folder / raw)) != wanted:
        raise UsageError(f"{space.folder / raw} is a sample of {found}", expected=f"{wanted}", fix="move it away")
    space.command("prepare", "ssv2", "--source", raw, "--out", shards)


if __name__ == "__main__":
    main()
